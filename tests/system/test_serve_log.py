"""A server's records with a real journald, one that does not read included."""

import os
import signal
from pathlib import Path

import pytest
from helpers.namespaces import BootedJournald, Journald
from helpers.program import SERVE, TREE
from helpers.superservers import dial, serving

from null521 import record
from null521.record import TROUBLE
from null521.serve.log import MAX_WAITING

SAID = b"EHLO mx.b.c\r\nMAIL FROM:<a@b.c>\r\nRCPT TO:<x@y>\r\nRCPT TO:<\0\r\nQUIT\r\n"
SERVER = ["env", f"PYTHONPATH={TREE}", *SERVE, "--listen=127.0.0.1:25", "--refuse-at=rcpt"]


@pytest.mark.parametrize(("name", "transport"), [("auto", "journal"), ("syslog", "syslog")])
def test_journald(journald: Journald, name: str, transport: str) -> None:
    with serving(journald, [*SERVER, f"--log={name}"]):
        ((number, _),) = dial(journald, "127.0.0.1", SAID.decode())
        start, refused = journald.wait_for(2, "-t", "null521")
    assert start["MESSAGE"] == "Answering on 127.0.0.1:25"
    assert refused["MESSAGE"].startswith("Refused 127.0.0.1 (mx.b.c), mail from <a@b.c>, to <x@y>,")
    assert (refused["_TRANSPORT"], refused["PRIORITY"]) == (transport, "6")
    if name == "auto":
        assert refused["NULL521_CLIENT_PORT"] == str(number)
        assert refused["NULL521_RECIPIENT"] == ["x@y", "\\x00"]
        assert refused["MESSAGE_ID"] == record.REFUSED


def test_a_journald_that_does_not_read(tmp_path: Path) -> None:
    """It makes no client wait, and is told afterwards how many records are missing."""
    count = MAX_WAITING + 1000
    with (
        BootedJournald(tmp_path / "journald") as journald,
        serving(journald, [*SERVER, "--log=journal", "--metrics=127.0.0.1:9521"]),
    ):
        journald.wait_for(1, "-t", "null521")
        os.kill(journald.pid, signal.SIGSTOP)
        try:
            answers = dial(journald, "127.0.0.1", "QUIT\r\n", count)
            assert len(answers) == count
            assert all("\r\n221 " in received for _, received in answers)
            page = "http://127.0.0.1:9521/metrics"
            text = journald.output("curl", "--silent", "--fail", page)
        finally:
            os.kill(journald.pid, signal.SIGCONT)
        (line,) = (line for line in text.splitlines() if line.startswith("null521_records_dropped"))
        lost = int(float(line.split()[1]))
        assert 0 < lost < 1000
        (told,) = journald.wait_for(1, f"MESSAGE_ID={TROUBLE}")
        assert told["MESSAGE"].startswith(f"{lost} records were lost")
        assert len(journald.entries(f"MESSAGE_ID={record.REFUSED}")) == count - lost
