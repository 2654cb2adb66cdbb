"""The cost of a report on a long journal, beside journalctl and jq: seconds, CPU and memory.

    python3 tests/system/bench/report_cost.py [RECORDS [RUNS [PYTHON]]]

A million records and three runs by default, with /usr/bin/python3. systemd-journal-remote makes the
journal from records of real sessions, in the form that a server's journald gives them; that takes
longer than the rest, and needs a gigabyte below TMPDIR. Rows are run in turn; medians are printed.
Nothing here passes or fails.
"""

import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from helpers import journals

from null521.record import REFUSED

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


if __name__ == "__main__":
    main(*(int(word) if word.isdigit() else word for word in sys.argv[1:]))  # type: ignore[arg-type]
