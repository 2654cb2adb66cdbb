"""What one process per connection stands: an honest client beside clients that are not.

    python3 tests/system/bench/template.py [SECONDS [TRIES [ATTACK...]]]

As root. Each row is a fresh host; the honest client tries 40 times, once all of the others have
tried, or after 40 s. "as before" is the pair with the limits and timeouts that it once had, to show
what today's are worth. Nothing here passes or fails. CPU is that of all server processes: systemd,
journald, the instances.
"""

import json
import os
import select
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from helpers.host import CROWD, settings
from helpers.namespaces import Systemd

BEFORE = {
    "null521.socket": ["[Socket]", "MaxConnections=64", "MaxConnectionsPerSource=16"],
    "null521@.service": [
        "Environment=NULL521_IDLE_TIMEOUT=30 NULL521_SESSION_TIMEOUT=60",
        "RuntimeMaxSec=90",
    ],
    "system-null521.slice": ["[Slice]", "MemoryMax=infinity", "CPUWeight=", "CPUQuota="],
}
ATTACKS = {
    "nobody else": [],
    "12 quick ones from one address": ["quick", "12", "127.0.2.1"],
    "64 silent ones from four addresses of a /64": [
        "silent",
        "64",
        *(f"2001:db8::{n}" for n in "1234"),
    ],
    "300 silent ones from a whole /64": ["silent", "300", "2001:db8::/64"],
}


def once(is_before: bool, attack: list[str], seconds: float, tries: int) -> str:
    """A row's figures."""
    with tempfile.TemporaryDirectory() as folder, Systemd(Path(folder, "host")) as host:
        host.make("install")
        host.run(["ip", "-6", "route", "add", "local", "2001:db8::/32", "dev", "lo"])
        for unit, lines in BEFORE.items() if is_before else ():
            settings(host, unit, *lines)
        host.run(["systemctl", "start", "null521.socket"])
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        crowd = None
        if attack:
            crowd = host.popen([host.python, CROWD, *attack], **pipes)
            assert crowd.stdout
            select.select([crowd.stdout], [], [], 40)
        start, before = time.monotonic(), host.cpu_seconds()
        words = [host.python, CROWD, "honest", str(tries), str(seconds / tries)]
        result = json.loads(host.output(*words))
        passed, cpu = time.monotonic() - start, host.cpu_seconds() - before
        if crowd:
            crowd.kill()
            crowd.communicate()
    greeted = f"{result['p50']:.0f} | {result['p99']:.0f}"
    return f"{result['refused']} of {tries} | {greeted} | {cpu / passed:.2f}"


def main(seconds: float = 10, tries: float = 40, *attacks: float) -> None:
    """Print the table, or only the rows of these attacks, counted from 0."""
    version = subprocess.check_output(["systemctl", "--version"], text=True).splitlines()[0]
    print(f"{version}; {os.uname().release}, {os.cpu_count()} cores\n")
    print("| beside | units | refused | greeted p50 ms | p99 ms | CPU cores |")
    print("|---|---|---|---|---|---|")
    for number, (name, attack) in enumerate(ATTACKS.items()):
        if attacks and number not in attacks:
            continue
        for is_before in (False, True):
            row = once(is_before, attack, seconds, int(tries))
            units = "as before" if is_before else "as shipped"
            print(f"| {name} | {units} | {row} |", flush=True)


if __name__ == "__main__":
    main(*map(float, sys.argv[1:]))
