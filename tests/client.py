"""Clients: one joined to the program as by a superserver, and one that dials an address.

    python3 tests/client.py HOST PORT [COUNT]

as a program, for other namespaces, sends its standard input in each of COUNT connections, eight at
once, and prints for each a JSON list of the local port and all that was received.
"""

import contextlib
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

PATIENCE = 20.0  # seconds until a test that hangs fails


class Answered(NamedTuple):
    """A client's socket, and the process at its other end, whose record goes to standard error."""

    client: socket.socket
    process: subprocess.Popen[bytes]

    def read_all(self) -> bytes:
        """All until the other side closes, cleanly or else ConnectionResetError; then close too."""
        octets = b""
        while chunk := self.client.recv(65536):
            octets += chunk
        self.client.close()  # as clients do; the goodbye waits for it
        return octets

    def record(self) -> str:
        """The line for people that the process leaves behind when it has ended with status 0."""
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


@contextlib.contextmanager
def answered(launcher: Path, *flags: str, log: str = "stderr") -> Iterator[Answered]:
    """A TCP client connected to one run of the launcher with these flags."""
    client, connection = tcp_pair()
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
