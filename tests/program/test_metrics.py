"""What Prometheus is told, and whether the server is ready."""

import re
import socket
import sys
import time

from helpers.program import GREETING, MAIN, PATIENCE, REFUSED, Served, Server, reset
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

from null521.record import ENDINGS


def wait_until_open(port: int, count: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while samples(port)["null521_open_connections", ""] != count:
        assert time.monotonic() < deadline
        time.sleep(0.02)


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
    flags += ["--idle-timeout=1", "--session-timeout=2", "--max-commands=5"]
    expected = {"quit": 25, "limit": 20, "eof": 10, "reset": 10, "proxy": 10}
    with Server(*flags, "--proxy-protocol=127.0.0.2") as server:
        for ending, count in expected.items():
            for _ in range(count):
                leave(server, ending)
        wait_until_open(port, 0)
        clients = [server.dial() for _ in range(25)]
        told = [client.recv(100) for client in clients]
        assert (told.count(GREETING), told.count(REFUSED)) == (20, 5)
        assert samples(port)["null521_open_connections", ""] == 20
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
        assert found["null521_session_seconds_bucket", "0.5"] == 80
        assert 17 * 1 + 3 * 2 <= found["null521_session_seconds_sum", ""] < 100
        for client in clients:
            client.close()
        assert len(server.stop()) == 100


def test_names_are_as_prometheus_has_them(port: int) -> None:
    """https://prometheus.io/docs/practices/naming/, and what `promtool check metrics` asks for."""
    with Server(f"--metrics=127.0.0.1:{port}") as server:
        found = families(port)
        server.stop()
    ours = [family for family in found if family.name.startswith("null521_")]
    others = [family.name for family in found if family not in ours]
    assert all(name.startswith("process_") for name in others)
    assert len(ours) == len({family.name for family in ours}) == 8
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
            assert samples(port)["null521_open_connections", ""] == 1
        assert server.rest()[-1]["ending"] == "eof"


def test_http_clients_that_are_slow_or_gone_do_no_harm(port: int) -> None:
    """Neither to others nor to the server, and there is no traceback on standard error."""
    with Server(f"--metrics=127.0.0.1:{port}") as server:
        slow = [socket.create_connection(("127.0.0.1", port), PATIENCE) for _ in range(20)]
        for client in slow[:10]:
            client.sendall(b"GET /metrics HTTP/1.1\r\nHost:")
        assert get(port, "/ready")[0] == 200
        for client in slow:
            reset(client)
        for said in (b"\0\xff\r\n\r\n", b"GET\r\n\r\n", b"G" * 70_000):
            with socket.create_connection(("127.0.0.1", port), PATIENCE) as client:
                client.sendall(said)
                client.shutdown(socket.SHUT_WR)
                client.recv(1000)
        assert get(port, "/metrics")[0] == 200
        assert server.stop() == []


def test_out_of_descriptors(port: int) -> None:
    """A scrape that waits for one does not take the processor."""
    with Server(f"--metrics=127.0.0.1:{port}") as server:
        clients = [server.dial() for _ in range(20)]
        assert {client.recv(100) for client in clients} == {REFUSED}
        allow(server.process, 20)
        before = cpu_seconds(server.process)
        with socket.create_connection(("127.0.0.1", port), PATIENCE) as scrape:
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
