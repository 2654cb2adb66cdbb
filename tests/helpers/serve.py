"""Runs of `null521 serve`: their replies, errors, metrics and resources."""

import http.client
import os
import resource
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from helpers.program import SERVE, TEST_TIMEOUT, TREE, Server

EX_OSERR, EX_CONFIG = 71, 78


def ask(family: int, address: Any) -> bytes:
    """All that a client of that address receives."""
    with socket.socket(family) as client:
        client.settimeout(TEST_TIMEOUT)
        client.connect(address)
        client.sendall(b"QUIT\r\n")
        received = b""
        while octets := client.recv(1000):
            received += octets
    return received


def fails(*flags: str, words: Sequence[str] = SERVE, **options: Any) -> tuple[int, list[str]]:
    """The exit status of a run that fails to start, and its lines on standard error."""
    done = subprocess.run(
        [*words, "--log=stderr", *flags],
        cwd=TREE,
        capture_output=True,
        timeout=TEST_TIMEOUT,
        check=False,
        **{"stdin": subprocess.DEVNULL, **options},
    )
    assert done.stdout == b""
    return done.returncode, done.stderr.decode().splitlines()


def wait_until_it_stops_listening(server: Server) -> None:
    deadline = time.monotonic() + TEST_TIMEOUT
    while True:
        try:
            server.dial().close()
        except ConnectionError:  # refused, or reset because it stopped just then
            return
        assert time.monotonic() < deadline
        time.sleep(0.02)


def cpu_seconds(process: "subprocess.Popen[bytes]") -> float:
    """The CPU time that it has used so far: proc(5)."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def allow(process: "subprocess.Popen[bytes]", descriptors: int) -> None:
    _, hard = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (descriptors, hard))


def get(port: int, path: str) -> tuple[int, str]:
    """Status and body of the response."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TEST_TIMEOUT)
    connection.request("GET", path)
    response = connection.getresponse()
    body = response.read().decode()
    connection.close()
    return response.status, body


def families(port: int) -> list[Metric]:
    status, body = get(port, "/metrics")
    assert status == 200
    return list(text_string_to_metric_families(body))


def samples(port: int) -> dict[tuple[str, str], float]:
    """Values by name and label; no metric has two labels."""
    return {
        (sample.name, "".join(sample.labels.values())): sample.value
        for family in families(port)
        for sample in family.samples
    }
