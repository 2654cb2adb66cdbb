"""Slow and hostile clients hold on to `null521 serve`, and a mail server has its bounce at once."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from crowd import PAUSE
from helpers.namespaces import TEST_TIMEOUT, TREE
from helpers.program import SERVE
from lab import ADDRESSES, RefusingHost, in_network
from lab import SERVE as HOST
from mtas import PLAIN, MailServer, assert_bounced

from null521.record import MISCONFIGURED, REFUSED, STARTED

CROWD = Path(__file__).parent / "crowd.py"
COUNT = 8_000  # of which some have just been told to leave at any moment
AT_LEAST = 5_000
ADDRESS = ADDRESSES[HOST]


@pytest.fixture
def refusing(launcher: Path, tmp_path: Path) -> Iterator[RefusingHost]:
    with RefusingHost(tmp_path / "refusing", launcher) as host:
        yield host


def connections(refusing: RefusingHost) -> int:
    """How many there are, as the kernel has it."""
    words = ["ss", "-Htn", "state", "established", "src", f"{ADDRESS}:25"]
    return in_network(refusing, *words, stdout=subprocess.PIPE).stdout.count(b"\n")


def test_a_bounce_beside_five_thousand_clients(refusing: RefusingHost, tmp_path: Path) -> None:
    """With the defaults, but for the stage. In the end, it takes leave of them all."""
    # Any address of 10.0.0.0/8 is this network's then, to connect from.
    in_network(refusing, *["ip", "route", "add", "local", "10.0.0.0/8", "dev", "lo"])
    flags = [f"--listen={ADDRESS}:25", f"--hostname={HOST}", "--refuse-at=rcpt"]
    flags += ["--max-commands=100"]  # so that some of them come up against it
    server = refusing.popen(["env", f"PYTHONPATH={TREE}", *SERVE, *flags])
    (started,) = refusing.wait_for(1, f"MESSAGE_ID={STARTED}")
    words = ["nsenter", f"--net=/proc/{refusing.pid}/ns/net", sys.executable, str(CROWD)]
    crowd = subprocess.Popen([*words, ADDRESS, str(COUNT)], stdout=subprocess.PIPE)
    try:
        assert crowd.stdout
        assert crowd.stdout.readline() == b"there\n"
        with MailServer(tmp_path / "host", refusing, "debian-12-postfix") as host:
            for recipient in (f"first@{HOST}", f"second@{HOST}", f"third@{HOST}"):
                assert host.submit(PLAIN, recipient) == ""
                assert_bounced(host, recipient, HOST)
                assert connections(refusing) >= AT_LEAST
                time.sleep(PAUSE)  # in which each of them does something
            host.wait_for_empty_queue()
        assert crowd.poll() is None
        crowd.send_signal(signal.SIGSTOP)  # so that nobody is refused, nor goes by itself
        refusing.run(["kill", started["SYSLOG_PID"]])
        assert server.wait(3 * TEST_TIMEOUT) == 0
    finally:
        for process in (crowd, server):
            process.kill()
            process.wait()
    assert crowd.stdout.read() == b""
    entries = refusing.entries(f"MESSAGE_ID={REFUSED}", "_TRANSPORT=journal")
    endings = {entry["NULL521_ENDING"] for entry in entries}
    assert {"quit", "reset", "limit", "stopped"} <= endings
    assert refusing.entries(f"MESSAGE_ID={MISCONFIGURED}") == []  # nor a fault of its own
