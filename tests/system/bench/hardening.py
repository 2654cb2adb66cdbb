"""What hardening costs: connections to the shipped unit under a real systemd, group by group.

    python3 tests/system/bench/hardening.py [ROUNDS [CONNECTIONS [ROW...]]]

As root, with /usr/bin/python3; 8 rounds of 25 connections and all rows by default. Each row is a
unit on a port of its own, and each is used once in each round, so that all rows meet the same
machine. CPU is that of all processes in the namespace: systemd, journald, the program. The client
is outside, and so are the kernel's own threads. Nothing here passes or fails: the targets are
printed beside the figures.
"""

import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from helpers.namespaces import Systemd

SAID = b"EHLO mx.b.c\r\nMAIL FROM:<a@b.c>\r\nRCPT TO:<x@y>\r\nQUIT\r\n"
INSTALLED = "/usr/local/lib/systemd/system/null521@.service"
TARGET = "at most 2.00 with an exposure of at most 0.5"

# The unit's paragraphs, by what their comments begin with.
GROUPS = {
    "privileges": "No privilege",
    "system calls": "No system call",
    "files": "No file",
    "kernel": "No part of the kernel",
    "network": "No network",
    "limits": "No more",
}
# What the unit could do besides or instead. In the last, everything, there is no root directory of
# its own, which is how such units are usually written.
INSTEAD = {
    "shipped, with @system-service": (
        "SystemCallFilter=",
        ["SystemCallFilter=@system-service", "SystemCallFilter=~@privileged @resources"],
    ),
    "shipped, without NoExecPaths": ("NoExecPaths= ExecPaths=", []),
    "shipped, without ReadOnlyPaths": ("ReadOnlyPaths= InaccessiblePaths=", []),
    "shipped, with ProtectKernelTunables": ("-", ["ProtectKernelTunables=yes"]),
    "shipped, with ProtectHome=yes": ("-", ["ProtectHome=yes"]),
    "shipped, without PrivateNetwork": ("PrivateNetwork=", []),
    "shipped, without LogLevelMax": ("LogLevelMax=", []),
    "shipped, with RootDirectory below /usr": (
        "RootDirectory=",
        ["RootDirectory=/usr/local/lib/null521/root"],
    ),
    "shipped, with a static user": (
        "DynamicUser=",
        [
            "User=games",
            "NoNewPrivileges=yes",
            "RestrictSUIDSGID=yes",
            "PrivateTmp=yes",
            "ProtectSystem=strict",
        ],
    ),
    "shipped, without RootDirectory": ("RootDirectory= BindReadOnlyPaths= MountAPIVFS=", []),
    "everything, without RootDirectory": (
        "RootDirectory= BindReadOnlyPaths= MountAPIVFS= SystemCallFilter=",
        [
            "SystemCallFilter=@system-service",
            "SystemCallFilter=~@privileged @resources",
            "LockPersonality=yes",
            "ProtectHome=yes",
            "ProtectHostname=yes",
            "ProtectKernelTunables=yes",
            "PrivateIPC=yes",
            "RestrictRealtime=yes",
            "DevicePolicy=closed",
        ],
    ),
}

SOCKET = """\
[Socket]
ListenStream=127.0.0.1:{port}
Accept=yes
MaxConnections=64
TriggerLimitIntervalSec=0
"""


def variants(unit: str) -> dict[str, str]:
    """The rows: a unit file each, made of the shipped one."""
    plain, *paragraphs = re.split(r"^# (?=No )", unit, flags=re.M)
    plain = plain.partition("\n# Below")[0] + "\n"
    groups = {}
    for name, beginning in GROUPS.items():
        (groups[name],) = (text for text in paragraphs if text.startswith(beginning))
    options = {name: re.findall(r"^\w+=.*$", text, re.M) for name, text in groups.items()}
    shipped = [line for lines in options.values() for line in lines]
    assert sorted(shipped) == sorted(re.findall(r"^\w+=.*$", "#".join(paragraphs), re.M))

    rows: dict[str, list[str]] = {"plain": []} | {
        f"plain, with {name}": lines for name, lines in options.items()
    }
    for name, lines in options.items():
        rows[f"shipped, without {name}"] = [line for line in shipped if line not in lines]
    rows["shipped"] = shipped
    for name, (out, added) in INSTEAD.items():
        rows[name] = [line for line in shipped if not line.startswith(tuple(out.split()))] + added
    return {name: plain + "\n".join(lines) + "\n" for name, lines in rows.items()}


def main(rounds: int, connections: int, *names: str) -> None:
    """Boot, lay down the units, measure in turn, print the table."""
    with tempfile.TemporaryDirectory() as folder, Systemd(Path(folder, "host")) as host:
        host.run(["make", "-s", "-C", "/srv/null521", "install"], stderr=subprocess.DEVNULL)
        host.run(["cp", "-a", "/run/null521", "/usr/local/lib/null521/root"])
        rows = variants(host.output("cat", INSTALLED))
        rows = {k: v for k, v in rows.items() if not names or k in {"plain", *names}}
        exposures = {}
        for number, (name, text) in enumerate(rows.items()):
            for suffix, content in (
                (".socket", SOCKET.format(port=3000 + number)),
                ("@.service", text),
            ):
                path = f"/etc/systemd/system/variant{number}{suffix}"
                host.run(["tee", path], input=content.encode(), stdout=subprocess.DEVNULL)
            said = host.output("systemd-analyze", "security", "--offline=true", "--no-pager", path)
            exposures[name] = said.splitlines()[-1].split(": ")[1].split()[0]
        sockets = [f"variant{number}.socket" for number in range(len(rows))]
        host.run(["systemctl", "daemon-reload"])
        host.run(["systemctl", "start", *sockets])

        figures: dict[str, list[tuple[float, float]]] = {name: [] for name in rows}
        for turn in range(rounds + 1):
            for number, name in enumerate(rows):
                pair = once(host, 3000 + number, connections if turn else 5)
                if turn:  # the first is not counted
                    figures[name].append(pair)
        version = host.output("systemctl", "--version").splitlines()[0]
    report(figures, exposures, f"{version}; {rounds} rounds of {connections} connections")


def once(host: Systemd, port: int, connections: int) -> tuple[float, float]:
    """CPU milliseconds for each of so many connections, eight at once, and how many a second."""
    before = settled(host)
    words = [*host.client, "127.0.0.1", str(port), str(connections)]
    start = time.perf_counter()
    answers = host.run(words, input=SAID, stdout=subprocess.PIPE).stdout
    seconds = time.perf_counter() - start
    if answers.count(b"521 5.3.2 ") != connections:
        raise SystemExit(f"port {port} does not refuse as it should: {answers[:500]!r}")
    return (settled(host) - before) / connections * 1e3, connections / seconds


def settled(host: Systemd) -> float:
    """CPU seconds, once systemd has cleared away what has ended."""
    now = host.cpu_seconds()
    while True:
        time.sleep(0.1)
        before, now = now, host.cpu_seconds()
        if now - before < 0.001:
            return now


def report(
    figures: dict[str, list[tuple[float, float]]], exposures: dict[str, str], what: str
) -> None:
    """Print the table of medians."""
    python = subprocess.check_output(["/usr/bin/python3", "-V"], text=True).strip()
    print(f"{what}, eight at once; {python}; {os.uname().release}, {os.cpu_count()} cores;")
    print("medians; ratios to plain in the same round. Target for the shipped unit:")
    print(f"{TARGET}.\n")
    print("| unit | exposure | CPU ms | ratio | connections/s | ratio |")
    print("|---|---|---|---|---|---|")
    for name, pairs in figures.items():
        ratios = [
            (cpu / plain[0], rate / plain[1])
            for (cpu, rate), plain in zip(pairs, figures["plain"], strict=True)
        ]
        cpu, rate = (statistics.median(column) for column in zip(*pairs, strict=True))
        more, less = (statistics.median(column) for column in zip(*ratios, strict=True))
        print(f"| {name} | {exposures[name]} | {cpu:.1f} | {more:.2f} | {rate:.0f} | {less:.2f} |")


if __name__ == "__main__":
    rounds, connections, *names = [*sys.argv[1:], *["8", "25"][len(sys.argv) - 1 :]]
    main(int(rounds), int(connections), *names)
