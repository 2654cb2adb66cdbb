"""Which of many descriptors are ready, by one epoll(7) that the event loop watches.

It knows descriptors, whom to call, and whom to tell of an exception. It must not know what these
are for.

The loop has reader callbacks of its own, but with libuv they take six system calls to come and go,
where this takes one, and a handle, a context and a callback for each event.
"""

from asyncio import AbstractEventLoop
from collections.abc import Callable
from select import EPOLLIN, epoll

BATCH = 256  # events handled before the loop has its turn again

Call = Callable[[], None]
Failed = Callable[[Exception], None]


class Poller:
    """Calls what watch() was given, again and again while it is ready: epoll is level-triggered."""

    def __init__(self, loop: AbstractEventLoop) -> None:
        self._epoll = epoll()
        self._calls: dict[int, tuple[Call, Failed]] = {}
        loop.add_reader(self._epoll.fileno(), self._call_all)

    def watch(self, fd: int, call: Call, failed: Failed) -> None:
        """Call it whenever there is something to read, or an error.

        failed is told of an exception that nobody has expected, so that others do not notice.
        """
        self._calls[fd] = call, failed
        self._epoll.register(fd, EPOLLIN)

    def watch_for(self, fd: int, event: int, call: Call) -> None:
        """From now on, call this instead, for EPOLLIN alone or for EPOLLOUT alone."""
        self._calls[fd] = call, self._calls[fd][1]
        self._epoll.modify(fd, event)

    def forget(self, fd: int) -> None:
        """Stop calling. The caller closes it next: then the kernel forgets it too."""
        self._calls.pop(fd, None)

    def _call_all(self) -> None:
        for fd, _ in self._epoll.poll(0, BATCH):
            watched = self._calls.get(fd)
            if watched is None:
                continue
            call, failed = watched
            try:
                call()
            except Exception as error:
                failed(error)
