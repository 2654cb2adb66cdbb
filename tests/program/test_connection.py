"""Whatever a superserver may hand over for one connection, and the command line.

What clients may do is in test_drivers.py.
"""

import contextlib
import os
import pty
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.program import BYE, GREETING, REFUSED, TEST_TIMEOUT, TEXT, Answered, answered, tcp_pair


def test_unix_socket_and_socketpair(launcher: Path, tmp_path: Path) -> None:
    server = socket.socket(socket.AF_UNIX)
    with server:
        server.bind(str(tmp_path / "s"))
        server.listen()
        named = socket.socket(socket.AF_UNIX)
        named.connect(str(tmp_path / "s"))
        pairs = [(named, server.accept()[0]), socket.socketpair()]
    for client, connection in pairs:
        client.settimeout(TEST_TIMEOUT)
        process = subprocess.Popen(
            [str(launcher), "--hostname=h.example", "--log=stderr"],
            stdin=connection.fileno(),
            stdout=connection.fileno(),
            stderr=subprocess.PIPE,
        )
        connection.close()
        with client:
            # Octets left unread at close would be a ECONNRESET for the client: unix(7).
            client.sendall(b"MAIL FROM:<a@b>\r\nQUIT\r\n" + b"x" * 100_000)
            assert Answered(client, process).read_all() == REFUSED * 2 + BYE
        record = Answered(client, process).record()
        assert record.startswith("null521: Refused a local client, mail from <a@b>; quit after 2 ")


def test_pipes_and_the_environments_word_for_the_client(launcher: Path) -> None:
    done = subprocess.run(
        [str(launcher), "--hostname=h.example", "--log=stderr"],
        input=b"MAIL FROM:<a@b>\r\nQUIT\r\n",
        capture_output=True,
        env={**os.environ, "NCAT_REMOTE_ADDR": "192.0.2.1", "NCAT_REMOTE_PORT": "4711"},
        timeout=TEST_TIMEOUT,
        check=True,
    )
    assert done.stdout == REFUSED * 2 + BYE
    assert done.stderr.startswith(b"null521: Refused 192.0.2.1, mail from <a@b>; quit after 2 ")


def test_listen_fds(launcher: Path) -> None:
    client, connection = tcp_pair()
    start = 'exec 3<&0 </dev/null >/dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec "$0" "$@"'
    process = subprocess.Popen(
        ["sh", "-c", start, str(launcher), "--hostname=h.example", "--log=stderr"],
        stdin=connection.fileno(),
        stderr=subprocess.PIPE,
    )
    connection.close()
    to = Answered(client, process)
    with client:
        client.sendall(b"QUIT\r\n")
        assert to.read_all() == REFUSED + BYE
    assert "Refused 127.0.0.1; quit" in to.record()


@pytest.mark.parametrize("listen", ["LISTEN_PID=1 LISTEN_FDS=1", "LISTEN_PID=$$ LISTEN_FDS=0"])
def test_listen_fds_that_are_not_ours(launcher: Path, listen: str) -> None:
    done = subprocess.run(
        [
            "sh",
            "-c",
            f'{listen} exec "$0" "$@"',
            str(launcher),
            "--hostname=h.example",
            "--log=none",
        ],
        input=b"QUIT\r\n",
        stdout=subprocess.PIPE,
        timeout=TEST_TIMEOUT,
        check=True,
    )
    assert done.stdout == REFUSED + BYE


def test_terminal(launcher: Path) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [str(launcher), "--hostname=h.example", "--log=none"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    os.write(ours, b"QUIT\n")
    with contextlib.suppress(OSError):  # EIO is the end of a terminal whose other side is closed
        while True:
            shown += os.read(ours, 4096)
    os.close(ours)
    assert process.wait(timeout=TEST_TIMEOUT) == 0
    assert b"null521: speaking SMTP here; to answer on a port: null521 serve" in shown
    assert b"521 h.example is configured NOT" in shown
    assert b"221 h.example" in shown


def test_a_terminal_is_left_as_it_was(launcher: Path) -> None:
    """O_NONBLOCK would stay on the open file, and so for the shell: fcntl(2)."""
    ours, theirs = pty.openpty()
    command = [str(launcher), "--log=none"]
    subprocess.run(command, input=b"QUIT\r\n", stdout=theirs, check=True, timeout=TEST_TIMEOUT)
    assert os.get_blocking(theirs)
    os.close(ours)
    os.close(theirs)


def test_a_terminal_that_nobody_reads(launcher: Path) -> None:
    """poll(2) calls it writable when it has room for less than a reply."""
    ours, theirs = pty.openpty()
    flags = ["--log=none", "--idle-timeout=1", "--max-commands=100000", f"--text={'x' * 490}"]
    process = subprocess.Popen([str(launcher), *flags], stdin=theirs, stdout=theirs, stderr=theirs)
    os.write(ours, b"NOOP\n" * 500)
    assert process.wait(timeout=TEST_TIMEOUT) == 0
    os.close(ours)
    os.close(theirs)


def test_a_terminal_with_a_client_behind_it(launcher: Path) -> None:
    """As socat makes it with its option pty: standard error may be the client's as well."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [str(launcher), "--hostname=h.example", "--log=stderr", "--nonsense"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "SOCAT_PEERADDR": "192.0.2.1", "SOCAT_PEERPORT": "4711"},
    )
    os.close(theirs)
    os.write(ours, b"QUIT\n")
    shown = b""
    with contextlib.suppress(OSError):
        while True:
            shown += os.read(ours, 4096)
    os.close(ours)
    assert process.wait(timeout=TEST_TIMEOUT) == 78
    lines = shown.decode().replace("\r", "").splitlines()
    assert sorted(lines) == sorted(["QUIT", f"521 {TEXT}", "221 h.example"])


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (socket.SOCK_STREAM, "standard input is a listening socket, but should be an accepted"),
        (socket.SOCK_DGRAM, "standard input is a datagram socket, but SMTP needs a stream"),
    ],
)
def test_the_wrong_kind_of_socket(launcher: Path, kind: socket.SocketKind, message: str) -> None:
    with socket.socket(socket.AF_INET, kind) as wrong:
        wrong.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            wrong.listen()
        done = subprocess.run(
            [str(launcher), "--log=none"],
            stdin=wrong.fileno(),
            stdout=wrong.fileno(),
            stderr=subprocess.PIPE,
            timeout=TEST_TIMEOUT,
            check=False,
        )
    assert done.returncode == 78
    assert done.stderr.decode().startswith(f"null521: {message}")
    assert done.stderr.count(b"\n") == 1


def closing(*descriptors: int) -> Callable[[], None]:
    def close() -> None:
        for fd in descriptors:
            os.close(fd)

    return close


@pytest.mark.parametrize("closed", [(0,), (0, 1), (0, 2), (0, 1, 2)], ids=str)
def test_standard_input_closed(launcher: Path, closed: tuple[int, ...]) -> None:
    done = subprocess.run(
        [str(launcher), "--log=none"],
        capture_output=True,
        preexec_fn=closing(*closed),
        timeout=TEST_TIMEOUT,
        check=False,
    )
    assert (done.returncode, done.stdout) == (78, b"")
    if 2 not in closed:
        assert done.stderr.startswith(b"null521: standard input is closed")
        assert done.stderr.count(b"\n") == 1


def test_the_launcher_needs_nothing_of_its_surroundings(launcher: Path, tmp_path: Path) -> None:
    """Neither the working directory nor PYTHON* variables can put other code into it."""
    (tmp_path / "os.py").write_text("raise SystemExit('taken over')")
    (tmp_path / "null521.py").write_text("raise SystemExit('taken over')")
    hostile = {"PYTHONPATH": str(tmp_path), "PYTHONHOME": str(tmp_path), "PYTHONVERBOSE": "1"}
    done = subprocess.run(
        [str(launcher), "--hostname=h", "--log=none"],
        input=b"QUIT\r\n",
        stdout=subprocess.PIPE,
        cwd=tmp_path,
        env={**os.environ, **hostile},  # an interpreter elsewhere may need LD_LIBRARY_PATH
        check=True,
    )
    assert done.stdout == b"521 h is configured NOT to accept any mail.\r\n221 h\r\n"


def test_a_program_that_cannot_be_imported_shows_the_client_no_traceback(
    launcher: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "null521"
    broken.write_text(launcher.read_text().replace("/lib/null521", "/lib/nowhere"))
    broken.chmod(0o755)
    client, connection = tcp_pair()
    with client:
        fd = connection.fileno()
        process = subprocess.Popen([str(broken)], stdin=fd, stdout=fd, stderr=fd)
        connection.close()
        assert Answered(client, process).read_all() == b""
        assert process.wait(timeout=TEST_TIMEOUT) == 1


@pytest.mark.parametrize("closed", [(1,), (2,), (1, 2)], ids=str)
@pytest.mark.parametrize("log", ["auto", "stderr", "json", "journal", "syslog", "none"])
def test_other_descriptors_closed(launcher: Path, closed: tuple[int, ...], log: str) -> None:
    client, connection = tcp_pair()
    with client:
        process = subprocess.Popen(
            [str(launcher), "--hostname=h.example", f"--log={log}", "--nonsense"],
            stdin=connection.fileno(),
            stdout=connection.fileno(),
            stderr=subprocess.DEVNULL,
            preexec_fn=closing(*closed),
        )
        connection.close()
        client.sendall(b"QUIT\r\n")
        assert Answered(client, process).read_all() == REFUSED + BYE
        assert process.wait(timeout=TEST_TIMEOUT) == 78


@pytest.mark.parametrize("log", ["auto", "stderr", "json", "journal", "syslog", "none"])
def test_standard_error_is_the_client(launcher: Path, log: str) -> None:
    """As inetd and xinetd have it. Neither record nor complaint may come through there."""
    client, connection = tcp_pair()
    with client:
        process = subprocess.Popen(
            [str(launcher), "--hostname=h.example", f"--log={log}", "--nonsense", "--text=\n"],
            stdin=connection.fileno(),
            stdout=connection.fileno(),
            stderr=connection.fileno(),
        )
        connection.close()
        client.sendall(b"MAIL FROM:<a@b>\r\nQUIT\r\n")
        assert Answered(client, process).read_all() == REFUSED * 2 + BYE
        assert process.wait(timeout=TEST_TIMEOUT) == 78


@pytest.mark.parametrize("flag", ["--help", "--version"])
def test_help_is_not_for_clients(launcher: Path, flag: str) -> None:
    client, connection = tcp_pair()
    with client, connection:
        process = subprocess.Popen(
            [str(launcher), flag],
            stdin=connection.fileno(),
            stdout=connection.fileno(),
            stderr=connection.fileno(),
        )
        connection.close()
        client.sendall(b"QUIT\r\n")
        replies = Answered(client, process).read_all()
        assert re.fullmatch(rb"521 [^\r\n]+\r\n221 [^\r\n]+\r\n", replies)
        assert process.wait(timeout=TEST_TIMEOUT) == 78


def test_bad_settings_are_one_line_each_and_the_client_gets_its_521(launcher: Path) -> None:
    with answered(launcher, "--refuse-at=never", "--log=none") as to:
        to.client.sendall(b"QUIT\r\n")
        assert to.read_all() == GREETING + BYE  # as at rcpt
        _, said = to.process.communicate(timeout=TEST_TIMEOUT)
        assert to.process.returncode == 78
    assert said.decode() == (
        "null521: --refuse-at is 'never', but should be one of greeting, helo, mail, rcpt\n"
    )


def test_the_drafts_daemon_octet_for_octet() -> None:
    """python -m null521 with the draft's host name, for any commands."""
    said = b"HELO x\r\nEXPN y\r\n\r\n\xff\0\r\nDATA\r\nturn\nquit\r\n"
    done = subprocess.run(
        [sys.executable, "-m", "null521"],
        input=said,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "NULL521_HOSTNAME": "canon.inria.fr", "NULL521_LOG": "none"},
        timeout=TEST_TIMEOUT,
        check=True,
    )
    refused = b"521 canon.inria.fr is configured NOT to accept any mail.\r\n"
    assert done.stdout == refused * 7 + b"221 canon.inria.fr\r\n"


def test_help_and_version_for_people(launcher: Path) -> None:
    command = [str(launcher), "--help"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for name in ("hostname", "refuse-at", "idle-timeout", "max-octets", "log-addresses"):
        assert f"--{name} " in text
    command = [str(launcher), "--version"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert re.fullmatch(r"null521 \d+\.\d+\.\d+\n", text)


@pytest.mark.parametrize("flag", ["--help", "--version"])
def test_help_that_nobody_can_read(launcher: Path, flag: str) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [str(launcher), flag], stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert (done.returncode, done.stderr) == (1, b"")
