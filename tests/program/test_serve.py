"""`null521 serve` from its start to its end: where it answers, what it is handed, how it stops."""

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from helpers.program import (
    BYE,
    GREETING,
    MAIN,
    REFUSED,
    SERVE,
    SERVE_WITHOUT_UVLOOP,
    TEST_TIMEOUT,
    TREE,
    Served,
    Server,
    tcp_pair,
)
from helpers.serve import EX_CONFIG, EX_OSERR, ask, fails, wait_until_it_stops_listening


def test_as_installed(launcher: Path) -> None:
    with Server(words=[str(launcher), "serve"]) as server, server.dial() as client:
        client.sendall(b"QUIT\r\n")
        assert Served(client, server).read_all() == REFUSED + BYE
        assert server.next()["client"] == "127.0.0.1"
        assert server.stop() == []


def test_help_for_people(launcher: Path) -> None:
    command = [str(launcher), "serve", "--help"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert text.startswith("usage: null521 serve ")
    for name in ("listen", "max-connections", "grace", "refuse-at", "metrics"):
        assert f"--{name} " in text


@pytest.mark.parametrize("words", [SERVE, SERVE_WITHOUT_UVLOOP], ids=["uvloop", "asyncio"])
def test_uvloop_is_used_where_it_is_installed(words: tuple[str, ...]) -> None:
    with Server(words=words) as server:
        maps = Path(f"/proc/{server.process.pid}/maps").read_text()
        assert ("/uvloop/loop." in maps) == (words is SERVE)


# Where it answers.


def test_several_places(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    places = ["127.0.0.1:0", "[::1]:0", f"{path},127.0.0.2:0", "*:0"]
    with Server(listen=places) as server:
        assert ask(socket.AF_INET, server.address(0)) == REFUSED + BYE
        assert ask(socket.AF_INET6, server.address(1)) == REFUSED + BYE
        assert server.places[2] == path
        assert ask(socket.AF_UNIX, path) == REFUSED + BYE
        assert ask(socket.AF_INET, server.address(3)) == REFUSED + BYE
        _, port = server.address(4)
        assert ask(socket.AF_INET, ("127.0.0.1", port)) == REFUSED + BYE
        assert ask(socket.AF_INET6, ("::1", port)) == REFUSED + BYE
        clients = [entry.get("client") for entry in server.stop()]
        assert clients == ["127.0.0.1", "::1", None, "127.0.0.1", "127.0.0.1", "::1"]
    assert not Path(path).exists()


def test_places_from_the_environment() -> None:
    environ = {**os.environ, "NULL521_LISTEN": "127.0.0.1:0 [::1]:0"}
    with Server(listen=[], env=environ) as server:
        assert ask(socket.AF_INET6, server.address(1)) == REFUSED + BYE


def test_a_port_in_use() -> None:
    with Server() as server:
        (place,) = server.places
        told = [f"null521: cannot listen on {place}: Address already in use"]
        assert fails(f"--listen={place}") == (EX_OSERR, told)
        assert fails("--listen=127.0.0.1:0", f"--metrics={place}") == (EX_OSERR, told)
        assert ask(socket.AF_INET, server.address()) == REFUSED + BYE


def test_the_path_of_a_server_that_runs(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with Server(listen=[path]) as server:
        told = [f"null521: cannot listen on {path}: Address already in use"]
        assert fails(f"--listen={path}") == (EX_OSERR, told)
        assert ask(socket.AF_UNIX, path) == REFUSED + BYE
        server.process.kill()
        server.process.wait()
        assert Path(path).exists()
    with Server(listen=[path]):
        assert ask(socket.AF_UNIX, path) == REFUSED + BYE


@pytest.mark.parametrize(
    "flag",
    [
        "--listen=localhost:25",
        "--metrics=9521",
        "--max-connections=0",
        "--max-per-client=many",
        "--exit-idle=-1",
        "--grace=forever",
        "--proxy-protocol=everywhere",
        "--refuse-at=never",
        "--nonsense",
    ],
)
def test_a_bad_setting_is_one_line_and_nobody_is_answered(flag: str) -> None:
    status, (line,) = fails("--listen=127.0.0.1:0", flag)
    assert status == EX_CONFIG
    assert line.startswith(f"null521: {flag.partition('=')[0]}" if "=" in flag else "null521: '--n")


def test_bad_settings_are_a_line_each() -> None:
    environ = {**os.environ, "NULL521_LISTEN": "x", "NULL521_LOG": "y"}
    status, lines = fails("--grace=z", env=environ)
    assert status == EX_CONFIG
    assert [line.split()[1] for line in lines] == ["NULL521_LOG", "NULL521_LISTEN", "--grace"]


# What is handed over.


ACCEPTED = "null521: what was handed over is a connection, but should be a listening socket"
NO_STREAM = "null521: what was handed over is no stream socket"
NO_SOCKET = "null521: descriptor 3, which was handed over, is no socket"
NOTHING = "null521: there is nothing to answer on: needs --listen=ADDRESS:PORT, or a socket"

# To start it with its standard input as the descriptor that systemd hands over: sd_listen_fds(3).
BY_SYSTEMD = 'exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec "$@"'
HANDED_OVER = ("sh", "-c", BY_SYSTEMD, "sh", *SERVE)


@pytest.mark.parametrize("words", [SERVE, HANDED_OVER], ids=["inetd", "systemd"])
@pytest.mark.parametrize("places", [[], ["127.0.0.1:0"]], ids=["", "listen"])
def test_a_listening_socket(words: tuple[str, ...], places: list[str]) -> None:
    """systemd's wins over --listen, which may stand in the environment; inetd's does not."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with Server(words=words, listen=places, stdin=listener.fileno()) as server:
            handed_over = server.address() == listener.getsockname()
            assert handed_over == (words is HANDED_OVER or not places)
            assert ask(socket.AF_INET, server.address()) == REFUSED + BYE
            server.next()
            server.stop()
        # It is whoever made it that listens there still, for the next one to be started.
        with socket.create_connection(listener.getsockname()):
            pass


def test_a_path_that_was_handed_over_is_not_taken_away(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        with Server(words=HANDED_OVER, listen=[], stdin=listener.fileno()) as server:
            assert ask(socket.AF_UNIX, path) == REFUSED + BYE
            server.next()
            server.stop()
    assert Path(path).exists()


@pytest.mark.parametrize("words", [SERVE, HANDED_OVER], ids=["inetd", "systemd"])
def test_the_wrong_thing(words: tuple[str, ...]) -> None:
    with ExitStack() as stack:
        for thing in (*tcp_pair(), *socket.socketpair()):
            stack.enter_context(thing)
            status, (line,) = fails(words=words, stdin=thing.fileno())
            assert (status, line.startswith(ACCEPTED)) == (EX_CONFIG, True)
        stack.enter_context(datagrams := socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        status, (line,) = fails(words=words, stdin=datagrams.fileno())
        assert (status, line.startswith(NO_STREAM)) == (EX_CONFIG, True)
    status, (line,) = fails(words=words)
    assert (status, line.startswith(NOTHING if words is SERVE else NO_SOCKET)) == (EX_CONFIG, True)


def test_standard_input_that_happens_to_be_a_socket() -> None:
    """As sshd and many a supervisor make it."""
    ours, theirs = socket.socketpair()
    with ours, theirs, Server(stdin=theirs.fileno()) as server:
        assert ask(socket.AF_INET, server.address()) == REFUSED + BYE


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (1, 2), (0, 1, 2)], ids=str)
@pytest.mark.parametrize("log", ["auto", "json", "stderr", "none"])
def test_descriptors_closed(closed: tuple[int, ...], log: str) -> None:
    """Sockets may get their numbers then, and no record may be told to a client."""
    closing = " ".join(f"{fd}>&-" for fd in closed)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        start = f'exec 3<&0 {closing}; LISTEN_PID=$$ LISTEN_FDS=1 exec "$@"'
        process = subprocess.Popen(
            ["sh", "-c", start, "sh", *SERVE, "--hostname=h.example", f"--log={log}"],
            cwd=TREE,
            stdin=listener.fileno(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            for _ in range(3):
                assert ask(socket.AF_INET, listener.getsockname()) == REFUSED + BYE
            process.terminate()
            assert process.wait(TEST_TIMEOUT) == 0
        finally:
            process.kill()
            process.wait()


# The end.


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_at_once_when_nothing_is_open(number: signal.Signals) -> None:
    with Server("--grace=3600") as server:
        assert server.stop(number) == []


# The moment before its handlers are set, in which the signal comes; and the one after they are.
EARLY = """
import os, signal
from null521.serve import listening
real = listening.sockets
def sockets(*given):
    os.kill(os.getpid(), signal.{})
    return real(*given)
listening.sockets = sockets
"""
LATE = """
import asyncio, os, signal
real = asyncio.Runner.close
def close(self):
    os.kill(os.getpid(), signal.{})
    real(self)
    os.kill(os.getpid(), signal.{})
asyncio.Runner.close = close
"""


@pytest.mark.parametrize("loop", ["import uvloop", "import sys; sys.modules['uvloop'] = None"])
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
@pytest.mark.parametrize("code", [EARLY, LATE], ids=["early", "late"])
def test_a_signal_never_ends_it_without_its_consent(loop: str, name: str, code: str) -> None:
    words = (sys.executable, "-c", MAIN.replace("{}", loop + code.replace("{}", name)))
    with Server(words=words) as server:
        assert (server.rest() if code is EARLY else server.stop()) == []


@pytest.mark.parametrize("words", [SERVE, SERVE_WITHOUT_UVLOOP], ids=["uvloop", "asyncio"])
def test_all_that_wait_when_it_is_stopped_are_answered(words: tuple[str, ...]) -> None:
    with Server(words=words, listen=["127.0.0.1:0"]) as server, ExitStack() as open_until_here:
        server.process.send_signal(signal.SIGSTOP)
        clients = [
            open_until_here.enter_context(server.dial(f"127.0.{number}.1"))
            for number in range(250)
            for _ in range(2)
        ]
        server.process.terminate()
        server.process.send_signal(signal.SIGCONT)
        for client in clients:
            client.sendall(b"QUIT\r\n")
        told = [Served(client, server).read_all() for client in clients]
        assert told == [REFUSED + BYE] * len(clients)
        assert [entry["ending"] for entry in server.rest()] == ["quit"] * len(clients)


def test_sessions_may_end_within_the_grace_time() -> None:
    with Server("--grace=3600", "--refuse-at=rcpt") as server, server.dial() as client:
        assert client.recv(100) == GREETING
        server.process.terminate()
        wait_until_it_stops_listening(server)
        client.sendall(b"QUIT\r\n")
        assert Served(client, server).read_all() == BYE
        assert server.rest()[-1]["ending"] == "quit"


def test_sessions_that_do_not_are_told(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    start = time.monotonic()
    flags = ["--grace=1", "--refuse-at=rcpt"]
    with Server(*flags, listen=["127.0.0.1:0", path]) as server, server.dial() as client:
        assert client.recv(100) == GREETING
        server.process.terminate()
        assert Served(client, server).read_all() == REFUSED
        assert [entry["ending"] for entry in server.rest()] == ["stopped"]
        assert time.monotonic() >= start + 1
    assert not Path(path).exists()


def test_a_client_that_stays_does_not_keep_it() -> None:
    """Neither in its session nor after it."""
    with Server("--grace=0") as server, server.dial() as one, server.dial() as other:
        other.sendall(b"QUIT\r\n")
        assert server.next()["ending"] == "quit"
        assert [entry["ending"] for entry in server.stop()] == ["stopped"]
        one.close()


def test_a_second_signal_ends_it_at_once() -> None:
    with Server("--grace=3600", "--refuse-at=rcpt") as server, server.dial() as client:
        assert client.recv(100) == GREETING
        server.process.terminate()
        wait_until_it_stops_listening(server)
        assert server.stop()[-1]["ending"] == "stopped"
        assert client.recv(100) == REFUSED


def test_it_exits_when_idle() -> None:
    with Server("--exit-idle=1") as server:
        with server.dial() as client:
            assert client.recv(100) == REFUSED
            time.sleep(1.5)
            start = time.monotonic()
            client.sendall(b"QUIT\r\n")
            assert Served(client, server).read_all() == BYE
        assert [entry["ending"] for entry in server.rest()] == ["quit"]
        assert time.monotonic() >= start + 1
    with Server("--exit-idle=0.5") as server:
        assert server.rest() == []
