"""What scrapers of the metrics take from SMTP, and slow ones from readiness.

    PYTHONPATH=.:tests build/venv-distribution/bin/python tests/system/bench/scrapers.py

Each round measures the rate of sessions (load.c) of `null521 serve` twice, alone and with scrapers
that ask for /metrics as fast as they are answered, and then how long /ready takes while others hold
connections on which they say next to nothing. It prints one JSON object, with the part of the rate
that SMTP keeps, also by the server's CPU time, which others on the machine disturb less. Nothing
here passes or fails.
"""

import argparse
import json
import multiprocessing
import socket
import statistics
import subprocess
import tempfile
import time
from multiprocessing.synchronize import Event
from pathlib import Path

from helpers.program import SERVE, SERVE_WITHOUT_UVLOOP, Server
from helpers.serve import cpu_seconds, get

LOAD = Path(__file__).parent / "load.c"
SESSIONS, AT_ONCE = 20000, 16
FAST, SLOW = 4, 32
LIMITS = ["--max-per-client=10000", "--refuse-at=rcpt", "--log-budget=1"]


def scrape(port: int, stop: Event) -> None:
    """Ask again and again."""
    while not stop.is_set():
        get(port, "/metrics")


def speed(load: Path, server: Server) -> tuple[float, float]:
    """Sessions a second, and a second of the server's CPU time."""
    start, cpu = time.monotonic(), cpu_seconds(server.process)
    words = [str(load), str(server.address()[1]), str(SESSIONS), str(AT_ONCE)]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    used = cpu_seconds(server.process) - cpu
    return SESSIONS / (time.monotonic() - start), SESSIONS / used


def speed_with_scrapers(load: Path, server: Server, port: int) -> tuple[float, float]:
    """The same, beside FAST scrapers."""
    stop = multiprocessing.Event()
    scrapers = [multiprocessing.Process(target=scrape, args=(port, stop)) for _ in range(FAST)]
    for scraper in scrapers:
        scraper.start()
    time.sleep(0.5)
    try:
        return speed(load, server)
    finally:
        stop.set()
        for scraper in scrapers:
            scraper.join()


def seconds_until_ready(port: int) -> float:
    """With SLOW scrapers that have sent the beginning of a request."""
    slow = [socket.create_connection(("127.0.0.1", port), 20) for _ in range(SLOW)]
    for client in slow:
        client.sendall(b"GET /metrics HTTP/1.1\r\nX-Slow: ")
    start = time.monotonic()
    assert get(port, "/ready")[0] == 200
    seconds = time.monotonic() - start
    for client in slow:
        client.close()
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    found: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as folder:
        load = Path(folder) / "load"
        subprocess.run(["cc", "-O2", "-o", str(load), str(LOAD)], check=True)
        for name, words in (("uvloop", SERVE), ("asyncio", SERVE_WITHOUT_UVLOOP)):
            alone, beside, ready = [], [], []
            for _ in range(rounds):
                with Server(*LIMITS, f"--metrics=127.0.0.1:{port}", words=words) as server:
                    alone.append(speed(load, server))
                    beside.append(speed_with_scrapers(load, server, port))
                    ready.append(seconds_until_ready(port))
            rates, costs = (
                [(one[i], other[i]) for one, other in zip(alone, beside, strict=True)]
                for i in (0, 1)
            )
            found[name] = {
                "sessions_per_second": round(statistics.median(one for one, _ in rates)),
                "with_scrapers": round(statistics.median(other for _, other in rates)),
                "kept": round(statistics.median(other / one for one, other in rates), 2),
                "kept_by_cpu": round(statistics.median(other / one for one, other in costs), 2),
                "ready_seconds_worst": round(max(ready), 3),
            }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
