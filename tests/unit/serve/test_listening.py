"""The sockets on which a server listens: inherited ones, and those that it creates."""

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from null521.serve import listening
from null521.serve.settings import address_of


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def create(opened: ExitStack, *places: str) -> list[socket.socket]:
    listeners = listening.sockets(places, {})
    for listener in listeners:
        opened.enter_context(listener)
    return listeners


def test_each_place_has_a_socket(opened: ExitStack, tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    four, six, local = create(opened, "127.0.0.1:0", "[::1]:0", path)
    assert not any(listener.getblocking() for listener in (four, six, local))
    assert listening.label(four) == f"127.0.0.1:{four.getsockname()[1]}"
    assert listening.label(six) == f"[::1]:{six.getsockname()[1]}"
    assert listening.label(local) == path
    for listener in (four, six, local):
        opened.enter_context(client := socket.socket(listener.family))
        client.connect(listener.getsockname())
    assert address_of(listening.label(six)) == ("::1", six.getsockname()[1])


def test_a_star_means_all_addresses_of_both_families(opened: ExitStack) -> None:
    (everywhere,) = create(opened, "*:0")
    for host in ("127.0.0.1", "::1"):
        opened.enter_context(socket.create_connection((host, everywhere.getsockname()[1])))


def test_an_ipv6_socket_does_not_accept_ipv4(opened: ExitStack) -> None:
    held = opened.enter_context(socket.socket())  # so that no other test listens there
    held.bind(("127.0.0.1", 0))
    (six,) = create(opened, f"[::]:{held.getsockname()[1]}")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", six.getsockname()[1]))


@pytest.mark.parametrize(
    "place", ["192.0.2.1:0", "/nonexistent/socket", "[2001:db8::1]:0", "/dev/null", "in use"]
)
def test_the_error_names_the_place(opened: ExitStack, tmp_path: Path, place: str) -> None:
    """And sockets created before it are removed."""
    if place == "in use":
        place = listening.label(create(opened, "127.0.0.1:0")[0])
    before = str(tmp_path / "before")
    with pytest.raises(OSError, match=r"assign|No such|in use") as error:
        create(opened, before, place)
    assert error.value.filename == place
    assert not Path(before).exists()


# Sockets with a path.


def test_the_path_of_a_killed_server_is_reused(opened: ExitStack, tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    create(opened, path)[0].close()
    assert Path(path).is_socket()
    (listener,) = create(opened, path)
    opened.enter_context(client := socket.socket(socket.AF_UNIX))
    client.connect(path)
    assert listener.accept()


@pytest.mark.parametrize("what", ["a server", "a busy server", "a datagram socket", "a file"])
def test_a_path_in_use_is_refused_and_not_changed(
    opened: ExitStack, tmp_path: Path, what: str
) -> None:
    path = str(tmp_path / "socket")
    if what == "a file":
        Path(path).write_text("x")
    else:
        kind = socket.SOCK_DGRAM if what == "a datagram socket" else socket.SOCK_STREAM
        opened.enter_context(other := socket.socket(socket.AF_UNIX, kind))
        other.bind(path)
        if kind == socket.SOCK_STREAM:
            other.listen(0)
        if what == "a busy server":  # its queue is full, so connect(2) would wait
            opened.enter_context(client := socket.socket(socket.AF_UNIX))
            client.connect(path)
    before = os.stat(path)
    with pytest.raises(OSError, match="in use"):
        create(opened, path)
    assert os.path.samestat(os.stat(path), before)


def test_closing_removes_the_paths(opened: ExitStack, tmp_path: Path) -> None:
    places = str(tmp_path / "one"), str(tmp_path / "two")
    listeners = create(opened, *places, "127.0.0.1:0")
    listening.close(listeners, places)
    assert list(tmp_path.iterdir()) == []
    assert all(listener.fileno() == -1 for listener in listeners)


def test_the_path_of_an_inherited_socket_stays(opened: ExitStack, tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    listening.close(create(opened, path), ())
    assert Path(path).is_socket()


# Inherited sockets; tests/program/test_serve.py tests how a server gets them.


@pytest.mark.parametrize(
    ("environ", "descriptors"),
    [
        ({"LISTEN_FDS": "2", "LISTEN_PID": "{pid}"}, [3, 4]),
        ({"LISTEN_FDS": "1", "LISTEN_PID": "{pid}", "LISTEN_FDNAMES": "null521.socket"}, [3]),
        ({"LISTEN_FDS": "0", "LISTEN_PID": "{pid}"}, []),
        ({"LISTEN_FDS": "1", "LISTEN_PID": "1"}, []),
        ({"LISTEN_FDS": "1"}, []),
        ({"LISTEN_FDS": "x", "LISTEN_PID": "{pid}"}, []),
        ({"LISTEN_FDS": "²", "LISTEN_PID": "{pid}"}, []),
        ({}, []),
    ],
)
def test_the_environment_tells_which_descriptors_are_inherited(
    environ: dict[str, str], descriptors: list[int]
) -> None:
    given = {name: text.format(pid=os.getpid()) for name, text in environ.items()}
    assert list(listening.handed_over((), given)) == descriptors


def test_a_server_needs_something_to_listen_on() -> None:
    with pytest.raises(listening.Misuse, match="needs --listen=ADDRESS:PORT, or a socket"):
        listening.sockets((), {})
