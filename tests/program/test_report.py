"""null521 report over JSON lines: options, exit statuses, and what a terminal or a pipe gets."""

import csv
import io
import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from helpers import journals
from helpers.program import TREE, Server, dial

from null521 import record

TABLES = {"retries", "mail", "timeline", "others"}
TIMEOUT = 60  # seconds until a run that hangs fails
COMMAND = [sys.executable, "-m", "null521", "report"]
# Without the libraries that are optional.
WITHOUT = """
import sys
sys.modules.update(dict.fromkeys(sys.argv[1].split()))
from null521.cli import main
sys.exit(main(["report", *sys.argv[2:]]))
"""


@pytest.fixture
def lines(tmp_path: Path) -> Path:
    """The world's records."""
    return write(tmp_path / "lines", journals.world())


def write(path: Path, records: Sequence[journals.Dated]) -> Path:
    path.write_bytes(b"".join(journals.line(moment, made) for moment, made in records))
    return path


class Done(NamedTuple):
    """How a run has ended, and what it has printed on standard output and standard error."""

    status: int
    out: str
    err: str


def run(*words: str | Path, command: Sequence[str] = COMMAND, **options: Any) -> Done:
    options = {"stdin": subprocess.DEVNULL, "env": {**os.environ, "TZ": "UTC"}, **options}
    done = subprocess.run(
        [*command, *map(str, words)],
        cwd=TREE,
        capture_output=True,
        timeout=TIMEOUT,
        check=False,
        **options,
    )
    return Done(done.returncode, done.stdout.decode(), done.stderr.decode())


def report(*words: str | Path, **options: Any) -> str:
    """What it prints, with status 0 and nothing on standard error."""
    done = run(*words, **options)
    assert (done.status, done.err) == (0, "")
    return done.out


def as_json(*words: str | Path, **options: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(report("--json", *words, **options))
    return found


def test_plain_text(lines: Path) -> None:
    assert report(lines, "--limit=2") == journals.PLAIN


def test_a_postfix_that_keeps_retrying_is_named(lines: Path) -> None:
    postfix, *_ = as_json(lines)["retries"]
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
        "what_to_do": "refuse at rcpt: earlier, many queue the mail",
    }


CLIENTS = {"198.51.100.7": 6, "2001:db8::26": 1}


@pytest.mark.parametrize(
    ("by", "mail", "others"),
    [
        ("client", {"203.0.113.9": 3, "203.0.113.10": 1, "2001:db8::25": 1}, CLIENTS),
        (
            "network",
            {"203.0.113.0/24": 4, "2001:db8::/64": 1},
            {"198.51.100.0/24": 6, "2001:db8::/64": 1},
        ),
        (
            "helo",
            {"mx.example.net": 3, r"\x1b[2J\u202e": 1, "[bold]:smile:[/]": 1},
            {None: 7},
        ),
        ("sender", {"ann@example.net": 3, "": 1, "=cmd|x@evil.example": 1}, CLIENTS),
        ("sender-domain", {"example.net": 3, "": 1, "evil.example": 1}, CLIENTS),
        (
            "recipient",
            {
                "bob@ntp.example": 3,
                "eve@ntp.example": 3,
                "x@ntp.example": 1,
                "@SUM(1)": 1,
                "b,\"c'@d": 1,
            },
            CLIENTS,
        ),
    ],
)
def test_group_by(
    lines: Path, by: str, mail: dict[str | None, int], others: dict[str | None, int]
) -> None:
    found = as_json(lines, f"--by={by}")
    assert {row[by]: row["records"] for row in found["mail"]} == mail
    others_by = "client" if others is CLIENTS else by
    assert {row[others_by]: row["records"] for row in found["others"]} == others


def test_which_host_gets_mail_and_from_whom(tmp_path: Path) -> None:
    """From files of their own, and from what the tools for containers print of several."""
    named = [(f"ntp{number % 2}", dated) for number, dated in enumerate(journals.world())]
    files = [tmp_path / "ntp0", tmp_path / "ntp1"]
    for path in files:
        write(path, [dated for name, dated in named if name == path.name])
    text = report("--by=host", *files)
    assert text.startswith("12 connections to 2 hosts, from ")
    assert re.search(r"\nHOST +SENDER +RECORDS +LAST RECIPIENT .*\nntp\d  ann@example.net ", text)
    found = as_json("--by=host", *files)
    assert found["hosts"] == 2
    assert {(row["host"], row["sender"]): row["records"] for row in found["mail"]} == {
        ("ntp0", "ann@example.net"): 2,
        ("ntp1", "ann@example.net"): 1,
        ("ntp1", ""): 1,
        ("ntp0", "=cmd|x@evil.example"): 1,
    }
    assert {row["host"]: row["records"] for row in found["others"]} == {"ntp0": 3, "ntp1": 4}
    for prefix in ("{}  | ", "{} ", "[pod/{}/null521] "):
        octets = [prefix.format(name).encode() + journals.line(*dated) for name, dated in named]
        assert as_json("--by=host", "-", input=b"".join(octets), stdin=None) == found


def test_the_last_table_is_short_unless_it_is_asked_for(tmp_path: Path) -> None:
    scans = [(journals.START + n, journals.of(f"192.0.2.{n}", b"")) for n in range(9)]
    lines = write(tmp_path / "lines", [*scans, *journals.world()])
    _, _, last = report(lines).partition(
        "\nOthers, which named no sender, by client: the first 5\n"
    )
    assert last.count("\n") == 2 + 5
    for words in (["--show=others"], ["--csv", "--show=others"]):
        assert report(lines, *words).count("192.0.2.") == 9
    assert len(as_json(lines)["others"]) == 11


def test_one_table_alone(lines: Path) -> None:
    summary, _, rest = journals.PLAIN.partition("\n\n")
    table = rest[rest.index("Mail, by client") : rest.index("\nMail in each")]
    notes = rest[rest.index("\n1 more") :]
    assert report(lines, "--limit=2", "--show=mail") == f"{summary}\n\n{table}{notes}"
    whole, part = as_json(lines), as_json(lines, "--show=timeline")
    assert part == {name: whole[name] for name in whole if name not in TABLES - {"timeline"}}


def test_the_manual_has_the_keys_of_the_json(lines: Path) -> None:
    page = (TREE / "docs/man/null521-report.1").read_text()
    section = page.partition("\n.Sh JSON\n")[2].partition("\n.Sh ")[0]
    heads = re.findall(r"^\.It Cm (.*)$", section, re.M)
    found = as_json(lines)
    assert " , ".join(heads).split(" , ") == list(found)
    keys = {key for line in re.findall(r"^\.Em (.*)$", section, re.M) for key in line.split()}
    for by in ("network", "host"):
        found = as_json(lines, f"--by={by}")
        assert {key for table in TABLES for row in found[table] for key in row} <= keys


def test_without_records(tmp_path: Path) -> None:
    empty = write(tmp_path / "empty", [])
    assert report(empty) == "No records of null521.\n"
    found = as_json(empty)
    assert (found["records"], found["retries"], found["mail"]) == (0, [], [])
    head = '"client","records","last_sender","last_recipient","first_seen","last_seen"\r\n'
    assert report("--csv", empty) == head


@pytest.mark.parametrize("table", sorted(TABLES))
def test_csv_and_json_have_the_same_values(lines: Path, table: str) -> None:
    words = (lines, "--by=sender", f"--show={table}")
    text = report("--csv", *words)
    assert text.endswith("\r\n")
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert rows
    for row, entry in zip(rows, as_json(*words)[table], strict=True):
        assert row.keys() == entry.keys()
        for name, value in entry.items():
            said = " or ".join(value) or None if isinstance(value, list) else value
            expected = {None: "", "": "<>"}.get(said, str(said))
            assert row[name] == ("'" if expected[:1] == "=" else "") + expected


def test_csv_has_no_formula_for_a_spreadsheet(lines: Path) -> None:
    text = report("--csv", "--by=recipient", lines)
    rows = {row[0]: row[1] for row in csv.reader(io.StringIO(text, newline=""))}
    assert rows == {
        "recipient": "records",
        "bob@ntp.example": "3",
        "eve@ntp.example": "3",
        "x@ntp.example": "1",
        "'@SUM(1)": "1",
        "b,\"c'@d": "1",
    }


def test_since_and_until(lines: Path) -> None:
    since = as_json(lines, "--since", "2026-01-01 02:00")
    assert (since["records"], since["first"]) == (4, "2026-01-01T02:21:40.000+00:00")
    until = as_json(lines, "--until=2026-01-01 00:05:00")
    assert (until["records"], until["last"]) == (3, "2026-01-01T00:05:00.000+00:00")
    assert as_json(lines, "--since", "-1h", "--until=now")["records"] == 0
    same = "2026-01-01 00:05:00"
    assert as_json(lines, f"--since={same}", f"--until={same}")["records"] == 1
    assert as_json(lines, "--until=-100years")["records"] == 0


def test_files_and_standard_input_are_merged(tmp_path: Path) -> None:
    records = [
        (journals.START + moment, journals.of("192.0.2.7", journals.ANN))
        for moment in journals.POSTFIX
    ]
    a = write(tmp_path / "a", records)
    octets = a.read_bytes() + b"podman: what is this?\n"
    a.write_bytes(octets)
    b = write(tmp_path / "b", records[:1])
    for name in (a, "-"):
        found = as_json(name, b, input=octets, stdin=None)
        assert found["records"] == 7
        assert found["retries"][0]["like"] == ["Postfix"]
        assert found["notes"] == ["Skipped 1 line that is not a record."]
    done = run("--csv", a, a)
    assert (done.status, done.out.count("\n")) == (0, 2)
    assert done.err == "null521 report: Skipped 2 lines that are not records.\n"


def test_the_records_of_serve(tmp_path: Path) -> None:
    with Server("--refuse-at=rcpt") as server:
        for _ in range(3):
            dial(*server.address(), journals.ANN)
        records = server.stop()
    (tmp_path / "log").write_text("".join(json.dumps(record) + "\n" for record in records))
    found = as_json("--by=recipient", tmp_path / "log")
    assert {row["recipient"]: row["records"] for row in found["mail"]} == {
        "bob@ntp.example": 3,
        "eve@ntp.example": 3,
    }
    assert found["notes"] == []


def test_a_note_about_sessions_that_were_only_summed_up(lines: Path) -> None:
    made = record.Record(record.SUMMED, record.INFO, "Refused 7 more", [("SESSIONS", 7)])
    with lines.open("ab") as file:
        file.write(journals.line(journals.START, made))
    found = as_json(lines)
    assert (found["records"], found["notes"]) == (
        12,
        [
            "Not included: 7 sessions that were only summed up, because there were more than "
            "log-budget allows; see null521-serve(8)."
        ],
    )


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["--since=tomorow"], 64, "--since must be a time as in systemd.time(7), such as "),
        (["--until"], 64, "--until must be a time as in systemd.time(7), such as "),
        (["--since=now", "--until=-1h"], 64, "--since ('now') is later than --until ('-1h')"),
        (["--since", "2026-01-02", "--until=2026-01-01", "x"], 64, "--since ('2026-01-02') is "),
        (["--limit=0"], 64, "argument --limit: must be a number from 1 to 20000; see "),
        (["--limit=20001"], 64, "argument --limit: must be a number from 1 to 20000; see "),
        (["--limit=²"], 64, "argument --limit: must be a number from 1 to 20000; see "),
        (["--by=colour"], 64, "argument --by: invalid choice: 'colour'"),
        (["--json", "--csv"], 64, "argument --csv: not allowed with argument --json"),
        (["--file=x", "-"], 64, "give LINES or a journal, not both; see null521 report --help"),
        (["--directory=x", "-"], 64, "give LINES or a journal, not both; see null521 report --"),
        (["--colour"], 64, "unrecognized arguments: --colour; see null521 report --help"),
        (["missing"], 66, "cannot read missing: No such file or directory"),
        (["/"], 66, "cannot read /: Is a directory"),
    ],
)
def test_an_error_is_one_line_and_an_exit_status(words: list[str], status: int, said: str) -> None:
    done = run(*words)
    assert (done.status, done.out, done.err.count("\n")) == (status, "", 1)
    assert done.err.startswith(f"null521 report: {said}")


def test_a_wrong_time_is_quoted_in_ascii() -> None:
    done = run("--since=mañana\x1b")
    assert done.err == (
        'null521 report: --since must be a time as in systemd.time(7), such as "yesterday" or '
        "\"2 hours ago\", not 'ma\\xf1ana\\x1b'\n"
    )


def test_journals_need_systemd_python() -> None:
    done = run("--directory=/", command=without("systemd"))
    assert (done.status, done.out) == (69, "")
    assert done.err == (
        "null521 report: systemd-python is not installed (python3-systemd); it is needed to read "
        "journals\n"
    )


def without(*libraries: str) -> list[str]:
    return [sys.executable, "-c", WITHOUT, " ".join(libraries)]


def test_help() -> None:
    done = run("--help")
    assert (done.status, done.err) == (0, "")
    assert done.out.startswith("usage: null521 report ")
    for flag in ("--directory", "--file", "--since", "--until", "--by", "--limit", "--csv"):
        assert flag in done.out


def test_a_closed_pipe_ends_it_silently(lines: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    words = [*COMMAND, str(lines)]
    done = subprocess.run(words, stdout=writing, stderr=subprocess.PIPE, check=False, cwd=TREE)
    os.close(writing)
    assert (done.returncode, done.stderr) == (-13, b"")  # SIGPIPE


@pytest.mark.parametrize("form", ["", "--csv", "--json"])
def test_with_standard_output_closed(lines: Path, form: str) -> None:
    words = f'exec "$1" -m null521 report {form} "$2" >&-'
    done = subprocess.run(
        ["sh", "-c", words, "sh", sys.executable, lines], cwd=TREE, capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("form", [[], ["--json"], ["--csv"]])
def test_a_full_disk_is_an_error(lines: Path, form: list[str]) -> None:
    words = [*COMMAND, *form, str(lines)]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, check=False, cwd=TREE)
    said = b"null521 report: cannot write the report: No space left on device\n"
    assert (done.returncode, done.stderr) == (74, said)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_output_in_any_encoding(tmp_path: Path, encoding: str) -> None:
    said = journals.said("mx.bücher.example", "ж@例え.example", "b@ntp.example")
    lines = write(tmp_path / "lines", [(journals.START, journals.of("192.0.2.7", said))])
    environ = {**os.environ, "PYTHONIOENCODING": encoding}
    words = [*COMMAND, "--by=sender", str(lines)]
    done = subprocess.run(words, capture_output=True, check=True, env=environ, cwd=TREE)
    sender = "ж@例え.example".encode(encoding, "backslashreplace")
    assert b"\n" + sender + b"  " in done.stdout


def on_a_terminal(columns: int, *words: str | Path, command: Sequence[str] = COMMAND) -> str:
    """What appears on a terminal of that width, and only there."""
    parent, child = pty.openpty()
    process = subprocess.Popen(
        [*command, *map(str, words)],
        cwd=TREE,
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
    except OSError:  # EIO: the process has ended
        pass
    os.close(parent)
    assert process.wait(TIMEOUT) == 0
    return octets.decode()


def shown(text: str) -> str:
    """The text without escape sequences."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


def test_a_terminal(lines: Path) -> None:
    text = on_a_terminal(200, lines, "--by=helo")
    assert "\x1b[1m" in text, "bold"
    assert "Reading" in text, "the progress bar"
    assert r"\x1b[2J\u202e" in text
    plain = shown(text)
    assert "[bold]:smile:[/]" in plain, "a client's word was read as markup"
    assert re.search(r"198\.51\.100\.7 +- +- +6 +20min +Postfix ", plain)
    assert "█" in plain


def test_a_narrow_terminal(lines: Path) -> None:
    text = shown(on_a_terminal(100, lines))
    assert re.search(
        r"203\.0\.113\.9 +3 .*\n *ann@example\.net +30min .*\n *eve@ntp\.example", text
    )


def test_a_terminal_without_rich(lines: Path) -> None:
    text = on_a_terminal(200, lines, "--limit=2", command=without("rich"))
    assert text.replace("\r\n", "\n") == journals.PLAIN
