"""null521 report as installed, over journals and lines that real parts have written."""

import csv
import io
import json
import os
import pty
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from helpers import journals
from helpers.namespaces import PATIENCE, Journald, site
from helpers.program import dial

from null521.record import REFUSED
from null521.report.findings import KEYS

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, for namespaces")

POSTFIX = list(accumulate((300, 600, 1200, 2400, 4000), initial=0))
ANN = journals.said("mx.example.net", "ann@example.net", "bob@ntp.example", "eve@ntp.example")
FORMULA = journals.said("[bold]:smile:[/]", "=cmd|x@evil.example", "@SUM(1)", "b,\"c'@d")


def world() -> list[bytes]:
    """Records of a Postfix refused in the greeting, of one refused at RCPT, and of others."""
    records = [
        *((moment, journals.of("198.51.100.7", b"QUIT\r\n", "greeting")) for moment in POSTFIX),
        *((60 + 1800 * n, journals.of("203.0.113.9", ANN)) for n in range(3)),
        (9000, journals.of("203.0.113.10", journals.said("\x1b[2J\u202e", "", "x@ntp.example"))),
        (9001, journals.of("2001:db8::25", FORMULA)),
        (9002, journals.of("2001:db8::26", b"\x16\x03\x01\r\n")),
    ]
    records.sort(key=lambda record: record[0])
    return [journals.export(journals.START + moment, made) for moment, made in records]


PLAIN = """\
12 records, from 2026-01-01 00:00:00 to 2026-01-01 02:30:02 UTC

Who has not given up at once: the same sender and recipient, three times or more

CLIENT        SENDER           RECIPIENT        TRIES  EVERY  LIKE     FIRST SEEN           \
LAST SEEN            STILL TRYING  WHAT TO DO
198.51.100.7  -                -                    6  20min  Postfix  2026-01-01 00:00:00  \
2026-01-01 02:21:40  yes           refuse at rcpt: earlier, many keep the mail
203.0.113.9   ann@example.net  bob@ntp.example      3  30min  -        2026-01-01 00:01:00  \
2026-01-01 01:01:00  yes           tell postmaster@example.net

Who keeps writing, by client

CLIENT        RECORDS  FIRST SEEN           LAST SEEN
198.51.100.7        6  2026-01-01 00:00:00  2026-01-01 02:21:40
203.0.113.9         3  2026-01-01 00:01:00  2026-01-01 01:01:00

When, by 15min

FROM                 RECORDS  BAR
2026-01-01 00:00:00        3  ########################################
2026-01-01 00:15:00        1  #############
2026-01-01 00:30:00        2  ###########################
2026-01-01 00:45:00        0
2026-01-01 01:00:00        1  #############
2026-01-01 01:15:00        1  #############
2026-01-01 01:30:00        0
2026-01-01 01:45:00        0
2026-01-01 02:00:00        0
2026-01-01 02:15:00        1  #############
2026-01-01 02:30:00        3  ########################################

1 more came again and again.

Of 5 writers, those with most records are shown.
"""


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Where everybody may read, unlike in pytest's own."""
    with tempfile.TemporaryDirectory(prefix="null521-") as path:
        Path(path).chmod(0o755)
        yield Path(path)


@pytest.fixture(scope="module")
def copied(folder: Path) -> Path:
    """A folder with the world's journal."""
    journals.write(folder / "copied", world())
    return folder / "copied"


class Done(NamedTuple):
    """How a run has ended."""

    status: int
    out: str
    told: str


def run(launcher: Path, *words: str | Path, **options: Any) -> Done:
    command = [str(launcher), "report", *map(str, words)]
    options = {"stdin": subprocess.DEVNULL, "env": {**os.environ, "TZ": "UTC"}, **options}
    done = subprocess.run(command, capture_output=True, timeout=60, check=False, **options)
    return Done(done.returncode, done.stdout.decode(), done.stderr.decode())


def report(launcher: Path, *words: str | Path, **options: Any) -> str:
    """What it prints, where nothing is wrong."""
    done = run(launcher, *words, **options)
    assert (done.status, done.told) == (0, "")
    return done.out


def as_json(launcher: Path, *words: str | Path, **options: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(report(launcher, "--json", *words, **options))
    return found


def test_plain_text(launcher: Path, copied: Path) -> None:
    assert report(launcher, "--directory", copied, "--limit=2") == PLAIN


def test_a_postfix_that_has_not_given_up_is_named(launcher: Path, copied: Path) -> None:
    postfix, *_ = as_json(launcher, "--directory", copied)["retries"]
    assert postfix == {
        "client": "198.51.100.7",
        "sender": None,
        "recipient": None,
        "tries": 6,
        "every": 1200,
        "like": ["Postfix"],
        "first_seen": "2026-01-01T00:00:00.000+00:00",
        "last_seen": "2026-01-01T02:21:40.000+00:00",
        "still_trying": True,
        "what_to_do": "refuse at rcpt: earlier, many keep the mail",
    }


@pytest.mark.parametrize(
    ("by", "counts"),
    {
        "client": {
            "198.51.100.7": 6,
            "203.0.113.9": 3,
            "203.0.113.10": 1,
            "2001:db8::25": 1,
            "2001:db8::26": 1,
        },
        "network": {"198.51.100.0/24": 6, "203.0.113.0/24": 4, "2001:db8::/64": 2},
        "helo": {None: 7, "mx.example.net": 3, r"\x1b[2J\u202e": 1, "[bold]:smile:[/]": 1},
        "sender": {None: 7, "ann@example.net": 3, "": 1, "=cmd|x@evil.example": 1},
        "sender-domain": {None: 7, "example.net": 3, "": 1, "evil.example": 1},
        "recipient": {
            None: 7,
            "bob@ntp.example": 3,
            "eve@ntp.example": 3,
            "x@ntp.example": 1,
            "@SUM(1)": 1,
            "b,\"c'@d": 1,
        },
    }.items(),
)
def test_by(launcher: Path, copied: Path, by: str, counts: dict[str | None, int]) -> None:
    writers = as_json(launcher, "--directory", copied, f"--by={by}")["writers"]
    assert {writer[by]: writer["records"] for writer in writers} == counts
    assert by in KEYS


def test_a_sender_with_several_addresses_is_one_by_network(launcher: Path, folder: Path) -> None:
    records = [journals.of(f"203.0.113.{n}", ANN) for n in range(len(POSTFIX))]
    moments = [journals.START + moment for moment in POSTFIX]
    entries = map(journals.export, moments, records)
    journals.write(folder / "several", entries)
    words = ("--directory", folder / "several")
    assert as_json(launcher, *words)["retries"] == []
    found = as_json(launcher, "--by=network", *words)["retries"]
    assert [(row["network"], row["tries"], row["like"]) for row in found] == [
        ("203.0.113.0/24", 6, ["Postfix"]),
        ("203.0.113.0/24", 6, ["Postfix"]),
    ]


@pytest.mark.parametrize("table", ["retries", "writers", "timeline"])
def test_csv_says_what_json_says(launcher: Path, copied: Path, table: str) -> None:
    words = ("--directory", copied, "--by=sender", f"--show={table}")
    text = report(launcher, "--csv", *words)
    assert text.endswith("\r\n")
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert rows
    for row, entry in zip(rows, as_json(launcher, *words)[table], strict=True):
        assert row.keys() == entry.keys()
        for name, value in entry.items():
            said = " or ".join(value) or None if isinstance(value, list) else value
            expected = {None: "", "": "<>"}.get(said, str(said))
            assert row[name] == ("'" if expected[:1] == "=" else "") + expected


def test_csv_hands_no_formula_to_a_spreadsheet(launcher: Path, copied: Path) -> None:
    text = report(launcher, "--csv", "--by=recipient", "--directory", copied)
    rows = {row[0]: row[1] for row in csv.reader(io.StringIO(text, newline=""))}
    assert rows == {
        "recipient": "records",
        "": "7",
        "bob@ntp.example": "3",
        "eve@ntp.example": "3",
        "x@ntp.example": "1",
        "'@SUM(1)": "1",
        "b,\"c'@d": "1",
    }


def test_since_and_until(launcher: Path, copied: Path) -> None:
    words = ("--directory", copied)
    since = as_json(launcher, *words, "--since", "2026-01-01 02:00")
    assert (since["records"], since["first"]) == (4, "2026-01-01T02:21:40.000+00:00")
    until = as_json(launcher, *words, "--until=2026-01-01 00:05:00")
    assert (until["records"], until["last"]) == (3, "2026-01-01T00:05:00.000+00:00")
    assert as_json(launcher, *words, "--since", "-1h", "--until=now")["records"] == 0


def test_files_of_a_journal(launcher: Path, copied: Path, folder: Path) -> None:
    """An entry that is in two of them is one."""
    one = copied / "copied.journal"
    later = journals.export(journals.START + 20000, journals.of("192.0.2.7", ANN))
    other = journals.write(folder / "other", [world()[-1], later], "other.journal")
    assert as_json(launcher, f"--file={one}")["records"] == 12
    assert as_json(launcher, f"--file={one}", "--file", other)["records"] == 13


def test_lines(launcher: Path, tmp_path: Path) -> None:
    records = [
        journals.line(journals.START + moment, journals.of("192.0.2.7", ANN)) for moment in POSTFIX
    ]
    octets = b"".join(records) + b"podman: what is this?\n"
    a, b = tmp_path / "a", tmp_path / "b"
    a.write_bytes(octets)
    b.write_bytes(records[0])
    for name in (a, "-"):
        found = as_json(launcher, name, b, input=octets, stdin=None)
        assert found["records"] == 7
        assert found["retries"][0]["like"] == ["Postfix"]
        assert found["notes"] == ["1 could not be read as records, and are left out."]
    done = run(launcher, "--csv", tmp_path / "a")
    assert done.told == ("null521 report: 1 could not be read as records, and are left out.\n")


def test_what_journald_has_of_real_sessions(launcher: Path, tmp_path: Path) -> None:
    with Journald(tmp_path / "journald") as journald:
        said = report_in(journald, launcher)
        assert said.stdout.decode() == "No records of null521.\n"
        for client in ("192.0.2.1", "192.0.2.1", "2001:db8::1"):
            words = [str(launcher), "--log=journal", "--refuse-at=rcpt"]
            environ = {**os.environ, "REMOTE_ADDR": client}
            journald.run(words, input=ANN, stdout=subprocess.DEVNULL, env=environ)
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
        assert "\nNobody came again and again.\n" in text
        assert "\nann@example.net        3  TIME" in text
        assert said.stderr == b""


def report_in(
    journald: Journald, launcher: Path, *words: str
) -> "subprocess.CompletedProcess[bytes]":
    return journald.run([str(launcher), "report", *words], capture_output=True, timeout=60)


def test_what_serve_has_written(launcher: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening, (tmp_path / "log").open("wb") as log:
        serve = subprocess.Popen(
            [launcher, "serve", "--hostname=h.example", "--refuse-at=rcpt", "--log=json"],
            stdin=listening.fileno(),
            stdout=log,
        )
        try:
            for _ in range(3):
                dial("127.0.0.1", listening.getsockname()[1], ANN)
            serve.terminate()
            assert serve.wait(PATIENCE) == 0
        finally:
            serve.kill()
            serve.wait()
    found = as_json(launcher, "--by=recipient", tmp_path / "log")
    assert {row["recipient"]: row["records"] for row in found["writers"]} == {
        "bob@ntp.example": 3,
        "eve@ntp.example": 3,
    }
    assert found["notes"] == []


# As nobody, with a Python that nobody may run: the other one may be in root's home.
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


def test_no_permission_to_the_journal(launcher: Path, tmp_path: Path) -> None:
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


def test_no_permission_to_a_copy(launcher: Path, copied: Path, folder: Path) -> None:
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
    ("words", "status", "said"),
    [
        (["--since=tomorow"], 64, "--since is 'tomorow', which is no time of systemd.time(7)"),
        (["--until"], 64, "--until is '', which is no time"),
        (["--limit=0"], 64, "argument --limit: should be a number from 1 to 20000"),
        (["--by=colour"], 64, "argument --by: invalid choice: 'colour'"),
        (["--json", "--csv"], 64, "argument --csv: not allowed with argument --json"),
        (["--file=x", "-"], 64, "either JSON lines or a journal"),
        (["--colour"], 64, "unrecognized arguments: --colour; see null521 report --help"),
        (["missing"], 66, "cannot read missing: No such file or directory"),
        (["/"], 66, "cannot read /: Is a directory"),
        (["--directory=missing"], 66, "cannot read missing: No such file or directory"),
        (["--file=missing"], 66, "cannot read missing: No such file or directory"),
        (["--file=/etc/passwd"], 66, "cannot read /etc/passwd: "),
    ],
)
def test_what_cannot_be(launcher: Path, words: list[str], status: int, said: str) -> None:
    done = run(launcher, *words)
    assert (done.status, done.out, done.told.count("\n")) == (status, "", 1)
    assert done.told.startswith(f"null521 report: {said}")


def test_help(launcher: Path) -> None:
    done = run(launcher, "--help")
    assert (done.status, done.told) == (0, "")
    assert done.out.startswith("usage: null521 report ")
    for flag in ("--directory", "--file", "--since", "--until", "--by", "--limit", "--csv"):
        assert flag in done.out


def test_a_journal_that_is_damaged(launcher: Path, copied: Path, tmp_path: Path) -> None:
    octets = (copied / "copied.journal").read_bytes()
    used = len(octets.rstrip(b"\0"))
    for number in range(40):
        place = 256 + number * (used - 256) // 40
        damaged = octets[:place] + b"\xff" * 16 + octets[place + 16 :]
        (tmp_path / "copied.journal").write_bytes(damaged)
        done = run(launcher, "--directory", tmp_path)
        assert done.status in (0, 66)
        assert "Traceback" not in done.told
    (tmp_path / "copied.journal").write_bytes(octets[: used // 2])
    assert "Traceback" not in run(launcher, "--directory", tmp_path).told


def test_who_stops_reading_is_told_nothing(launcher: Path, copied: Path) -> None:
    words = [str(launcher), "report", "--directory", str(copied)]
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(words, stdout=writing, stderr=subprocess.PIPE, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (-13, b"")  # SIGPIPE
    with open("/dev/full", "wb") as full:
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, check=False)
    said = b"null521 report: cannot write it all: No space left on device\n"
    assert (done.returncode, done.stderr) == (74, said)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_every_encoding_will_do(launcher: Path, tmp_path: Path, encoding: str) -> None:
    said = journals.said("mx.bücher.example", "ж@例え.example", "b@ntp.example")
    (tmp_path / "lines").write_bytes(journals.line(journals.START, journals.of("192.0.2.7", said)))
    words = [sys.executable, "-m", "null521", "report", "--by=sender", str(tmp_path / "lines")]
    environ = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run(words, capture_output=True, check=True, env=environ)
    sender = "ж@例え.example".encode(encoding, "backslashreplace")
    assert b"\n" + sender + b"  " in done.stdout


def on_a_terminal(columns: int, *words: str | Path) -> str:
    """What appears on a terminal of that width, and there only."""
    parent, child = pty.openpty()
    process = subprocess.Popen(
        list(map(str, words)),
        stdin=child,
        stdout=child,
        stderr=child,
        env={**os.environ, "TERM": "xterm", "COLUMNS": str(columns), "TZ": "UTC"},
    )
    os.close(child)
    octets = b""
    try:
        while chunk := os.read(parent, 65536):
            octets += chunk
    except OSError:  # EIO: it has ended
        pass
    os.close(parent)
    assert process.wait(PATIENCE) == 0
    return octets.decode()


def shown(text: str) -> str:
    """Without the escape sequences."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


def test_a_terminal(launcher: Path, copied: Path) -> None:
    text = on_a_terminal(200, launcher, "report", "--directory", copied, "--by=helo")
    assert "\x1b[1m" in text, "bold"
    assert "Reading" in text, "the progress bar"
    assert r"\x1b[2J\u202e" in text
    plain = shown(text)
    assert "[bold]:smile:[/]" in plain, "a client's word was taken for markup"
    assert re.search(r"198\.51\.100\.7 +- +- +6 +20min +Postfix ", plain)
    assert "█" in plain


def test_a_narrow_terminal(launcher: Path, copied: Path) -> None:
    text = shown(on_a_terminal(100, launcher, "report", "--directory", copied))
    assert re.search(
        r"203\.0\.113\.9 +3 .*\n *ann@example\.net +30min .*\n *eve@ntp\.example", text
    )


def test_without_rich_and_without_systemd_python(
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
    assert done.told.startswith("null521 report: journals are read with systemd-python")
    shutil.copytree(site() / "systemd", tmp_path / "site/systemd")
    text = on_a_terminal(200, other, "report", "--directory", copied, "--limit=2")
    assert text.replace("\r\n", "\n") == PLAIN
