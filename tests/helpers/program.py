"""Clients: one joined to the program, by whichever driver it is run, and one that dials an address.

    python3 tests/helpers/program.py HOST PORT [COUNT]

as a program, for other namespaces, sends its standard input in each of COUNT connections, eight at
once, and prints for each a JSON list of the local port and all that was received.
"""

import contextlib
import json
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Self

PATIENCE = 20.0  # seconds until a test that hangs fails
TREE = Path(__file__).parents[2]

# What h.example says, which is the host's name in all that is started here.
TEXT = "h.example is configured NOT to accept any mail."
GREETING = b"220 h.example ESMTP null521\r\n"
REFUSED = f"521 {TEXT}\r\n".encode()
BYE = b"221 h.example\r\n"

# 5 MB in all, which is more than room is made for on its way: tcp(7), tcp_wmem.
SLOW_COUNT = 10_000
LONG_TEXT = "x" * 490
LONG_REFUSED = f"521 {LONG_TEXT}\r\n".encode()
SLOW_FLAGS = [f"--text={LONG_TEXT}", "--max-commands=1000000", "--max-octets=10000000"]

# `null521 serve` with uvloop, which the launcher has only where Debian's is installed, and without.
MAIN = "import sys\n{}\nfrom null521.cli import main\nsys.exit(main(['serve', *sys.argv[1:]]))"
SERVE = (sys.executable, "-c", MAIN.format("import uvloop"))
SERVE_WITHOUT_UVLOOP = (sys.executable, "-c", MAIN.format("sys.modules['uvloop'] = None"))


class Caller:
    """A client's socket, and what the program at its other end says of it afterwards."""

    def __init__(self, client: socket.socket) -> None:
        self.client = client

    def read_all(self) -> bytes:
        """All until the other side closes, cleanly or else ConnectionResetError; then close too."""
        octets = bytearray()
        while chunk := self.client.recv(65536):
            octets += chunk
        self.client.close()  # as clients do; the goodbye waits for it
        return bytes(octets)

    def record(self) -> str:
        """The line for people that the program leaves behind once this client is gone."""
        raise NotImplementedError

    def ending(self) -> str:
        """How the session ended, as the record has it."""
        record = self.record()
        found = re.search(r"; ([a-z-]+) after \d+ commands?, \d+\.\d{3} s\n$", record)
        assert found, record
        return found[1]


# What answered() is for the launcher, and Servers.answered for `null521 serve`.
Driver = Callable[..., AbstractContextManager[Caller]]
First = Callable[[socket.socket], None] | None


class Answered(Caller):
    """By a process of its own, whose record goes to standard error."""

    def __init__(self, client: socket.socket, process: "subprocess.Popen[bytes]") -> None:
        super().__init__(client)
        self.process = process

    def record(self) -> str:
        """With the warnings before it; the process has ended, with status 0."""
        _, line = self.process.communicate(timeout=PATIENCE)
        assert self.process.returncode == 0, line
        return line.decode()


def tcp_pair(host: str = "127.0.0.1") -> tuple[socket.socket, socket.socket]:
    """A client's socket and the accepted connection to it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as server:
        client = socket.create_connection(server.getsockname()[:2], timeout=PATIENCE)
        connection, _ = server.accept()
    return client, connection


def reset(client: socket.socket) -> None:
    """Close with a RST, which SO_LINGER with a time of 0 makes: socket(7)."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()


@contextlib.contextmanager
def answered(
    launcher: Path, *flags: str, log: str = "stderr", first: First = None
) -> Iterator[Answered]:
    """A TCP client connected to one run of the launcher with these flags.

    first: what the client does before the program has a chance to say anything.
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
    """A run of `null521 serve`, from when it answers; its records come as JSON.

    listen: where; on a free port of 127.0.0.1 by default. starting: what it says before it answers.
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
        """Of the TCP places, in their order."""
        host, _, port = self.places[number].rpartition(":")
        return host.strip("[]"), int(port)

    def dial(self, source: str = "127.0.0.1") -> socket.socket:
        """A client of the first place, from that address."""
        return socket.create_connection(self.address(), PATIENCE, (source, 0))

    def next(self) -> dict[str, Any]:
        """The next record."""
        assert self.process.stdout
        # A kill is what ends the waiting for a line that does not come.
        patience = threading.Timer(PATIENCE, self.process.kill)
        patience.start()
        line = self.process.stdout.readline()
        patience.cancel()
        assert line, f"no record; standard error: {self.process.communicate()[1]!r}"
        entry: dict[str, Any] = json.loads(line)
        return entry

    def stop(self, number: signal.Signals = signal.SIGTERM) -> list[dict[str, Any]]:
        """End it, with status 0 and not a word on standard error; the records that were left."""
        self.process.send_signal(number)
        return self.rest()

    def rest(self) -> list[dict[str, Any]]:
        """The records that are left when it has ended by itself, as stop() asserts it."""
        records, said = self.process.communicate(timeout=PATIENCE)
        assert (self.process.returncode, said) == (0, b"")
        return [json.loads(line) for line in records.splitlines()]


class Served(Caller):
    """By a server that has other clients too."""

    def __init__(self, client: socket.socket, server: Server) -> None:
        super().__init__(client)
        self.server = server
        self._port = client.getsockname()[1]

    def record(self) -> str:
        return f"null521: {self._entry()['message']}\n"

    def ending(self) -> str:
        ending: str = self._entry()["ending"]  # a long message is cut
        return ending

    def _entry(self) -> dict[str, Any]:
        """The first that is of this client, of all that have not been read yet."""
        while (entry := self.server.next()).get("client_port") != self._port:
            pass
        return entry


class Servers:
    """A run of `null521 serve` for all clients of the same flags, from the first to the last."""

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
        """As the function of that name."""
        if flags not in self._servers:
            server = Server(*flags, words=self._words)
            self._servers[flags] = self._running.enter_context(server)
        server = self._servers[flags]
        if first:
            server.process.send_signal(signal.SIGSTOP)
        with server.dial() as client:
            to = Served(client, server)
            if first:
                first(client)
                server.process.send_signal(signal.SIGCONT)
            yield to


def dial(host: str, port: int, octets: bytes) -> tuple[int, str]:
    """Send it all, then read to the end; the local port and what was received."""
    with socket.create_connection((host, port), timeout=PATIENCE) as client:
        own_port: int = client.getsockname()[1]
        client.sendall(octets)
        received = b""
        while chunk := client.recv(65536):
            received += chunk
    return own_port, received.decode()


if __name__ == "__main__":
    said = sys.stdin.buffer.read()
    count = int(sys.argv[3]) if len(sys.argv) > 3 else 1
    with ThreadPoolExecutor(8) as several:
        for answer in several.map(
            lambda _: dial(sys.argv[1], int(sys.argv[2]), said), range(count)
        ):
            print(json.dumps(answer))
