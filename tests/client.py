"""A client and the process that answers it, as a superserver would have joined them.

Superservers themselves are tested elsewhere; this is for what a client can do to the program.
"""

import contextlib
import socket
import subprocess
from collections.abc import Iterator
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
