"""null521 report as installed, over journals that journald and its tools have written."""

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from helpers import journals
from helpers.namespaces import Journald, site

from null521.record import REFUSED


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A directory that everybody may read, unlike pytest's own."""
    with tempfile.TemporaryDirectory(prefix="null521-") as path:
        Path(path).chmod(0o755)
        yield Path(path)


@pytest.fixture(scope="module")
def copied(folder: Path) -> Path:
    """A directory with the world's journal."""
    entries = (journals.export(moment, made) for moment, made in journals.world())
    journals.write(folder / "copied", entries)
    return folder / "copied"


class Done(NamedTuple):
    """How a run has ended, and what it has printed on standard output and standard error."""

    status: int
    out: str
    err: str


def run(launcher: Path, *words: str | Path, **options: Any) -> Done:
    command = [str(launcher), "report", *map(str, words)]
    options = {"stdin": subprocess.DEVNULL, "env": {**os.environ, "TZ": "UTC"}, **options}
    done = subprocess.run(command, capture_output=True, timeout=60, check=False, **options)
    return Done(done.returncode, done.stdout.decode(), done.stderr.decode())


def report(launcher: Path, *words: str | Path, **options: Any) -> str:
    """What it prints, with status 0 and nothing on standard error."""
    done = run(launcher, *words, **options)
    assert (done.status, done.err) == (0, "")
    return done.out


def as_json(launcher: Path, *words: str | Path, **options: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(report(launcher, "--json", *words, **options))
    return found


def test_plain_text(launcher: Path, copied: Path) -> None:
    assert report(launcher, "--directory", copied, "--limit=2") == journals.PLAIN


def test_since_and_until(launcher: Path, copied: Path) -> None:
    words = ("--directory", copied)
    since = as_json(launcher, *words, "--since", "2026-01-01 02:00")
    assert (since["records"], since["first"]) == (4, "2026-01-01T02:21:40.000+00:00")
    until = as_json(launcher, *words, "--until=2026-01-01 00:05:00")
    assert (until["records"], until["last"]) == (3, "2026-01-01T00:05:00.000+00:00")
    assert as_json(launcher, *words, "--since", "-1h", "--until=now")["records"] == 0


def test_files_of_a_journal(launcher: Path, copied: Path, folder: Path) -> None:
    """An entry that is in two of them counts once."""
    one = copied / "copied.journal"
    later = journals.export(journals.START + 20000, journals.of("192.0.2.7", journals.ANN))
    last = journals.export(*journals.world()[-1])
    other = journals.write(folder / "other", [last, later], "other.journal")
    assert as_json(launcher, f"--file={one}")["records"] == 12
    assert as_json(launcher, f"--file={one}", "--file", other)["records"] == 13


def test_real_sessions_in_a_real_journald(launcher: Path, tmp_path: Path) -> None:
    with Journald(tmp_path / "journald") as journald:
        said = report_in(journald, launcher)
        assert said.stdout.decode() == "No records of null521.\n"
        for client in ("192.0.2.1", "192.0.2.1", "2001:db8::1"):
            words = [str(launcher), "--log=journal", "--refuse-at=rcpt"]
            environ = {**os.environ, "REMOTE_ADDR": client}
            journald.run(words, input=journals.ANN, stdout=subprocess.DEVNULL, env=environ)
        journald.wait_for(3, f"MESSAGE_ID={REFUSED}")
        said = report_in(journald, launcher, "--json", "--since=1 hour ago")
        found = json.loads(said.stdout)
        assert [(row["client"], row["records"]) for row in found["writers"]] == [
            ("192.0.2.1", 2),
            ("2001:db8::1", 1),
        ]
        said = report_in(journald, launcher, "--by=sender")
        text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "TIME", said.stdout.decode())
        assert re.match(r"3 records, from TIME to TIME \w+\n", text)
        assert "\nNobody kept retrying.\n" in text
        assert "\nann@example.net        3  TIME" in text
        assert said.stderr == b""


def report_in(
    journald: Journald, launcher: Path, *words: str
) -> "subprocess.CompletedProcess[bytes]":
    return journald.run([str(launcher), "report", *words], capture_output=True, timeout=60)


# The program as the user nobody, with a Python that nobody may run: the other may be in /root.
NOBODY = """
import sys
sys.path[:0] = [sys.argv.pop(1)]
sys.path.append("/usr/lib/python3/dist-packages")
from null521.cli import main
sys.exit(main())
"""


def nobody(launcher: Path) -> list[str]:
    package = str(launcher.parent.parent / "lib/null521")
    return ["/usr/bin/python3", "-I", "-S", "-c", NOBODY, package, "report"]


def test_no_permission_to_read_the_journal(launcher: Path, tmp_path: Path) -> None:
    with Journald(tmp_path / "journald") as journald:
        words = [str(launcher), "--log=journal"]
        journald.run(words, input=b"QUIT\r\n", stdout=subprocess.DEVNULL)
        journald.wait_for(1, f"MESSAGE_ID={REFUSED}")
        as_nobody = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
        done = journald.run([*as_nobody, *nobody(launcher)], capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (77, b"")
    assert done.stderr.decode() == (
        "null521 report: no permission to read all of the journal: join the group "
        'systemd-journal or adm (sudo usermod -aG systemd-journal "$USER") and log in again\n'
    )


def test_no_permission_to_read_a_copy(launcher: Path, copied: Path, folder: Path) -> None:
    lines = folder / "lines"
    lines.write_bytes(b"")
    lines.chmod(0o600)
    file = copied / "copied.journal"
    file.chmod(0o600)
    for words, said in (
        ([f"--directory={copied}"], f"{copied}: no permission"),
        ([f"--file={file}"], f"cannot read {file}: Permission denied"),
        ([str(lines)], f"cannot read {lines}: Permission denied"),
    ):
        done = subprocess.run(
            [*nobody(launcher), *words],
            capture_output=True,
            text=True,
            user="nobody",
            extra_groups=[],
            check=False,
        )
        assert (done.returncode, done.stdout) == (77, "")
        assert done.stderr == f"null521 report: {said}\n"


@pytest.mark.parametrize(
    ("word", "error"),
    [
        ("--directory=missing", "cannot read missing: No such file or directory"),
        ("--file=missing", "cannot read missing: No such file or directory"),
        ("--file=/etc/passwd", "cannot read /etc/passwd: "),
    ],
)
def test_a_journal_that_cannot_be_read(launcher: Path, word: str, error: str) -> None:
    done = run(launcher, word)
    assert (done.status, done.out, done.err.count("\n")) == (66, "", 1)
    assert done.err.startswith(f"null521 report: {error}")


def test_a_damaged_journal(launcher: Path, copied: Path, tmp_path: Path) -> None:
    octets = (copied / "copied.journal").read_bytes()
    used = len(octets.rstrip(b"\0"))
    for number in range(40):
        place = 256 + number * (used - 256) // 40
        damaged = octets[:place] + b"\xff" * 16 + octets[place + 16 :]
        (tmp_path / "copied.journal").write_bytes(damaged)
        done = run(launcher, "--directory", tmp_path)
        assert done.status in (0, 66)
        assert "Traceback" not in done.err
    (tmp_path / "copied.journal").write_bytes(octets[: used // 2])
    assert "Traceback" not in run(launcher, "--directory", tmp_path).err


def test_without_systemd_python_and_without_rich(
    launcher: Path, copied: Path, tmp_path: Path
) -> None:
    own = (launcher.read_text()).replace(f'"{site()}"', f'"{tmp_path}/site"')
    assert own != launcher.read_text()
    other = tmp_path / "null521"
    other.write_text(own)
    other.chmod(0o755)
    (tmp_path / "site").mkdir()
    done = run(other, "--directory", copied)
    assert (done.status, done.out) == (69, "")
    assert done.err.startswith("null521 report: systemd-python is not installed")
    shutil.copytree(site() / "systemd", tmp_path / "site/systemd")
    assert report(other, "--directory", copied, "--limit=2") == journals.PLAIN
