"""Which of many descriptors are ready, by one epoll(7) that the event loop watches.

It knows descriptors and whom to call. It must not know what these are for.

The loop has reader callbacks of its own, but with libuv they take six system calls to come and go,
where this takes one, and a handle, a context and a callback for each event.
"""

from asyncio import AbstractEventLoop
from collections.abc import Callable
from select import EPOLLIN, epoll

BATCH = 256  # events handled before the loop has its turn again


class Poller:
    """Calls what watch() was given, again and again while it is ready: epoll is level-triggered."""

    def __init__(self, loop: AbstractEventLoop) -> None:
        self._epoll = epoll()
        self._calls: dict[int, Callable[[], None]] = {}
        loop.add_reader(self._epoll.fileno(), self._call_all)

    def watch(self, fd: int, call: Callable[[], None]) -> None:
        """Call it whenever there is something to read, or an error."""
        self._calls[fd] = call
        self._epoll.register(fd, EPOLLIN)

    def watch_for(self, fd: int, event: int, call: Callable[[], None]) -> None:
        """From now on, call this instead, for EPOLLIN alone or for EPOLLOUT alone."""
        self._calls[fd] = call
        self._epoll.modify(fd, event)

    def forget(self, fd: int) -> None:
        """Stop calling. The caller closes it next: then the kernel forgets it too."""
        self._calls.pop(fd, None)

    def _call_all(self) -> None:
        for fd, _ in self._epoll.poll(0, BATCH):
            call = self._calls.get(fd)
            if call is not None:
                call()
