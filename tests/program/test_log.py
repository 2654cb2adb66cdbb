"""Records on standard error that nobody reads, and of hostile characters."""

import contextlib
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest


def test_standard_error_that_nobody_reads_does_not_block(launcher: Path) -> None:
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    with contextlib.suppress(BlockingIOError):
        while os.write(write_end, b"x" * 4096):
            pass
    os.set_blocking(write_end, True)
    for log in ("stderr", "json"):
        subprocess.run(
            [str(launcher), f"--log={log}"],
            input=b"QUIT\r\n",
            stdout=subprocess.DEVNULL,
            stderr=write_end,
            timeout=20,
            check=True,
        )
    os.close(read_end)
    os.close(write_end)


@pytest.mark.parametrize(
    "character", [b"\0", b'"', b"\\", "ü".encode(), "\U0001f600".encode(), b"\xff"], ids=ascii
)
def test_hostile_lines_stay_whole(launcher: Path, character: bytes) -> None:
    """What is longer than a pipe takes at once is cut, and a JSON line is still JSON."""
    said = b"EHLO %s\n" % (character * 255) + b"MAIL FROM:<%s>\n" % (character * 320)
    said += b"RCPT TO:<%s>\n" % (character * 320) * 10
    for log in ("stderr", "json"):
        done = subprocess.run(
            [str(launcher), f"--log={log}"], input=said, capture_output=True, check=True
        )
        assert done.stderr.count(b"\n") == 1
        assert len(done.stderr) <= 4096
        assert done.stderr.endswith(b"\n")
        if log == "json":
            entry: dict[str, Any] = json.loads(done.stderr)
            assert entry["recipients"] == 10
            assert entry["helo"]
            assert entry["sender"]
