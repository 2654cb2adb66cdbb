"""Where the time of one connection to null521 serve goes, in the parts that need no socket.

    PYTHONPATH=. python3 tests/system/bench/parts.py

Each part is run with what load.c says; the best of 20 repetitions, for other load only adds. The
rest of what servers.py prints for a connection is system calls, and the driver and the loop.
"""

import platform
import time
import timeit
from collections.abc import Callable

from null521.serve.clients import Clients
from null521.serve.settings import read

WORDS = (
    b"EHLO mx.client.example\r\n",
    b"MAIL FROM:<ann@client.example>\r\nRCPT TO:<bob@server.example>\r\nDATA\r\n",
    b"QUIT\r\n",
)
RUNS, REPETITIONS = 5000, 20


class Client:
    """What Clients asks of a connection."""

    __slots__ = ("address", "last_active", "start", "tick")

    def __init__(self) -> None:
        self.start = self.last_active = time.monotonic()
        self.tick, self.address = 0, b""


def microseconds(part: Callable[[], object]) -> float:
    """The CPU time of one run."""
    timer = timeit.Timer(part, timer=time.process_time)
    return min(timer.repeat(REPETITIONS, RUNS)) / RUNS * 1e6


def main() -> None:
    """Print the table."""
    settings = read(["--refuse-at=rcpt"], {})
    encoded: dict[object, bytes] = {}
    clients = Clients(settings, time.monotonic())

    def dialogue() -> None:
        session = settings.session(False, encoded)
        session.greeting()
        for words in WORDS:
            session.receive(words)

    def limits() -> None:
        client = Client()
        clients.enter(client)  # type: ignore[arg-type]
        clients.count(client, "127.0.0.5")  # type: ignore[arg-type]
        clients.end(client, "quit", 5, time.monotonic())  # type: ignore[arg-type]
        clients.linger(client)  # type: ignore[arg-type]
        clients.leave(client)  # type: ignore[arg-type]

    print(f"{platform.python_implementation()} {platform.python_version()}\n")
    print("| part of a connection | us |")
    print("|---|---|")
    print(f"| the dialogue, five commands (session.py) | {microseconds(dialogue):.1f} |")
    print(f"| limits, deadlines and counts (clients.py) | {microseconds(limits):.1f} |")


if __name__ == "__main__":
    main()
