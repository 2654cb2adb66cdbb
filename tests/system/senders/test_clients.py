"""Clients that users and scripts send with directly: they give up at once, and show why."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab import ADDRESSES, RefusingHost, in_network

SMTPLIB = """
import smtplib, sys
with smtplib.SMTP(sys.argv[1], timeout=20) as server:
    server.sendmail(sys.argv[2], [sys.argv[3]], sys.stdin.read())
"""
OUTPUT = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
FROM, TO = "ann@client.example", "bob@rcpt.test"
COMMANDS = {
    "smtplib": [sys.executable, "-c", SMTPLIB, "{host}", FROM, TO],
    # It shows no text of any reply without -v.
    "curl": [
        *("curl", "--disable", "--silent", "--show-error", "--verbose", "--upload-file", "-"),
        *("smtp://{host}", "--mail-from", FROM, "--mail-rcpt", TO),
    ],
    "swaks": ["swaks", "--server", "{host}", "--from", FROM, "--to", TO],
    "msmtp": ["msmtp", "--file=/dev/null", "--host={host}", f"--from={FROM}", TO],
}

# Exit status, and what else than our text the client says, by the stage of refusal.
SAYS = {
    #           greeting                             rcpt
    "smtplib": [(1, "smtplib.SMTPConnectError"), (1, "smtplib.SMTPRecipientsRefused")],
    # curl(1): 8 is a reply that makes no sense to it, 55 is failed sending.
    "curl": [(8, "(8) Got unexpected smtp-server response: 521"), (55, "(55) RCPT failed: 521")],
    # swaks(1): 21 is for the greeting, 24 for RCPT.
    "swaks": [(21, "<** 521 "), (24, "<** 521 ")],
    # sysexits.h: EX_PROTOCOL and EX_DATAERR.
    "msmtp": [(76, "cannot get initial OK"), (65, f"recipient address {TO} not accepted")],
}


@pytest.fixture(scope="module")
def refusing(launcher: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RefusingHost]:
    with RefusingHost(tmp_path_factory.mktemp("refusing") / "host", launcher) as host:
        yield host


@pytest.mark.parametrize("stage", ["greeting", "rcpt"])
@pytest.mark.parametrize("client", SAYS)
def test_gives_up_and_shows_the_text(refusing: RefusingHost, client: str, stage: str) -> None:
    host = f"{stage}.test"
    command = [word.format(host=ADDRESSES[host]) for word in COMMANDS[client]]
    message = b"Subject: x\n\nA line.\n"
    done = in_network(refusing, *command, check=False, input=message, timeout=60, **OUTPUT)
    shown = done.stdout.decode()
    status, words = SAYS[client][["greeting", "rcpt"].index(stage)]
    assert done.returncode == status, shown
    assert words in shown
    assert "521" in shown
    assert f"{host} is configured NOT to accept any mail." in shown
