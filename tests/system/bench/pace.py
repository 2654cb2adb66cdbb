"""The pace of null521.socket: what honest callers get beside a flood of 2,000 connections.

    python3 tests/system/bench/pace.py [CONNECTIONS [ROW...]]

As root. Each row is a fresh host with the shipped pair and one change. All of the flood comes at
once, each connection from an address of its own, and says QUIT when greeted. Twenty honest callers
follow within two seconds, each from an address of its own; they speak as a sender does and wait for
five minutes, as RFC 5321, 4.5.3.2.1, has it. "Hung up on" is a connection closed without a word.
Nothing here passes or fails. systemd 252 has no PollLimit, and so none of the rows with one.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from helpers.host import active, settings
from helpers.namespaces import Systemd

HONEST = 20
OFF = "PollLimitIntervalSec=0"
TRIGGER = ["TriggerLimitIntervalSec=2", "TriggerLimitBurst=200"]
ROWS = {
    "as shipped": [],
    "no PollLimit": [OFF],
    "no PollLimit, systemd's TriggerLimit": [OFF, *TRIGGER],
    "no PollLimit, MaxConnections=64": [OFF, "MaxConnections=64"],
    "PollLimit 150 in 2 s, systemd's": ["PollLimitIntervalSec=2", "PollLimitBurst=150"],
    "PollLimit 20 in 1 s": ["PollLimitIntervalSec=1", "PollLimitBurst=20"],
    "PollLimit 10 in 1 s": ["PollLimitIntervalSec=1", "PollLimitBurst=10"],
}

CALLERS = """
import asyncio, json, resource, socket, sys, time

hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
LINES = [b"EHLO a.example", b"MAIL FROM:<a@a.b>", b"RCPT TO:<b@c>", b"QUIT"]

async def call(source, lines, begins):
    loop, replies, greeted = asyncio.get_running_loop(), b"", None
    await asyncio.sleep(begins)
    start = time.monotonic()
    with socket.socket() as client:
        client.setblocking(False)
        client.bind((source, 0))
        try:
            async with asyncio.timeout(300):
                await loop.sock_connect(client, ("127.0.0.1", 25))
                for line in [b"", *lines]:
                    if line:
                        await loop.sock_sendall(client, line + b"\\r\\n")
                    reply = b""
                    while not (reply[-2:] == b"\\r\\n" and reply.split(b"\\r\\n")[-2][3:4] == b" "):
                        if not (octets := await loop.sock_recv(client, 4096)):
                            raise ConnectionResetError
                        reply += octets
                    greeted = greeted or time.monotonic() - start
                    replies += reply
        except TimeoutError:
            return "silence", 300.0
        except ConnectionRefusedError:
            return "refused", time.monotonic() - start
        except OSError:
            return ("cut short" if replies else "hung up on"), time.monotonic() - start
    return "answered", greeted

async def main(count, honest):
    start = time.monotonic()
    flood = [f"127.2.{n // 250}.{n % 250 + 1}" for n in range(count)]
    callers = [f"127.1.0.{n + 1}" for n in range(honest)]
    results = await asyncio.gather(
        *(call(source, LINES[-1:], 0) for source in flood),
        *(call(source, LINES, 2 * (n + 1) / honest) for n, source in enumerate(callers)),
    )
    print(json.dumps([results[:count], results[count:], time.monotonic() - start]))

asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
"""


def once(lines: list[str], connections: int) -> str:
    """A row's figures."""
    with tempfile.TemporaryDirectory() as folder, Systemd(Path(folder, "host")) as host:
        host.make("install")
        if lines:
            settings(host, "null521.socket", "[Socket]", *lines)
        host.run(["systemctl", "start", "null521.socket"])
        words = [host.python, "-c", CALLERS, str(connections), str(HONEST)]
        flood, honest, seconds = json.loads(host.output(*words))
        state = active(host)
        stays = "yes" if state == "active" else f"**no: {state}**"
    answered = [sum(ending == "answered" for ending, _ in each) for each in (flood, honest)]
    cut = sum(ending in ("hung up on", "refused") for ending, _ in honest)
    waited = sorted(wait for ending, wait in honest if ending == "answered")
    greeted = f"{statistics.median(waited):.1f} | {waited[-1]:.1f}" if waited else "- | -"
    return f"{answered[1]} | {cut} | {greeted} | {answered[0]} | {seconds:.0f} | {stays}"


def main(connections: int = 2000, *rows: int) -> None:
    """Print the table, or these rows of it, counted from 0."""
    version = subprocess.check_output(["systemctl", "--version"], text=True).splitlines()[0]
    paces = int(version.split()[1]) >= 255
    print(f"{version}; {os.uname().release}, {os.cpu_count()} cores; {connections} at once\n")
    print(
        f"| null521.socket | honest callers answered, of {HONEST} | hung up on | "
        "greeted after s, median | most | of the flood answered | all over after s | still active |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for number, (name, lines) in enumerate(ROWS.items()):
        if rows and number not in rows:
            continue
        known = [line for line in lines if paces or line != OFF]
        if paces or not any(line.startswith("PollLimit") for line in known):
            print(f"| {name} | {once(known, connections)} |", flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
