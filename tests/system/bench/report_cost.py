"""The cost of a report on a long journal, beside journalctl and jq: seconds, CPU and memory.

    python3 tests/system/bench/report_cost.py [RECORDS [RUNS [PYTHON]]]
    python3 tests/system/bench/report_cost.py hostile [LINES]

A million records and three runs by default, with /usr/bin/python3. systemd-journal-remote makes the
journal from records of real sessions, in the form that a server's journald gives them; that takes
longer than the rest, and needs a gigabyte below TMPDIR. Rows are run in turn; medians are printed.
Nothing here passes or fails.

hostile: instead, how much memory JSON lines take that were forged to need much of it, half a
million of each kind by default.
"""

import json
import multiprocessing
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from helpers import journals

from null521.record import REFUSED
from null521.session import MAX_MAILBOX

TREE = Path(__file__).parents[3]

# The fields that journald adds for a service, always the same here: systemd.journal-fields(7).
ADDED = (
    *("_TRANSPORT=journal", "_PID=4242", "_UID=997", "_GID=997", "_COMM=python3"),
    *("_EXE=/usr/bin/python3.11", "_CMDLINE=/usr/bin/python3", "_CAP_EFFECTIVE=0"),
    *("_SYSTEMD_CGROUP=/system.slice/null521-serve.service", "_SYSTEMD_SLICE=system.slice"),
    *("_SYSTEMD_UNIT=null521-serve.service", "_SYSTEMD_INVOCATION_ID=0123456789abcdef"),
    *("_MACHINE_ID=00000000000000000000000000000521", "_HOSTNAME=ntp.example"),
)

# The report itself, which then prints how much of its memory is its own. The rest is the journal's
# files, which libsystemd maps, and which the kernel can drop from memory.
REPORT = """
import sys
from null521.cli import main
main(sys.argv[1:])
sys.stdout.flush()
own = [line for line in open("/proc/self/status") if line.startswith("RssAnon:")]
print(own[0].split()[1], file=sys.stderr)
"""

# The share of reading alone, with the methods that systemd-python has for it.
READ = """
import sys
from systemd import journal
reader = journal.Reader(path=sys.argv[1])
reader.add_match("MESSAGE_ID=" + sys.argv[2])
while {step}:
    {each}
"""


def main(records: int = 10**6, runs: int = 3, python: str = "/usr/bin/python3") -> None:
    """Make the journal, then measure."""
    with tempfile.TemporaryDirectory() as folder:
        begun = time.monotonic()
        with tempfile.TemporaryFile() as errors:
            words = [journals.REMOTE, f"--output={folder}/made.journal", "-"]
            remote = subprocess.Popen(words, stdin=subprocess.PIPE, stderr=errors)
            assert remote.stdin
            for entry in world(records):
                remote.stdin.write(entry)
            remote.stdin.close()
            if remote.wait():
                errors.seek(0)
                raise SystemExit(errors.read().decode())
        size = sum(path.stat().st_size for path in Path(folder).iterdir())
        print(f"{records} records, {size / 2**20:.0f} MB, made in", end=" ")
        print(f"{time.monotonic() - begun:.0f} s; medians of {runs} runs, in turn\n")
        measure(folder, runs, python, records)
    python_is = version(python, "-c", "import platform; print(platform.python_version())")
    print(f"\nCPython {python_is}, systemd-python {version(python, '-c', VERSION)},", end=" ")
    print(f"{version('journalctl', '--version')}, {version('jq', '--version')},", end=" ")
    print(f"Linux {platform.release()}, {os.cpu_count()} cores")


VERSION = "from importlib.metadata import version; print(version('systemd-python'))"


def version(*words: str) -> str:
    """The first line that the command prints."""
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    return done.stdout.splitlines()[0]


def world(records: int) -> Iterator[bytes]:
    """Records in order of time: a few clients with many, and many clients with few."""
    chance = random.Random(521)
    for number in range(records):
        client = int(chance.paretovariate(0.7)) % 5000
        domain = f"d{int(chance.paretovariate(1)) % 300}.example"
        sender = f"user{chance.randrange(2000)}@{domain}"
        recipient = f"box{chance.randrange(20)}@ntp.example"
        said = journals.said(f"mx{client}.{domain}", sender, recipient)
        moment = journals.START + 2 * number + chance.random()
        source = f"_SOURCE_REALTIME_TIMESTAMP={moment * 1e6 - 200:.0f}"
        made = journals.of(f"198.51.{client >> 8}.{client & 255}", said)
        yield journals.export(moment, made, (*ADDED, source))


def measure(folder: str, runs: int, python: str, records: int) -> None:
    """Run all rows in turn, and print the table."""
    report = [python, "-c", REPORT, "report", f"--directory={folder}"]
    tenth, half = (f"--until=@{journals.START + 2 * records // part}" for part in (10, 2))
    count = f"jq -r .NULL521_CLIENT | sort | uniq -c | sort -rn >{os.devnull}"
    journal = f"journalctl --directory={folder} --output=json MESSAGE_ID={REFUSED}"
    rows = {
        "null521 report": report,
        "null521 report, of the first tenth": [*report, tenth],
        "null521 report, of the first half": [*report, half],
        "null521 report --by=sender": [*report, "--by=sender"],
        "journalctl -o json, jq, sort, uniq": ["bash", "-c", f"{journal} | {count}"],
        "the same with --output-fields": [
            *("bash", "-c", f"{journal} --output-fields=NULL521_CLIENT | {count}")
        ],
    }
    for name, step, each in (
        ("reading alone: next", "reader._next()", "pass"),
        ("reading alone: next, get all", "reader._next()", "reader._get_all()"),
        ("reading alone: Reader.get_next()", "reader.get_next()", "pass"),
    ):
        code = READ.format(step=step, each=each)
        rows[name] = [python, "-c", code, folder, REFUSED]
    figures: dict[str, list[list[float]]] = {row: [] for row in rows}
    for _ in range(runs):
        for row, command in rows.items():
            figures[row].append(once(command))
    print("| | wall s | CPU s | peak MB | own MB |")
    print("|---|---|---|---|---|")
    for row, runs_of_it in figures.items():
        wall, cpu, peak, own = map(statistics.median, zip(*runs_of_it, strict=True))
        print(f"| {row} | {wall:.1f} | {cpu:.1f} | {peak:.0f} | {f'{own:.0f}' if own else ''} |")


def once(command: list[str]) -> list[float]:
    """Seconds, CPU seconds, peak MB and own MB (0 unless it prints that), by wait4(2)."""
    with tempfile.TemporaryFile() as errors, open(os.devnull, "wb") as null:
        begun = time.monotonic()
        process = subprocess.Popen(command, cwd=TREE, stdout=null, stderr=errors)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.monotonic() - begun
        process.returncode = os.waitstatus_to_exitcode(status)
        errors.seek(0)
        own = errors.read()
    if status:
        raise SystemExit(f"{command} ended with status {process.returncode}: {own.decode()}")
    cpu = usage.ru_utime + usage.ru_stime
    return [wall, cpu, usage.ru_maxrss / 1024, int(own or 0) / 1024]


# What a value is filled up with, to the longest of a record; how many recipients a line has; and
# one line of how many names them and a sender.
HOSTILE = {
    "short values": ("", 1, 1),
    "long values": ("x", 1, 1),
    "long values of four octets": ("\U0001f4a9", 1, 1),
    "values that are escaped": ("\x1b", 1, 1),
    "ten long recipients": ("x", 10, 1),
    "long values, half without a sender": ("x", 1, 2),
}
ROUND = 10000  # lines until the same come again: half of what is remembered
TRIES = 3


def hostile(lines: int = 500_000) -> None:
    """Print the table of memory by kind of line."""
    print("| lines | wall s | peak MB |")
    print("|---|---|---|")
    for kind, (filling, recipients, named) in HOSTILE.items():
        for by in ("client", "recipient", "host"):
            reading, writing = os.pipe()
            forged = multiprocessing.Process(
                target=forge, args=(writing, lines, filling, recipients, named)
            )
            forged.start()
            os.close(writing)
            report = [sys.executable, "-m", "null521", "report", f"--by={by}", "-"]
            begun = time.monotonic()
            process = subprocess.Popen(report, cwd=TREE, stdin=reading, stdout=subprocess.DEVNULL)
            os.close(reading)
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            wall = time.monotonic() - begun
            forged.join()
            assert process.returncode == 0
            peak = usage.ru_maxrss / 1024
            print(f"| {kind}, by {by} | {wall:.0f} | {peak:.0f} |", flush=True)


def forge(writing: int, lines: int, filling: str, recipients: int, named: int) -> None:
    """Write lines of so many different clients, senders and recipients, each TRIES times."""
    with open(writing, "w", encoding="utf-8") as pipe:
        for number in range(lines):
            who = number // (ROUND * TRIES) * ROUND + number % ROUND
            moment = journals.START + number * 90 / ROUND
            made = {
                "time": datetime.fromtimestamp(moment, UTC).isoformat(),
                "message_id": REFUSED,
                "recipient": [filled(f"{who} {one}", filling) for one in range(recipients)],
                **{name: filled(str(who), filling) for name in ("client", "sender", "hostname")},
                **{name: filled(str(number), filling) for name in ("helo", "refuse_at", "tls")},
            }
            if number % named:
                del made["recipient"], made["sender"]
            print(json.dumps(made, ensure_ascii=False), file=pipe)


def filled(text: str, filling: str) -> str:
    return text + filling * (MAX_MAILBOX - len(text))


if __name__ == "__main__":
    if sys.argv[1:2] == ["hostile"]:
        hostile(*map(int, sys.argv[2:]))
        sys.exit()
    main(*(int(word) if word.isdigit() else word for word in sys.argv[1:]))  # type: ignore[arg-type]
