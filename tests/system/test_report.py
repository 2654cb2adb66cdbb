"""null521 report as installed, over journals that journald and its tools have written."""

import contextlib
import json
import os
import pty
import random
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
        assert [(row["client"], row["records"]) for row in found["mail"]] == [
            ("192.0.2.1", 2),
            ("2001:db8::1", 1),
        ]
        said = report_in(journald, launcher, "--by=sender")
        text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "TIME", said.stdout.decode())
        assert re.match(r"3 connections, from TIME to TIME \w+\n3 wanted to send mail, ", text)
        assert "\nNobody kept retrying.\n" in text
        assert "\nann@example.net        3  eve@ntp.example  TIME" in text
        assert said.stderr == b""


HOSTS = ("ntp1.example", "ntp2.example")


@pytest.fixture(scope="module")
def collected(folder: Path) -> Path:
    """A journal of two hosts, as systemd-journal-remote makes it of what they send.

    In a week, 1,000 scanners call, and three senders keep retrying, one of them to both hosts.
    """
    chance = random.Random(521)
    scans = (b"", b"QUIT\r\n", b"EHLO scan\r\nQUIT\r\n", b"\x16\x03\x01\r\n", b"GET / HTTP/1.0\r\n")
    records = [
        (
            chance.uniform(0, 7 * 86400),
            chance.choice(HOSTS),
            journals.of(f"198.51.100.{chance.randrange(256)}", chance.choice(scans)),
        )
        for _ in range(1000)
    ]
    for client, begin, gaps, said in (
        ("203.0.113.9", 1, journals.POSTFIX, ("mx.example.net", "ann@example.net", "root@{}")),
        (
            "192.0.2.25",
            2,
            range(0, 72000, 1800),
            ("relay.example.org", "news@example.org", "info@{}"),
        ),
        ("2001:db8::25", 6.5, range(0, 30000, 3600), ("mx.example.com", "", "cron@{}")),
    ):
        for number, gap in enumerate(gaps):
            host = HOSTS[0] if begin > 1 else HOSTS[number % 2]
            words = [word.format(HOSTS[0]) for word in said]
            records.append((begin * 86400 + gap, host, journals.of(client, journals.said(*words))))
    records.sort(key=lambda record: record[0])
    journals.write(
        folder / "collected",
        (
            journals.export(journals.START + moment, made, (f"_HOSTNAME={host}",))
            for moment, host, made in records
        ),
    )
    return folder / "collected"


# The first 20 lines on a terminal, without escape sequences and blanks at the ends of lines.
ON_80_COLUMNS = """\
1055 connections to 2 hosts, from 2026-01-01 00:06:12 to 2026-01-07 23:47:19 UTC
55 wanted to send mail, from 3 senders to 3 recipients
1000 named no sender and no recipient, as scanners do

Retries: the same client, sender and recipient, three times or more

  CLIENT              TRIES      STILL TRYING
  SENDER              EVERY      FIRST SEEN
  RECIPIENT           LIKE       LAST SEEN             WHAT TO DO
 ──────────────────────────────────────────────────────────────────────────────
  2001:db8::25        9          yes                   bounce or address
  <>                  1h         2026-01-07 12:00:00   check: look whether
  cron@ntp1.example   sendmail   2026-01-07 20:00:00   this host sends mail as
                                                       the recipient

  192.0.2.25          40         no                    tell
  news@example.org    30min      2026-01-03 00:00:00   postmaster@example.org
  info@ntp1.example   sendmail   2026-01-03 19:30:00

  203.0.113.9         6          no                    tell
"""
ON_120_COLUMNS = """\
1055 connections to 2 hosts, from 2026-01-01 00:06:12 to 2026-01-07 23:47:19 UTC
55 wanted to send mail, from 3 senders to 3 recipients
1000 named no sender and no recipient, as scanners do

Retries: the same client, sender and recipient, three times or more

  CLIENT              TRIES      STILL TRYING
  SENDER              EVERY      FIRST SEEN
  RECIPIENT           LIKE       LAST SEEN             WHAT TO DO
 ─────────────────────────────────────────────────────────────────────────────────────────\
─────────────────────────────
  2001:db8::25        9          yes                   bounce or address check: look wheth\
er this host sends mail as
  <>                  1h         2026-01-07 12:00:00   the recipient
  cron@ntp1.example   sendmail   2026-01-07 20:00:00

  192.0.2.25          40         no                    tell postmaster@example.org
  news@example.org    30min      2026-01-03 00:00:00
  info@ntp1.example   sendmail   2026-01-03 19:30:00

  203.0.113.9         6          no                    tell postmaster@example.net
  ann@example.net     20min      2026-01-02 00:00:00
"""


@pytest.mark.parametrize(("columns", "expected"), [(80, ON_80_COLUMNS), (120, ON_120_COLUMNS)])
def test_senders_among_many_scanners(
    launcher: Path, collected: Path, columns: int, expected: str
) -> None:
    text = on_a_terminal(columns, [launcher, "report", "--directory", collected])
    assert "".join(line + "\n" for line in text.splitlines()[:20]) == expected
    assert all(len(line) <= columns for line in text.splitlines())


def test_which_of_many_hosts_gets_mail(launcher: Path, collected: Path) -> None:
    found = as_json(launcher, "--directory", collected, "--by=host")
    assert (found["records"], found["hosts"], found["unnamed"]) == (1055, 2, 1000)
    assert [(row["host"], row["sender"], row["records"]) for row in found["mail"]] == [
        ("ntp1.example", "news@example.org", 40),
        ("ntp1.example", "", 9),
        ("ntp2.example", "ann@example.net", 3),
        ("ntp1.example", "ann@example.net", 3),
    ]
    assert {row["host"] for row in found["others"]} == set(HOSTS)
    assert sum(row["records"] for row in found["others"]) == 1000
    (postfix,) = [row for row in found["retries"] if row["sender"] == "ann@example.net"]
    assert (postfix["host"], postfix["tries"], postfix["like"]) == ("ntp2.example", 6, ["Postfix"])


def on_a_terminal(columns: int, words: list[str | Path]) -> str:
    """What is left on a terminal of that width, without escape sequences."""
    parent, child = pty.openpty()
    environ = {**os.environ, "TERM": "xterm", "COLUMNS": str(columns), "TZ": "UTC"}
    with open(os.devnull, "wb") as null:
        process = subprocess.Popen(words, stdin=child, stdout=child, stderr=null, env=environ)
        os.close(child)
        octets = b""
        with contextlib.suppress(OSError):  # EIO: the process has ended
            while chunk := os.read(parent, 65536):
                octets += chunk
        os.close(parent)
        assert process.wait(60) == 0
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", octets.decode())
    return "".join(line.rstrip() + "\n" for line in text.splitlines())


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
