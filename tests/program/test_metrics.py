"""What Prometheus is told, and whether the server is ready."""

import os
import re
import socket
import ssl
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from helpers.certificates import dates, make
from helpers.program import (
    GREETING,
    MAIN,
    REFUSED,
    SERVE,
    SERVE_WITHOUT_UVLOOP,
    TEST_TIMEOUT,
    Served,
    Server,
    reset,
    starttls,
    until,
)
from helpers.serve import (
    EX_CONFIG,
    allow,
    cpu_seconds,
    fails,
    families,
    get,
    samples,
    wait_until_it_stops_listening,
)

from null521.record import ENDINGS, MISCONFIGURED, SUMMED
from null521.record import REFUSED as RECORD_OF_A_SESSION
from null521.serve.clients import OCTETS


def in_session(port: int) -> float:
    found = samples(port)
    states = ("clear", "handshake", "secured")
    return sum(found["null521_open_connections", state] for state in states)


def wait_until_open(port: int, count: int) -> None:
    until(lambda: in_session(port) == count)


def leave(server: Server, ending: str) -> None:
    """Come and go in that way."""
    said = {"quit": b"NOOP\r\nQUIT\r\n", "limit": b"NOOP\r\n" * 6, "proxy": b"no header\r\n"}
    with server.dial("127.0.0.2" if ending == "proxy" else "127.0.0.1") as client:
        if ending != "proxy":
            assert client.recv(100) == GREETING
        client.sendall(said.get(ending, b""))
        if ending == "reset":
            reset(client)
        elif ending != "eof":
            Served(client, server).read_all()


def test_a_hundred_sessions_add_up(port: int) -> None:
    flags = ["--refuse-at=rcpt", f"--metrics=127.0.0.1:{port}", "--max-per-client=20"]
    flags += ["--idle-timeout=3", "--session-timeout=5", "--max-commands=5"]
    expected = {"quit": 25, "limit": 20, "eof": 10, "reset": 10, "proxy": 10}
    with Server(*flags, "--proxy-protocol=127.0.0.2") as server:
        for ending, count in expected.items():
            for _ in range(count):
                leave(server, ending)
        wait_until_open(port, 0)
        clients = [server.dial() for _ in range(25)]
        told = [client.recv(100) for client in clients]
        assert (told.count(GREETING), told.count(REFUSED)) == (20, 5)
        assert in_session(port) == 20
        found = samples(port)
        assert found["null521_connection_memory_bytes", "clear"] == 20 * OCTETS["clear"]
        assert found["null521_connection_memory_bytes", "secured"] == 0
        restless = [client for client, said in zip(clients, told, strict=True) if said == GREETING]
        for client in restless[:3]:
            client.settimeout(0.3)
            while True:  # until it is told so
                try:
                    assert client.recv(100) == REFUSED
                    break
                except TimeoutError:
                    for each in restless[:3]:
                        each.sendall(b"x")
        wait_until_open(port, 0)
        expected |= {"too-many": 5, "idle": 17, "deadline": 3}
        assert sum(expected.values()) == 100

        found = samples(port)
        endings = {ending: found["null521_connections_total", ending] for ending in ENDINGS}
        assert {ending: count for ending, count in endings.items() if count} == expected
        assert found["null521_turned_away_total", "max-per-client"] == 5
        assert found["null521_turned_away_total", "max-connections"] == 0
        assert found["null521_commands_total", ""] == 25 * 2 + 20 * 5
        assert found["null521_records_dropped_total", ""] == 0
        assert found["null521_session_seconds_count", ""] == 100
        assert found["null521_session_seconds_bucket", "+Inf"] == 100
        assert found["null521_session_seconds_bucket", "2.5"] == 80
        assert 17 * 3 + 3 * 5 <= found["null521_session_seconds_sum", ""] < 100
        for client in clients:
            client.close()
        assert len(server.stop()) == 100


def test_names_are_as_prometheus_has_them(port: int, tmp_path: Path) -> None:
    """https://prometheus.io/docs/practices/naming/, and what `promtool check metrics` asks for."""
    cert, key = make(tmp_path)
    flags = [f"--metrics=127.0.0.1:{port}", f"--tls-cert={cert}", f"--tls-key={key}"]
    with Server(*flags) as server:
        found = families(port)
        server.stop()
    ours = [family for family in found if family.name.startswith("null521_")]
    others = [family.name for family in found if family not in ours]
    assert all(name.startswith("process_") for name in others)
    assert len(ours) == len({family.name for family in ours}) == 17
    for family in ours:
        assert re.fullmatch(r"[a-z0-9]+(_[a-z]+)+", family.name)
        assert family.documentation.endswith(".")
        assert not re.search(r"count|total|bucket|milli|usec|gauge|histogram", family.name)
        for sample in family.samples:
            assert sample.name.endswith("_total") == (family.type == "counter")
            assert all(re.fullmatch(r"[a-z]+", label) for label in sample.labels)
    (histogram,) = (family for family in ours if family.type == "histogram")
    assert histogram.name.endswith("_seconds")


def test_ready_until_it_stops(port: int) -> None:
    with Server(f"--metrics=127.0.0.1:{port}", "--grace=3600") as server:
        with server.dial() as client:
            assert client.recv(100) == REFUSED
            assert get(port, "/ready") == (200, "ready\n")
            assert get(port, "/other")[0] == 404
            server.process.terminate()
            wait_until_it_stops_listening(server)
            assert get(port, "/ready") == (503, "stopping\n")
            assert in_session(port) == 1
        assert server.rest()[-1]["ending"] == "eof"


def test_http_clients_that_are_slow_or_gone_do_no_harm(port: int) -> None:
    """Neither to others nor to the server, and there is no traceback on standard error."""
    with Server(f"--metrics=127.0.0.1:{port}") as server:
        slow = [socket.create_connection(("127.0.0.1", port), TEST_TIMEOUT) for _ in range(20)]
        for client in slow[:10]:
            client.sendall(b"GET /metrics HTTP/1.1\r\nHost:")
        assert get(port, "/ready")[0] == 200
        for client in slow:
            reset(client)
        for said in (b"\0\xff\r\n\r\n", b"GET\r\n\r\n"):
            with socket.create_connection(("127.0.0.1", port), TEST_TIMEOUT) as client:
                client.sendall(said)
                client.shutdown(socket.SHUT_WR)
                client.recv(1000)
        with (
            socket.create_connection(("127.0.0.1", port), TEST_TIMEOUT) as client,
            pytest.raises(ConnectionError),  # a request without end is not read to its end
        ):
            client.sendall(b"G" * 100_000_000)
        assert get(port, "/metrics")[0] == 200
        assert server.stop() == []


DRIVERS = pytest.mark.parametrize(
    "words",
    [pytest.param(SERVE, id="uvloop"), pytest.param(SERVE_WITHOUT_UVLOOP, id="asyncio")],
)


def asked(port: int, octets: bytes, host: str = "127.0.0.1") -> bytes:
    """All that is answered to that."""
    with socket.create_connection((host, port), TEST_TIMEOUT) as client:
        client.sendall(octets)
        told = b""
        while chunk := client.recv(65536):
            told += chunk
    return told


@DRIVERS
def test_slow_scrapers_do_not_keep_readiness_from_others(port: int, words: tuple[str, ...]) -> None:
    """Not 32 of them, nor more than are served at once, and the server can stop meanwhile."""
    with Server(f"--metrics=127.0.0.1:{port}", words=words) as server:
        slow = [socket.create_connection(("127.0.0.1", port), TEST_TIMEOUT) for _ in range(32)]
        for client in slow:
            client.sendall(b"GET /metrics HTTP/1.1\r\nX-Slow: ")
        start = time.monotonic()
        assert get(port, "/ready") == (200, "ready\n")
        assert time.monotonic() - start < 4  # slow ones are given 5 s
        slow += [socket.create_connection(("127.0.0.1", port), TEST_TIMEOUT) for _ in range(68)]
        assert get(port, "/ready") == (200, "ready\n")
        assert len(os.listdir(f"/proc/{server.process.pid}/fd")) < 32 + 32
        assert server.stop() == []
        for client in slow:
            client.close()


@DRIVERS
def test_a_request_has_one_deadline_in_all(port: int, words: tuple[str, ...]) -> None:
    """However often a bit of it comes, and whoever does not read the answer."""
    with Server(f"--metrics=127.0.0.1:{port}", words=words) as server:
        with socket.create_connection(("127.0.0.1", port), TEST_TIMEOUT) as client:
            start = time.monotonic()
            client.sendall(b"GET /metrics HTTP/1.0\r\n")
            client.settimeout(0.2)
            while time.monotonic() - start < TEST_TIMEOUT:
                try:
                    client.sendall(b"X")
                    if not client.recv(1):
                        break
                except TimeoutError:
                    continue
                except ConnectionError:
                    break
            assert 4 < time.monotonic() - start < TEST_TIMEOUT
        assert server.stop() == []


@DRIVERS
def test_what_else_may_be_asked(port: int, words: tuple[str, ...]) -> None:
    with Server(f"--metrics=127.0.0.1:{port}", words=words) as server:
        whole = asked(port, b"GET /ready HTTP/1.1\r\nHost: x\r\n\r\n")
        head, _, body = whole.partition(b"\r\n\r\n")
        assert (head.split(b"\r\n")[0], body) == (b"HTTP/1.0 200 OK", b"ready\n")
        assert asked(port, b"HEAD /ready HTTP/1.1\r\n\r\n") == head + b"\r\n\r\n"
        page = asked(port, b"HEAD /metrics HTTP/1.1\r\n\r\n")
        assert page.startswith(b"HTTP/1.0 200 OK\r\nContent-Type: text/plain; version=")
        assert page.endswith(b"\r\nConnection: close\r\n\r\n")
        assert asked(port, b"GET /ready?x=1 HTTP/1.1\r\n\r\n") == whole
        for request, status in (
            (b"POST /metrics HTTP/1.1", b"405"),
            (b"GET / HTTP/1.1", b"404"),
            (b"GET", b"404"),
            (b"\xff \0 \xff", b"405"),
            (b"", b"404"),
        ):
            assert asked(port, request + b"\r\n\r\n").startswith(b"HTTP/1.0 " + status)
        assert server.stop() == []


def test_over_ipv6(port: int) -> None:
    with Server(f"--metrics=[::1]:{port}") as server:
        assert asked(port, b"GET /ready HTTP/1.0\r\n\r\n", "::1").endswith(b"\r\n\r\nready\n")
        server.stop()


BROKEN = """
from null521.serve import metrics
def collect(self):
    raise RuntimeError("broken")
metrics.ServerCollector.collect = collect
metrics.ServerCollector.describe = lambda self: []
"""


@DRIVERS
def test_a_fault_of_ours_is_answered_and_said(port: int, words: tuple[str, ...]) -> None:
    """Once, and readiness and SMTP go on."""
    *start, code = words
    broken = (*start, code.replace("from null521.cli", BROKEN + "from null521.cli"))
    with Server(f"--metrics=127.0.0.1:{port}", words=broken) as server:
        for _ in range(2):
            assert get(port, "/metrics") == (500, "see the log\n")
            entry = server.next()
            assert entry["message_id"] == MISCONFIGURED
            assert "RuntimeError('broken')" in entry["message"]
        assert get(port, "/ready")[0] == 200
        with server.dial() as client:
            assert client.recv(100) == REFUSED
        assert [entry["ending"] for entry in server.stop()] == ["eof"]


def test_connections_under_tls_are_counted_by_state(port: int, tmp_path: Path) -> None:
    cert, key = make(tmp_path)
    flags = [f"--tls-cert={cert}", f"--tls-key={key}", "--refuse-at=rcpt"]
    context = ssl.create_default_context(cafile=cert)
    context.check_hostname = False

    def counted() -> list[float]:
        found = samples(port)
        return [found["null521_open_connections", state] for state in ("handshake", "secured")]

    def ended() -> list[float]:
        found = samples(port)
        return [found["null521_tls_handshakes_total", result] for result in ("done", "failed")]

    with Server(f"--metrics=127.0.0.1:{port}", *flags) as server:
        assert counted() == [0, 0]
        with server.dial() as client:
            starttls(client)
            assert counted() == [1, 0]
            with context.wrap_socket(client) as secured:
                secured.sendall(b"NOOP\r\n")
                assert secured.recv(100).startswith(b"250 ")
                assert counted() == [0, 1]
        wait_until_open(port, 0)
        assert (counted(), ended()) == ([0, 0], [1, 0])
        with server.dial() as client:
            starttls(client)
            client.sendall(b"no TLS at all\r\n")
            Served(client, server).read_all()
        wait_until_open(port, 0)
        assert (counted(), ended()) == ([0, 0], [1, 1])
        server.stop()


def test_the_certificate_and_its_end(port: int, tmp_path: Path) -> None:
    """Of the one in use; and whether there is one, where there should be."""

    def told(*flags: str) -> tuple[float | None, float | None]:
        with Server(f"--metrics=127.0.0.1:{port}", *flags) as server:
            found = samples(port)
            server.stop()
        names = ("null521_certificate_usable", "null521_certificate_expiry_timestamp_seconds")
        usable, end = (found.get((name, "")) for name in names)
        return usable, end

    cert, key = make(tmp_path)
    flags = [f"--tls-cert={cert}", f"--tls-key={key}"]
    end = datetime.strptime(dates(cert)[1], "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
    assert told(*flags) == (1, end.timestamp())
    assert told() == (None, None)
    Path(key).write_text("")
    assert told(*flags) == (0, None)
    assert told(flags[0]) == (0, None)


RETRIES_AT_ONCE = """
from null521.serve import tries
tries.APART = 0.0
"""


@DRIVERS
def test_senders_that_retry_are_counted(port: int, words: tuple[str, ...]) -> None:
    """Without the minute that has to pass between two tries."""
    *start, code = words
    hasty = (*start, code.replace("from null521.cli", RETRIES_AT_ONCE + "from null521.cli"))

    def told() -> list[float]:
        found = samples(port)
        names = ("mail_sessions_total", "mail_retries_total", "retrying_senders")
        return [found[f"null521_{name}", ""] for name in names]

    def send(server: Server, said: bytes, source: str) -> None:
        with server.dial(source) as client:
            client.sendall(said + b"QUIT\r\n")
            Served(client, server).read_all()

    mail = b"EHLO x\r\nMAIL FROM:<%b>\r\nRCPT TO:<b@h.example>\r\n"
    flags = [f"--metrics=127.0.0.1:{port}", "--refuse-at=rcpt"]
    with Server(*flags, words=hasty) as server:
        assert told() == [0, 0, 0]
        for _ in range(4):
            send(server, b"EHLO x\r\n", "127.0.0.3")
        assert told() == [0, 0, 0]
        for number, counts in enumerate(([1, 0, 0], [2, 1, 0], [3, 2, 1], [4, 3, 1]), 1):
            send(server, mail % b"a@b.c", f"127.0.0.{number}")
            assert told() == counts
        send(server, mail % b"a@b.c", "127.0.1.1")
        send(server, mail % b"", "127.0.0.1")
        assert told() == [6, 3, 1]
        assert len(server.stop()) == 10


def test_limits_are_shown(port: int) -> None:
    flags = ["--max-connections=50", "--max-per-client=7", "--max-tls=9"]
    with Server(f"--metrics=127.0.0.1:{port}", "--memory-limit=300000000", *flags) as server:
        found = samples(port)
        server.stop()
    limits = [found["null521_limit_connections", flag[2:].partition("=")[0]] for flag in flags]
    assert limits == [50, 7, 9]
    assert found["null521_memory_limit_bytes", ""] == 300_000_000
    assert 10_000_000 < found["process_resident_memory_bytes", ""] < 300_000_000
    assert found["null521_records_waiting_bytes", ""] == 0


def test_tls_is_for_half_of_the_memory_limit(port: int) -> None:
    with Server(f"--metrics=127.0.0.1:{port}", "--memory-limit=268435456") as server:
        assert samples(port)["null521_limit_connections", "max-tls"] == 2048
        server.stop()


def test_the_sums_are_counted(port: int) -> None:
    """With a budget that has room for about three records."""
    with Server(f"--metrics=127.0.0.1:{port}", "--log-budget=1", "--refuse-at=rcpt") as server:
        for _ in range(20):
            leave(server, "quit")
        wait_until_open(port, 0)
        found = samples(port)
        records = server.stop()
    single = [entry for entry in records if entry["message_id"] == RECORD_OF_A_SESSION]
    (told,) = (entry for entry in records if entry["message_id"] == SUMMED)
    assert 0 < len(single) < 10
    assert len(single) + told["sessions"] == 20
    assert told["endings"] == f"quit {told['sessions']}"
    assert found["null521_records_summed_total", ""] == told["sessions"]
    assert found["null521_connections_total", "quit"] == 20
    assert found["null521_records_dropped_total", ""] == 0


def test_out_of_descriptors(port: int) -> None:
    """A scrape that waits for one does not take the processor."""
    with Server(f"--metrics=127.0.0.1:{port}") as server:
        clients = [server.dial() for _ in range(20)]
        assert {client.recv(100) for client in clients} == {REFUSED}
        allow(server.process, 20)
        before = cpu_seconds(server.process)
        with socket.create_connection(("127.0.0.1", port), TEST_TIMEOUT) as scrape:
            time.sleep(2)
            assert cpu_seconds(server.process) - before < 0.3  # to ask all the time would take 2
            allow(server.process, 1000)
            scrape.sendall(b"GET /ready HTTP/1.0\r\n\r\n")
            assert scrape.recv(100).startswith(b"HTTP/1.0 200 ")
        for client in clients:
            client.close()


def test_without_prometheus_client(port: int) -> None:
    words = (sys.executable, "-c", MAIN.format("sys.modules['prometheus_client'] = None"))
    told = "null521: metrics need prometheus-client, which is not installed"
    flags = ["--listen=127.0.0.1:0", f"--metrics=127.0.0.1:{port}"]
    assert fails(*flags, words=words) == (EX_CONFIG, [told])
    with Server(words=words) as server:
        server.stop()
