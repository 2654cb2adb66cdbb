"""The cost of one connection to null521 serve and to others: CPU, rate and latency, side by side.

    PYTHONPATH=.:tests:tests/system/senders build/venv-distribution/bin/python \
        tests/system/bench/servers.py

As root; `make bench` prepares the machine and runs it. Each server is alone in a network of its
own, and in a cgroup that adds up the CPU time of all its processes; the clients (load.c) are not in
that cgroup. Every server has its turn in each round, so that other load affects all alike. Ratios
are to the floor (floor.c) in the same round. Nothing here passes or fails: the targets are printed
below the figures.
"""

import argparse
import contextlib
import gzip
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple, Self

import picture
from helpers.installed import install
from helpers.namespaces import TEST_TIMEOUT, TREE, Counted, Journald, Systemd
from lab import BUILD, TCPSERVER, SendingHost, in_network
from mtas import MTAS

PERL = Path(__file__).parent / "fork.pl"
PYTHON_LOOP = Path(__file__).parent / "loop.py"
PROGRAMS = BUILD / "bench"
PORT = "25"
AT_ONCE = 16

FLOOR = "C, one epoll loop"
LOOP = "Python, one epoll loop and nothing else"
SERVE = "null521 serve, uvloop"
PLAIN = "null521 serve, asyncio"
IDLE = (10, 100, 1000, 10000)

# No connection of a benchmark may exceed a limit.
LIMITS = ["--max-connections=12000", "--max-per-client=12000"]
LONG_TIMEOUTS = ["--idle-timeout=3600", "--session-timeout=3600"]
WITHOUT_UVLOOP = (
    "import sys; sys.modules['uvloop'] = None; from null521.cli import main; sys.exit(main())"
)


class Figures(NamedTuple):
    """The figures of a server in one round: times in seconds, CPU time for each connection."""

    cpu: float
    rate: float
    greeted_p50: float
    greeted_p99: float
    answered_p50: float
    answered_p99: float


class Server(Counted):
    """A command that answers on port 25."""

    def __init__(self, folder: Path, words: list[str]) -> None:
        super().__init__(folder)
        self.inside = f"ip link set lo up\nexec {shlex.join(words)} >output 2>errors"

    def answers(self) -> bool:
        return listens(self)


class ServerWithJournal(Journald, Counted):
    """The same beside a journald, whose CPU time is included."""

    def __init__(self, folder: Path, words: list[str]) -> None:
        super().__init__(folder)
        start_after_journald = f"""{{
            until [ -S /run/systemd/journal/socket ]; do sleep 0.1; done
            exec {shlex.join(words)} >output 2>errors
        }} &"""
        self.inside = start_after_journald + Journald.inside

    def answers(self) -> bool:
        return super().answers() and listens(self)


class Postfix(SendingHost, Counted):
    """Debian's Postfix, configured to refuse all recipients."""

    # Clients are not trusted although they use the loopback, and there is no DNS.
    setup = f"""
        postconf mynetworks=192.0.2.1 smtpd_peername_lookup=no \
            smtpd_relay_restrictions= smtpd_recipient_restrictions=reject
        {MTAS["postfix"].start}
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "debian-12-postfix")

    def __enter__(self) -> Self:
        super().__enter__()
        with (self._folder / "errors").open("wb") as log, closing_on_error(self):
            words = [*self.join_command(), *self.command(["bash", "-euc", self.setup])]
            subprocess.run(words, check=True, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            wait_until(lambda: listens(self), "Postfix does not listen")
        return self


class Unit(Systemd):
    """The shipped unit under systemd; the CPU time of systemd and journald is included."""

    def __enter__(self) -> Self:
        super().__enter__()
        with closing_on_error(self):
            self.make("install")
            drop_in = "/etc/systemd/system/null521@.service.d/bench.conf"
            self.run(
                ["install", "-D", "/dev/stdin", drop_in],
                input=b"[Service]\nEnvironment=NULL521_LOG=none\n",
            )
            self.run(["systemctl", "daemon-reload"])
            self.run(["systemctl", "start", "null521.socket"])
        return self


class Row(NamedTuple):
    """A server of the first table, and its number of connections in a round."""

    name: str
    start: Callable[[Path], Counted]
    connections: int


def rows(launcher: Path) -> list[Row]:
    """All rows, the floor first."""
    tcpserver = [str(TCPSERVER), "-R", "-H", "-l", "0", "-c", "64", "127.0.0.1", PORT]
    refusing = ["env", "RBLSMTPD=-this host is configured NOT to accept any mail."]
    rblsmtpd = [*refusing, *tcpserver, str(TCPSERVER.parent / "rblsmtpd"), "false"]
    handler = [*tcpserver, str(launcher), "--log=none", "--refuse-at=rcpt"]
    journald = partial(ServerWithJournal, words=serve("journal"))
    python_loop = [sys.executable, "-I", "-S", str(PYTHON_LOOP), PORT]
    return [
        Row(FLOOR, partial(Server, words=floor()), 4000),
        Row(LOOP, partial(Server, words=python_loop), 4000),
        Row(SERVE, partial(Server, words=serve()), 4000),
        Row(PLAIN, partial(Server, words=serve(uvloop=False)), 4000),
        Row(f"{SERVE}, JSON records", partial(Server, words=serve("json")), 2000),
        # By default, journald drops messages after 10,000 in 30 s.
        Row(f"{SERVE}, to journald", journald, 1000),
        Row("Perl, a fork for each", partial(Server, words=["perl", str(PERL), PORT]), 500),
        Row("tcpserver with rblsmtpd", partial(Server, words=rblsmtpd), 500),
        Row("Postfix's smtpd, told to reject", Postfix, 500),
        Row("null521 under tcpserver", partial(Server, words=handler), 50),
        Row("null521 under systemd, as shipped", Unit, 25),
    ]


def floor(*timeouts: str) -> list[str]:
    return [str(PROGRAMS / "floor"), PORT, *timeouts]


def serve(log: str = "none", *flags: str, uvloop: bool = True) -> list[str]:
    """The command of null521 serve, with the Python that runs this."""
    python = ["env", f"PYTHONPATH={TREE}", sys.executable]
    program = ["-m", "null521"] if uvloop else ["-c", WITHOUT_UVLOOP]
    settings = [f"--listen=127.0.0.1:{PORT}", "--refuse-at=rcpt", f"--log={log}", *LIMITS, *flags]
    return [*python, *program, "serve", *settings]


@contextlib.contextmanager
def closing_on_error(host: Counted) -> Iterator[None]:
    """Stop the host if the rest of its __enter__ fails."""
    try:
        yield
    except BaseException:
        host.__exit__(None, None, None)
        raise


def wait_until(condition: Callable[[], bool], error: str) -> None:
    deadline = time.monotonic() + TEST_TIMEOUT
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(error)
        time.sleep(0.02)


def listens(host: Counted) -> bool:
    """Whether a program listens on port 25."""
    with contextlib.suppress(OSError, ValueError):
        words = ["ss", "-Hltn", f"sport = {PORT}"]
        done = in_network(host, *words, check=False, capture_output=True)
        return done.returncode == 0 and bool(done.stdout)
    return False


def build() -> None:
    """Compile the C programs."""
    subprocess.run(["make", "-s", "-C", TREE, "build/bench/floor", "build/bench/load"], check=True)


def call(host: Counted, connections: int) -> Figures:
    """Connect that many clients; an error unless all are refused as load.c expects."""
    before = settled(host)
    words = [str(PROGRAMS / "load"), PORT, str(connections), str(AT_ONCE)]
    figures: dict[str, float] = json.loads(in_network(host, *words, stdout=subprocess.PIPE).stdout)
    cpu = (settled(host) - before) / connections
    return Figures(cpu, connections / figures.pop("seconds"), **figures)


def settled(host: Counted) -> float:
    """CPU seconds, once the work that follows the last connection is done."""
    now = host.cpu_seconds()
    for _ in range(50):
        time.sleep(0.1)
        before, now = now, host.cpu_seconds()
        if now - before < 0.001:
            break
    return now


@contextlib.contextmanager
def held(host: Counted, connections: int) -> Iterator[None]:
    """Keep that many idle connections open."""
    words = [str(PROGRAMS / "load"), PORT, str(connections)]
    command = ["nsenter", f"--net=/proc/{host.pid}/ns/net", *words]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdin
        assert holder.stdout
        assert holder.stdout.readline() == b"held\n"
        yield
        holder.stdin.close()


def kilobytes(host: Counted) -> int:
    """Resident memory of the first process, in KB."""
    status = Path(f"/proc/{host.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


def median(rounds: list[Figures]) -> Figures:
    return Figures(*(statistics.median(column) for column in zip(*rounds, strict=True)))


def ratio(rounds: list[Figures], floor: list[Figures]) -> float:
    """The ratio of CPU time to that of the floor: the median over the rounds."""
    return statistics.median(a.cpu / b.cpu for a, b in zip(rounds, floor, strict=True))


def verdict(met: bool) -> str:
    return "met" if met else "**not met**"


def by_server(folder: Path, launcher: Path, rounds: int) -> tuple[dict[str, float], str]:
    """Print the first table; return CPU seconds for each row, and the versions of all programs."""
    table = rows(launcher)
    measured: dict[str, list[Figures]] = {row.name: [] for row in table}
    load = os.getloadavg()[0]
    with contextlib.ExitStack() as stack:
        hosts = [
            stack.enter_context(row.start(folder / str(number))) for number, row in enumerate(table)
        ]
        for turn in range(rounds + 1):
            for row, host in zip(table, hosts, strict=True):
                figures = call(host, row.connections if turn else min(row.connections, 100))
                if turn:  # the first round is not counted
                    measured[row.name].append(figures)
        programs = versions(hosts)
    print(f"{programs}; {rounds} rounds, {AT_ONCE} clients at once; medians.")
    print(f"The load of the machine was {load:.1f} before.\n")
    print("| server | CPU ms | ratio | connections/s | p50 ms | p99 ms |")
    print("|---|---|---|---|---|---|")
    for name, figures_of_row in measured.items():
        m = median(figures_of_row)
        print(
            f"| {name} | {m.cpu * 1e3:.3f} | {ratio(figures_of_row, measured[FLOOR]):.2f} "
            f"| {m.rate:.0f} | {m.answered_p50 * 1e3:.1f} | {m.answered_p99 * 1e3:.1f} |"
        )
    times = ratio(measured[SERVE], measured[FLOOR])
    others = set(measured) - {FLOOR, LOOP}
    others -= {name for name in measured if name.startswith("null521 serve")}
    below = all(ratio(measured[SERVE], measured[name]) < 1 for name in others)
    print(f"\nTargets for {SERVE}:")
    print(f"at most 1.35 times the C loop: {times:.2f}, {verdict(times <= 1.35)};")
    print(f"below every other: {verdict(below)}.\n")
    return {name: median(figures_of_row).cpu for name, figures_of_row in measured.items()}, programs


def by_idle_connections(folder: Path, rounds: int) -> None:
    """Print the second table."""
    commands = {
        FLOOR: floor("3600", "3600"),
        SERVE: serve("none", *LONG_TIMEOUTS),
        PLAIN: serve("none", *LONG_TIMEOUTS, uvloop=False),
    }
    cases = [(name, count) for name in commands for count in IDLE]
    measured: dict[tuple[str, int], list[Figures]] = {case: [] for case in cases}
    memory: dict[tuple[str, int], tuple[int, int]] = {}  # KB, without and with them
    with contextlib.ExitStack() as stack:
        hosts: dict[tuple[str, int], Server] = {}
        for number, (name, count) in enumerate(cases):
            host = stack.enter_context(Server(folder / f"idle-{number}", commands[name]))
            hosts[name, count] = host
            call(host, 100)  # so that all modules are loaded
            alone = kilobytes(host)
            stack.enter_context(held(host, count))
            memory[name, count] = alone, kilobytes(host)
        for _ in range(rounds):
            for case in cases:
                measured[case].append(call(hosts[case], 1000))
    fewest, most = IDLE[0], IDLE[-1]
    columns = ["server", "idle", "CPU ms for a new one", f"ratio to {fewest} idle"]
    columns += ["greeted p50 ms", "greeted p99 ms", "RSS MB", "KB more for each idle one"]
    print(f"| {' | '.join(columns)} |")
    print("|---" * len(columns) + "|")
    ratios = {case: ratio(measured[case], measured[case[0], fewest]) for case in cases}
    for case in cases:
        name, count = case
        m = median(measured[case])
        alone, beside = memory[case]
        each = f"{(beside - alone) / count:.1f}" if count >= 1000 else ""
        print(
            f"| {name} | {count} | {m.cpu * 1e3:.3f} | {ratios[case]:.2f} "
            f"| {m.greeted_p50 * 1e3:.1f} | {m.greeted_p99 * 1e3:.1f} "
            f"| {beside / 1024:.1f} | {each} |"
        )
    steepest = max(ratios[SERVE, count] for count in IDLE)
    alone, beside = memory[SERVE, most]
    more = (beside - alone) / most
    p99 = median(measured[SERVE, most]).greeted_p99
    print(f"\nTargets for {SERVE}:")
    print(f"flat within 20 % from {fewest} to {most}: {steepest:.2f}, {verdict(steepest <= 1.2)};")
    print(f"RSS at most 30 MB idle: {alone / 1024:.1f}, {verdict(alone <= 30 * 1024)};")
    print(f"at most 4 KB more for each idle connection: {more:.1f}, {verdict(more <= 4)};")
    print(f"greeted beside {most} in p99 < 50 ms: {p99 * 1e3:.1f}, {verdict(p99 < 0.05)}.")


def versions(hosts: list[Counted]) -> str:
    """The versions on which the figures depend."""

    def output(*words: str) -> str:
        return subprocess.check_output(words, text=True).strip()

    (postfix,) = (host for host in hosts if isinstance(host, Postfix))
    (unit,) = (host for host in hosts if isinstance(host, Unit))
    changes = TCPSERVER.parent.parent / "share/doc/ucspi-tcp/changelog.Debian.gz"
    ucspi = gzip.decompress(changes.read_bytes()).decode().split("(")[1].split(")")[0]
    package = ["dpkg-query", "--show", "--showformat=${Version}", "postfix"]
    return ", ".join(
        [
            f"Python {platform.python_version()}",
            f"uvloop {version('uvloop')}",
            " ".join(unit.output("systemctl", "--version").split()[:2]),
            f"Postfix {postfix.output(*package)}",
            f"ucspi-tcp {ucspi}",
            f"Perl {output('perl', '-e', 'printf q(%vd), $^V')}",
            f"gcc {output('gcc', '-dumpfullversion')}",
            f"Linux {'.'.join(os.uname().release.split('.')[:2])}",
            f"{os.cpu_count()} cores",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--picture", type=Path, help="write the first table to this file, as SVG")
    options = parser.parse_args()
    build()
    with tempfile.TemporaryDirectory(prefix="null521-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        cpu, programs = by_server(folder, install(folder / "prefix"), options.rounds)
        by_idle_connections(folder, options.rounds)
    if options.picture:
        options.picture.write_text(picture.draw(cpu, programs))


if __name__ == "__main__":
    main()
