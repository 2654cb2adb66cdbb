"""Where records go, with a real journald: present, absent, gone, and full."""

import json
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest
from helpers.namespaces import Journald

from null521 import log as journal
from null521.record import MISCONFIGURED, REFUSED

SAID = b"EHLO mx.b.c\r\nMAIL FROM:<a@b.c>\r\nRCPT TO:<x@y>\r\nRCPT TO:<\0\n\r\nQUIT\r\n"
LINE = "Refused 192.0.2.1 (mx.b.c), mail from <a@b.c>, to <x@y>, <\\x00>; quit after 6 commands, "
ENVIRON = {"REMOTE_ADDR": "192.0.2.1", "REMOTE_PORT": "4711", "NULL521_REFUSE_AT": "rcpt"}


# Sends to each datagram socket until it would block.
FILL = (
    "import socket, sys\n"
    "for path in sys.argv[1:]:\n"
    "    s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\n"
    "    s.setblocking(False)\n"
    "    s.connect(path)\n"
    "    try:\n"
    "        while s.send(b'MESSAGE=x\\n'): pass\n"
    "    except BlockingIOError: pass\n"
)


def refuse(
    journald: Journald, launcher: Path, log: str, *flags: str
) -> "subprocess.CompletedProcess[bytes]":
    """One session over pipes, in the namespace; the client's answer is checked each time."""
    done = journald.run(
        [str(launcher), f"--log={log}", *flags],
        input=SAID,
        capture_output=True,
        env={**os.environ, **ENVIRON},
        timeout=20,
        check=False,
    )
    lines = done.stdout.splitlines()
    assert lines[0].startswith(b"220 ")
    assert lines[-1].startswith(b"221 2.0.0 ")
    assert sum(line.startswith(b"521 5.3.2 ") for line in lines) == 3
    return done


@pytest.mark.parametrize("log", ["auto", "journal"])
def test_journald(journald: Journald, launcher: Path, log: str) -> None:
    done = refuse(journald, launcher, log)
    assert (done.returncode, done.stderr) == (0, b"")
    (entry,) = journald.wait_for(1, f"MESSAGE_ID={REFUSED}")
    assert entry["MESSAGE"].startswith(LINE)
    assert entry["_TRANSPORT"] == "journal"
    usec = int(entry["NULL521_DURATION_USEC"])
    assert 0 < usec < 20_000_000
    ours = {k: v for k, v in entry.items() if k.startswith("NULL521_")}
    assert ours == {
        "NULL521_CLIENT": "192.0.2.1",
        "NULL521_CLIENT_PORT": "4711",
        "NULL521_HELO": "mx.b.c",
        "NULL521_SENDER": "a@b.c",
        "NULL521_RECIPIENT": ["x@y", "\\x00"],
        "NULL521_RECIPIENTS": "2",
        "NULL521_REFUSE_AT": "rcpt",
        "NULL521_COMMANDS": "6",
        "NULL521_OCTETS": str(len(SAID)),
        "NULL521_DURATION_USEC": str(usec),
        "NULL521_ENDING": "quit",
    }
    assert (entry["PRIORITY"], entry["SYSLOG_IDENTIFIER"]) == ("5", "null521")
    assert journald.entries("-t", "null521") == [entry]


def test_a_bad_setting_is_in_the_journal_and_on_standard_error(
    journald: Journald, launcher: Path
) -> None:
    done = refuse(journald, launcher, "auto", "--idle-timeout=never")
    fault = "--idle-timeout is 'never', but should be seconds, more than 0 and at most 3600"
    assert (done.returncode, done.stderr.decode()) == (78, f"null521: {fault}\n")
    (entry,) = journald.wait_for(1, f"MESSAGE_ID={MISCONFIGURED}")
    assert (entry["MESSAGE"], entry["PRIORITY"]) == (fault, "3")


def test_syslog(journald: Journald, launcher: Path) -> None:
    done = refuse(journald, launcher, "syslog")
    assert (done.returncode, done.stderr) == (0, b"")
    (entry,) = journald.wait_for(1, "-t", "null521")
    assert entry["MESSAGE"].startswith(LINE)
    facts = (entry["_TRANSPORT"], entry["SYSLOG_FACILITY"], entry["PRIORITY"])
    assert facts == ("syslog", "2", "5")  # facility "mail", priority "notice": syslog(3)
    assert int(entry["SYSLOG_PID"]) > 0


def test_json_and_stderr_and_none(journald: Journald, launcher: Path) -> None:
    line = json.loads(refuse(journald, launcher, "json").stderr)
    assert line.pop("message").startswith(LINE)
    assert time.strptime(line.pop("time"), "%Y-%m-%dT%H:%M:%S.%fZ")
    assert line.pop("duration_usec") > 0
    assert line == {
        "priority": 5,
        "message_id": REFUSED,
        "client": "192.0.2.1",
        "client_port": 4711,
        "helo": "mx.b.c",
        "sender": "a@b.c",
        "recipient": ["x@y", "\\x00"],
        "recipients": 2,
        "refuse_at": "rcpt",
        "commands": 6,
        "octets": len(SAID),
        "ending": "quit",
    }
    assert refuse(journald, launcher, "stderr").stderr.decode().startswith(f"null521: {LINE}")
    assert refuse(journald, launcher, "none").stderr == b""
    assert journald.entries("-t", "null521") == []


@pytest.mark.parametrize(
    ("absent", "where"),
    [
        (["/run/systemd/journal/socket"], "syslog"),
        (["/run/systemd/journal/socket", "/dev/log"], "stderr"),
        (["/dev/log"], "journal"),
    ],
)
def test_auto_takes_what_is_there(
    journald: Journald, launcher: Path, absent: list[str], where: str
) -> None:
    journald.run(["rm", *absent])
    done = refuse(journald, launcher, "auto")
    assert done.returncode == 0
    assert done.stderr.startswith(b"null521: Refused 192.0.2.1 ") == (where == "stderr")
    found = [entry["_TRANSPORT"] for entry in journald.entries("-t", "null521")]
    assert found == ([where] if where != "stderr" else [])


@pytest.mark.parametrize("log", ["auto", "journal", "syslog"])
def test_nobody_listens_any_more(launcher: Path, tmp_path: Path, log: str) -> None:
    """Sockets that a journald left behind when it died: ECONNREFUSED."""
    with Journald(tmp_path / "journald") as journald:
        abandon = (
            "import os, socket\n"
            "for path in ('/run/systemd/journal/socket', '/run/systemd/journal/dev-log'):\n"
            "    os.unlink(path)\n"
            "    socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).bind(path)\n"
        )
        journald.run(["/usr/bin/python3", "-c", abandon])
        done = refuse(journald, launcher, log)
        assert (done.returncode, done.stderr.count(b"\n")) == (0, 1)
        assert done.stderr.decode().startswith(f"null521: {LINE}")


@pytest.mark.parametrize("log", ["auto", "journal", "syslog"])
def test_full(journald: Journald, launcher: Path, log: str) -> None:
    """A journald that does not read. The kernel queues a few datagrams and then blocks: unix(7)."""
    os.kill(journald.pid, signal.SIGSTOP)
    try:
        sockets = ["/run/systemd/journal/socket", "/dev/log"]
        journald.run(["/usr/bin/python3", "-c", FILL, *sockets])
        start = time.monotonic()
        done = refuse(journald, launcher, log)
        seconds = time.monotonic() - start
        assert done.returncode == 0
        assert done.stderr.decode().startswith(f"null521: {LINE}")
        # It did wait for a journal that might yet read, and then did not wait any longer.
        assert log == "syslog" or seconds >= journal.TIMEOUT
        assert seconds < 10
    finally:
        os.kill(journald.pid, signal.SIGCONT)


def test_full_with_alarms_blocked(journald: Journald, launcher: Path) -> None:
    """A signal mask is inherited: signal(7)."""
    block = "import os, signal, sys\nsignal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])\n"
    block += "os.execv(sys.argv[1], sys.argv[1:])"
    os.kill(journald.pid, signal.SIGSTOP)
    try:
        journald.run(["/usr/bin/python3", "-c", FILL, "/run/systemd/journal/socket"])
        journald.run(
            ["/usr/bin/python3", "-c", block, str(launcher), "--log=journal"],
            input=b"QUIT\r\n",
            capture_output=True,
            timeout=20,
        )
    finally:
        os.kill(journald.pid, signal.SIGCONT)


def test_a_full_journal_does_not_keep_the_client(journald: Journald, launcher: Path) -> None:
    """The client has its last reply and the end of the connection before the record is tried."""
    os.kill(journald.pid, signal.SIGSTOP)
    try:
        client, connection = socket.socketpair()
        with client, connection:
            process = journald.popen(
                [str(launcher), "--log=auto", "--hostname=h"],
                stdin=connection.fileno(),
                stdout=connection.fileno(),
                stderr=subprocess.DEVNULL,
            )
            connection.close()
            client.sendall(b"QUIT\r\n")
            replies = b""
            while octets := client.recv(4096):
                replies += octets
            assert replies.count(b"\r\n") == 2
            client.close()
            assert process.wait(timeout=20) == 0
    finally:
        os.kill(journald.pid, signal.SIGCONT)
