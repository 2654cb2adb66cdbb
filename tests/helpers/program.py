"""Clients: one connected to the program, whichever driver runs it, and one that dials an address.

    python3 tests/helpers/program.py HOST PORT [COUNT]

Run as a program, in other namespaces, it sends its standard input over each of COUNT connections,
eight at once, and prints for each a JSON list of the local port and all that was received.
"""

import contextlib
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Self

TEST_TIMEOUT = 20.0  # seconds that anything may take to start, to arrive or to end
TREE = Path(__file__).parents[2]

# The replies of h.example, the host's name in every program started here.
TEXT = "h.example is configured NOT to accept any mail."
GREETING = b"220 h.example ESMTP null521\r\n"
REFUSED = f"521 {TEXT}\r\n".encode()
READY = b"220 go ahead with TLS\r\n"
BYE = b"221 h.example\r\n"

# 5 MB in all, more than the socket buffers hold: tcp(7), tcp_wmem.
SLOW_COUNT = 10_000
LONG_TEXT = "x" * 490
LONG_REFUSED = f"521 {LONG_TEXT}\r\n".encode()
SLOW_FLAGS = [f"--text={LONG_TEXT}", "--max-commands=1000000", "--max-octets=10000000"]

# `null521 serve` with uvloop and without. The launcher finds uvloop only if Debian's is installed.
MAIN = "import sys\n{}\nfrom null521.cli import main\nsys.exit(main(['serve', *sys.argv[1:]]))"
SERVE = (sys.executable, "-c", MAIN.format("import uvloop"))
SERVE_WITHOUT_UVLOOP = (sys.executable, "-c", MAIN.format("sys.modules['uvloop'] = None"))


def until(is_so: Callable[[], bool]) -> None:
    """Wait for that; AssertionError if it takes too long."""
    deadline = time.monotonic() + TEST_TIMEOUT
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def starttls(client: socket.socket) -> None:
    """Ask for TLS, and read what is said in clear."""
    client.sendall(b"STARTTLS\r\n")
    told = b""
    while not told.endswith(READY):
        told += (octet := client.recv(1))
        assert octet, told
    assert told == GREETING + READY


class Caller:
    """A client's socket, and the record that the program at its other end writes."""

    def __init__(self, client: socket.socket) -> None:
        self.client = client

    def read_all(self) -> bytes:
        """Read until the program closes, then close too; ConnectionResetError after a reset."""
        octets = bytearray()
        while chunk := self.client.recv(65536):
            octets += chunk
        self.client.close()  # as clients do; the lingering close waits for it
        return bytes(octets)

    def record(self) -> str:
        """The record, as text, that the program writes once this client has disconnected."""
        raise NotImplementedError

    def ending(self) -> str:
        """How the session ended, from the record."""
        record = self.record()
        found = re.search(r"; ([a-z-]+) after \d+ commands?, \d+\.\d{3} s\n$", record)
        assert found, record
        return found[1]


# answered() for the launcher, Servers.answered for `null521 serve`.
Driver = Callable[..., AbstractContextManager[Caller]]
First = Callable[[socket.socket], None] | None


class Answered(Caller):
    """A client with a process of its own, which writes its record to standard error."""

    def __init__(self, client: socket.socket, process: "subprocess.Popen[bytes]") -> None:
        super().__init__(client)
        self.process = process

    def record(self) -> str:
        """The record and any warnings before it; the process must end with status 0."""
        _, line = self.process.communicate(timeout=TEST_TIMEOUT)
        assert self.process.returncode == 0, line
        return line.decode()


def tcp_pair(host: str = "127.0.0.1") -> tuple[socket.socket, socket.socket]:
    """A client's socket, and the accepted connection at its other end."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as server:
        client = socket.create_connection(server.getsockname()[:2], timeout=TEST_TIMEOUT)
        connection, _ = server.accept()
    return client, connection


def reset(client: socket.socket) -> None:
    """Close with a RST, by SO_LINGER with a time of 0: socket(7)."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()


@contextlib.contextmanager
def answered(
    launcher: Path, *flags: str, log: str = "stderr", first: First = None
) -> Iterator[Answered]:
    """A TCP client connected to one run of the launcher with these flags.

    first: what the client does before the program can send anything.
    """
    client, connection = tcp_pair()
    if first:
        first(client)
    process = subprocess.Popen(
        [str(launcher), "--hostname=h.example", f"--log={log}", *flags],
        stdin=connection.fileno(),
        stdout=connection.fileno(),
        stderr=subprocess.PIPE,
    )
    connection.close()
    with client, process:
        try:
            yield Answered(client, process)
        finally:
            process.kill()


class Server:
    """A running `null521 serve` that writes JSON records; the block starts once it answers.

    listen: by default, a free port of 127.0.0.1. starting: the records before it answers.
    """

    def __init__(
        self,
        *flags: str,
        words: Sequence[str] = SERVE,
        listen: Sequence[str] = ("127.0.0.1:0",),
        **options: Any,
    ) -> None:
        command = [*words, "--hostname=h.example", "--log=json", *flags]
        command += [f"--listen={place}" for place in listen]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        self.process = subprocess.Popen(command, cwd=TREE, **{**pipes, **options})
        self.starting: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        while "Answering on " not in (entry := self.next())["message"]:
            self.starting.append(entry)
        self.places = entry["message"].removeprefix("Answering on ").split(", ")
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def address(self, number: int = 0) -> tuple[str, int]:
        """Host and port of one of its TCP sockets, in the order of --listen."""
        host, _, port = self.places[number].rpartition(":")
        return host.strip("[]"), int(port)

    def dial(self, source: str = "127.0.0.1") -> socket.socket:
        """A client of the first socket, from that address."""
        return socket.create_connection(self.address(), TEST_TIMEOUT, (source, 0))

    def next(self) -> dict[str, Any]:
        """The next record."""
        assert self.process.stdout
        # readline() has no timeout of its own, so the process is killed instead.
        timeout = threading.Timer(TEST_TIMEOUT, self.process.kill)
        timeout.start()
        line = self.process.stdout.readline()
        timeout.cancel()
        assert line, f"no record; standard error: {self.process.communicate()[1]!r}"
        entry: dict[str, Any] = json.loads(line)
        return entry

    def stop(self, number: signal.Signals = signal.SIGTERM) -> list[dict[str, Any]]:
        """Stop it; return the unread records. Status 0 and an empty standard error are asserted."""
        self.process.send_signal(number)
        return self.rest()

    def rest(self) -> list[dict[str, Any]]:
        """The same for a server that ends by itself."""
        records, errors = self.process.communicate(timeout=TEST_TIMEOUT)
        assert (self.process.returncode, errors) == (0, b"")
        return [json.loads(line) for line in records.splitlines()]


class Served(Caller):
    """A client of a server that has other clients too."""

    def __init__(self, client: socket.socket, server: Server) -> None:
        super().__init__(client)
        self.server = server
        self._port = client.getsockname()[1]

    def record(self) -> str:
        return f"null521: {self._entry()['message']}\n"

    def ending(self) -> str:
        ending: str = self._entry()["ending"]  # a long message is shortened
        return ending

    def _entry(self) -> dict[str, Any]:
        """This client's record, after skipping those of others."""
        while (entry := self.server.next()).get("client_port") != self._port:
            pass
        return entry


class Servers:
    """One `null521 serve` for each set of flags, shared by all clients that need these flags."""

    def __init__(self, words: Sequence[str]) -> None:
        self._words = words
        self._servers: dict[tuple[str, ...], Server] = {}
        self._running = contextlib.ExitStack()

    def __enter__(self) -> Self:
        self._running.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        with self._running:
            for server in self._servers.values():
                server.stop()

    @contextlib.contextmanager
    def answered(self, *flags: str, first: First = None) -> Iterator[Served]:
        """As answered() above, for `null521 serve`."""
        if flags not in self._servers:
            server = Server(*flags, words=self._words)
            self._servers[flags] = self._running.enter_context(server)
        server = self._servers[flags]
        if first:
            server.process.send_signal(signal.SIGSTOP)
        with server.dial() as client:
            served = Served(client, server)
            if first:
                first(client)
                server.process.send_signal(signal.SIGCONT)
            yield served


def dial(host: str, port: int, octets: bytes) -> tuple[int, str]:
    """Send the octets and read to the end; return the local port and what was received."""
    with socket.create_connection((host, port), timeout=TEST_TIMEOUT) as client:
        own_port: int = client.getsockname()[1]
        client.sendall(octets)
        received = b""
        while chunk := client.recv(65536):
            received += chunk
    return own_port, received.decode()


if __name__ == "__main__":
    octets = sys.stdin.buffer.read()
    count = int(sys.argv[3]) if len(sys.argv) > 3 else 1
    with ThreadPoolExecutor(8) as pool:
        for answer in pool.map(lambda _: dial(sys.argv[1], int(sys.argv[2]), octets), range(count)):
            print(json.dumps(answer))
