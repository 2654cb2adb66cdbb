"""What systemd is told, by real sockets of both kinds."""

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from null521.serve.notify import Notifier


@pytest.fixture(params=["path", "abstract"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    path = str(tmp_path / "notify")
    return path if request.param == "path" else "@" + path


@pytest.fixture
def systemd(place: str) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(place.replace("@", "\0"))
        receiver.setblocking(False)
        yield receiver


def test_each_message_is_one_datagram_of_lines(systemd: socket.socket, place: str) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": place})
    assert notifier.is_wanted
    assert notifier.send("READY=1") == ""
    assert notifier.send("WATCHDOG=1", "STATUS=0 open") == ""
    assert systemd.recv(4096) == b"READY=1"
    assert systemd.recv(4096) == b"WATCHDOG=1\nSTATUS=0 open"


def test_a_full_socket_neither_delays_nor_fails(systemd: socket.socket, place: str) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": place})
    start = time.monotonic()
    for _ in range(5000):  # more than net.unix.max_dgram_qlen
        assert notifier.send("WATCHDOG=1") == ""
    assert time.monotonic() - start < 5
    received = 0
    try:
        while systemd.recv(4096):
            received += 1
    except BlockingIOError:
        pass
    assert 0 < received < 5000
    assert notifier.send("READY=1") == ""
    assert systemd.recv(4096) == b"READY=1"


def test_a_place_that_is_not_text_is_told_in_one_line() -> None:
    said = Notifier({"NOTIFY_SOCKET": "/none/\udcff\n"}).send("READY=1")
    assert "NOTIFY_SOCKET=/none/\\udcff\\n)" in said
    assert said.isascii()


def test_without_a_socket_nothing_is_sent() -> None:
    for environ in ({}, {"NOTIFY_SOCKET": ""}):
        notifier = Notifier(environ)
        assert not notifier.is_wanted
        assert notifier.send("READY=1") == ""


@pytest.mark.parametrize("named", ["/nowhere/notify", "vsock:2:1234", "@nobody", "/" + 200 * "x"])
def test_a_socket_out_of_reach_is_told(named: str) -> None:
    told = Notifier({"NOTIFY_SOCKET": named}).send("READY=1")
    assert told.startswith(f"systemd cannot be told the state (NOTIFY_SOCKET={named}): ")
    assert "\n" not in told


@pytest.mark.parametrize(
    ("usec", "seconds"), [(None, 0), ("", 0), ("soon", 0), ("-1", 0), ("30000000", 15)]
)
def test_the_watchdog_is_told_twice_in_its_interval(usec: str | None, seconds: float) -> None:
    environ = {} if usec is None else {"WATCHDOG_USEC": usec}
    assert Notifier(environ).watchdog == seconds
