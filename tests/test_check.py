"""null521 check against null521 in each stage, and against hosts that do otherwise."""

import contextlib
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from client import PATIENCE

TREE = Path(__file__).parent.parent
STAGES = ("greeting", "helo", "mail", "rcpt")


def check(place: str) -> tuple[int, str]:
    """Exit status and output."""
    words = [sys.executable, "-m", "null521", "check", place]
    done = subprocess.run(words, cwd=TREE, capture_output=True, timeout=PATIENCE, check=False)
    assert done.stderr == b""
    return done.returncode, done.stdout.decode()


@contextlib.contextmanager
def host(*replies: bytes) -> Iterator[str]:
    """A real socket on which each line, and the connection itself, gets the next of the replies."""

    def answer() -> None:
        connection, _ = server.accept()
        with connection, connection.makefile("rb") as lines:
            for reply in replies:
                connection.sendall(reply)
                lines.readline()

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=answer)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        thread.join()


@pytest.mark.parametrize("stage", STAGES)
def test_null521_in_each_stage(launcher: Path, stage: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        place = f"127.0.0.1:{server.getsockname()[1]}"
        words = [str(launcher), "--hostname=h.example", f"--refuse-at={stage}", "--log=none"]

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                subprocess.run(
                    words, stdin=connection.fileno(), stdout=connection.fileno(), check=True
                )

        thread = threading.Thread(target=answer)
        thread.start()
        status, said = check(place)
        thread.join()
    assert (status, said.startswith(f"{place} refuses at {stage}: '521 ")) == (0, True)


@pytest.mark.parametrize(
    ("replies", "status", "word"),
    [
        ([b"220 h\r\n", b"250-h\r\n250 X\r\n", b"250 ok\r\n", b"250 ok\r\n", b""], 1, "250 ok"),
        ([b"521 h\r\n", b"250 h\r\n", b"250 ok\r\n", b"250 ok\r\n", b""], 1, "250 ok"),
        ([b"220 h\r\n", b"250 h\r\n", b"250 ok\r\n", b"550 \x1b[2J\r\n", b""], 1, r"\x1b[2J"),
        ([b"SSH-2.0-x\r\n"], 2, "does not speak SMTP"),
        ([b"220 h\r\n"], 2, "hung up"),
        ([b"220-h\r\n" * 100], 2, "more than 64 lines"),
    ],
    ids=["accepts", "lies", "another code", "no SMTP", "hangs up", "endless"],
)
def test_other_hosts(replies: list[bytes], status: int, word: str) -> None:
    with host(*replies) as place:
        found, said = check(place)
    assert (found, word in said, said.count("\n")) == (status, True, 1)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_a_closed_port(address: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.create_server((address, 0), family=family) as server:
        port = server.getsockname()[1]
    status, said = check(f"[{address}]:{port}")
    assert (status, "refused" in said) == (2, True)


@pytest.mark.parametrize("place", ["h:x", ":25", "[::1]:65536", ""])
def test_what_is_no_host(place: str) -> None:
    status, said = check(place)
    assert (status, "no HOST or HOST:PORT" in said) == (2, True)
