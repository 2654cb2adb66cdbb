"""`serve` behind a balancer: haproxy itself, and clients that send invalid PROXY headers.

The tests create all listening sockets and pass them on, so that no port has to be guessed.
scripts/prepare unpacks haproxy. The balancer's address is 127.0.0.1; clients have other addresses.
"""

import contextlib
import json
import select
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.program import TEST_TIMEOUT

from null521.record import REFUSED as OF_A_CLIENT
from null521.record import STARTED
from null521.serve.proxy import MAX_V2, V2

HAPROXY = Path(__file__).parents[2] / "build/superservers/haproxy/usr/sbin/haproxy"
CONFIGURATION = """
defaults
    mode tcp
    timeout connect 5s
    timeout client 20s
    timeout server 20s
    timeout check 10s
    unique-id-format %ci-%cp
frontend mail
    bind fd@{listening}
    default_backend null521
backend null521
    {check}
    server null521 127.0.0.1:{port} {options}
"""

COMMANDS = b"EHLO mx.b.c\r\nQUIT\r\n"
GREETING = b"220 h.example ESMTP null521\r\n"
REFUSED = b"521 h.example is configured NOT to accept any mail.\r\n"
BYE = b"221 2.0.0 h.example\r\n"

BALANCER, CLIENT, STRANGER = "127.0.0.1", "127.0.0.7", "127.0.0.9"
LINE = b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 25\r\n"
PACKED = V2 + struct.pack("!BBH4B4BHH", 0x21, 0x11, 12, 192, 0, 2, 7, 198, 51, 100, 1, 4711, 25)

# Seconds that a connection may outlast its limit, so that a busy machine does not fail the tests.
GRACE = 8.0


class Serve:
    """A running `null521 serve` with its port, and its records in their order."""

    def __init__(
        self, port: int, process: "subprocess.Popen[bytes]", records: socket.socket
    ) -> None:
        self.port = port
        self.process = process
        self._records = records.makefile()

    def record(self) -> dict[str, Any]:
        """The next record of a connection; TimeoutError if it takes too long."""
        entry: dict[str, Any] = json.loads(self._records.readline())
        if entry["message_id"] == STARTED:
            return self.record()
        assert entry["message_id"] == OF_A_CLIENT, entry
        return entry


@contextlib.contextmanager
def serving(launcher: Path, *flags: str) -> Iterator[Serve]:
    """Run it on 127.0.0.1, trusting PROXY headers from that address."""
    records, stdout = socket.socketpair()
    records.settimeout(TEST_TIMEOUT)
    with socket.create_server((BALANCER, 0)) as listening, records, stdout:
        port = listening.getsockname()[1]
        settings = ["--hostname=h.example", "--refuse-at=rcpt", "--log=json"]
        process = subprocess.Popen(
            [launcher, "serve", *settings, f"--proxy-protocol={BALANCER}/32", *flags],
            stdin=listening.fileno(),
            stdout=stdout.fileno(),
        )
        try:
            yield Serve(port, process, records)
            process.terminate()
            assert process.wait(TEST_TIMEOUT) == 0
        finally:
            process.kill()
            process.wait()


@contextlib.contextmanager
def balancing(
    folder: Path, port: int, options: str, check: str = "", host: str = "::"
) -> Iterator[int]:
    """Run haproxy in front of that port; the port on which it listens itself."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    dual = host == "::"
    with socket.create_server((host, 0), family=family, dualstack_ipv6=dual) as listening:
        conf = folder / "haproxy.cfg"
        conf.write_text(
            CONFIGURATION.format(
                listening=listening.fileno(), port=port, options=options, check=check
            )
        )
        process = subprocess.Popen(
            [HAPROXY, "-db", "-q", "-f", conf], pass_fds=[listening.fileno()]
        )
        try:
            yield listening.getsockname()[1]
            assert process.poll() is None
        finally:
            process.kill()
            process.wait()


def connect(port: int, source: str, host: str = BALANCER) -> socket.socket:
    """A client that connects from that address."""
    return socket.create_connection((host, port), TEST_TIMEOUT, source_address=(source, 0))


def read_all(client: socket.socket) -> bytes:
    octets = b""
    while chunk := client.recv(65536):
        octets += chunk
    return octets


def exchange(client: socket.socket, octets: bytes = COMMANDS) -> bytes:
    client.sendall(octets)
    return read_all(client)


def is_of(record: dict[str, Any], client: socket.socket) -> bool:
    """Whether the record is of this client."""
    return bool((record["client"], record["client_port"]) == client.getsockname()[:2])


# haproxy itself.


@pytest.mark.parametrize(
    ("listening", "host", "source"),
    [("127.0.0.1", "127.0.0.1", CLIENT), ("::1", "::1", "::1"), ("::", "127.0.0.1", CLIENT)],
    ids=["IPv4", "IPv6", "IPv4 mapped to IPv6"],
)
@pytest.mark.parametrize(
    "options",
    ["send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options crc32c,unique-id,ssl"],
    ids=["v1", "v2", "v2 with TLVs"],
)
def test_the_record_names_the_client_behind_haproxy(
    launcher: Path, tmp_path: Path, options: str, listening: str, host: str, source: str
) -> None:
    with (
        serving(launcher) as serve,
        balancing(tmp_path, serve.port, options, host=listening) as port,
    ):
        for _ in range(2):
            with connect(port, source, host) as client:
                received = exchange(client)
                assert received.startswith(GREETING)
                assert received.endswith(BYE)
                record = serve.record()
                assert is_of(record, client)
                assert record["proxy"] == BALANCER
                assert (record["helo"], record["ending"]) == ("mx.b.c", "quit")
                assert record["octets"] == len(COMMANDS)


@pytest.mark.parametrize("check", ["option smtpchk EHLO haproxy", ""], ids=["SMTP", "connect"])
@pytest.mark.parametrize("version", ["send-proxy", "send-proxy-v2"], ids=["v1", "v2"])
def test_health_checks_of_haproxy_succeed_and_are_recorded_as_its_own(
    launcher: Path, tmp_path: Path, version: str, check: str
) -> None:
    options = f"{version} check check-send-proxy inter 50ms"
    with (
        serving(launcher) as serve,
        balancing(tmp_path, serve.port, options, check) as port,
    ):
        for _ in range(5):
            record = serve.record()
            assert record["client"] == BALANCER
            assert record["ending"] in (["quit"] if check else ["eof", "reset"])
        with connect(port, CLIENT) as client:
            assert exchange(client).endswith(BYE)
            while (record := serve.record())["client"] == BALANCER:
                pass
            assert is_of(record, client)


def test_limits_apply_to_the_client_and_not_to_the_balancer(launcher: Path, tmp_path: Path) -> None:
    with (
        serving(launcher, "--max-per-client=1") as serve,
        balancing(tmp_path, serve.port, "send-proxy-v2") as port,
        connect(port, CLIENT) as first,
        connect(port, STRANGER) as second,
    ):
        assert first.recv(4096) == second.recv(4096) == GREETING
        with connect(port, CLIENT) as third:
            assert read_all(third) == REFUSED
            record = serve.record()
            assert is_of(record, third)
            assert record["ending"] == "too-many"
        for client in (first, second):
            assert exchange(client).endswith(BYE)
            assert is_of(serve.record(), client)


def test_one_client_too_many_is_refused_through_haproxy(launcher: Path, tmp_path: Path) -> None:
    with (
        serving(launcher, "--max-connections=1") as serve,
        balancing(tmp_path, serve.port, "send-proxy-v2") as port,
        connect(port, STRANGER) as first,
    ):
        assert first.recv(4096) == GREETING
        for _ in range(50):
            with connect(port, CLIENT) as client:
                assert read_all(client) == REFUSED
                assert serve.record()["ending"] == "too-many"


# Clients that behave unlike haproxy.


@pytest.mark.parametrize("header", [LINE, PACKED], ids=["v1", "v2"])
def test_nothing_is_sent_before_the_header_is_complete(launcher: Path, header: bytes) -> None:
    with serving(launcher) as serve, connect(serve.port, BALANCER) as balancer:
        for octet in header[:-1]:
            balancer.sendall(bytes([octet]))
        balancer.settimeout(0.3)
        with pytest.raises(TimeoutError):
            balancer.recv(1)
        balancer.settimeout(TEST_TIMEOUT)
        balancer.sendall(header[-1:])
        assert balancer.recv(4096) == GREETING
        assert exchange(balancer).endswith(BYE)
        record = serve.record()
        assert (record["client"], record["client_port"]) == ("192.0.2.7", 4711)


@pytest.mark.parametrize("header", [LINE, PACKED], ids=["v1", "v2"])
def test_the_octets_after_the_header_are_smtp(launcher: Path, header: bytes) -> None:
    with serving(launcher) as serve, connect(serve.port, BALANCER) as balancer:
        received = exchange(balancer, header + COMMANDS)
        assert received.startswith(GREETING)
        assert received.endswith(BYE)
        assert serve.record()["octets"] == len(COMMANDS)


@pytest.mark.parametrize("limit", ["--max-connections=1", "--max-per-client=1"])
def test_one_client_too_many_is_refused_after_it_has_sent_commands(
    launcher: Path, limit: str
) -> None:
    with serving(launcher, limit) as serve, connect(serve.port, BALANCER) as first:
        first.sendall(LINE)
        assert first.recv(4096) == GREETING
        serve.process.send_signal(signal.SIGSTOP)
        with connect(serve.port, BALANCER) as second:
            second.sendall(LINE + COMMANDS)
            serve.process.send_signal(signal.SIGCONT)
            assert read_all(second) == REFUSED
        assert serve.record()["ending"] == "too-many"
        assert exchange(first).endswith(BYE)
        assert serve.record()["ending"] == "quit"


def test_the_time_for_the_header_does_not_count_as_idle_time(launcher: Path) -> None:
    with (
        serving(launcher, "--idle-timeout=4") as serve,
        connect(serve.port, BALANCER) as balancer,
    ):
        time.sleep(2.5)
        balancer.sendall(LINE)
        time.sleep(2.5)
        assert exchange(balancer).endswith(BYE)
        assert serve.record()["ending"] == "quit"


@pytest.mark.parametrize(
    ("octets", "why"),
    [
        (COMMANDS, "no PROXY header"),
        (LINE.replace(b"4711", b"04711"), "PROXY v1: a port that is no number from 0 to 65535"),
        (LINE.replace(b"\r\n", b"\n").ljust(200), "PROXY v1: no CRLF in 107 octets"),
        (V2 + b"\x31\x11\0\0", "PROXY v2: version and command 0x31, not 0x20 or 0x21"),
        (V2 + b"\x21\x11\xff\xff", "PROXY v2: 65551 octets, more than 4096"),
    ],
    ids=["none", "v1", "v1 without end", "v2", "v2 too long"],
)
def test_a_bad_header_ends_the_connection_and_the_record_says_why(
    launcher: Path, octets: bytes, why: str
) -> None:
    with serving(launcher) as serve, connect(serve.port, BALANCER) as client:
        assert exchange(client, octets) == REFUSED
        record = serve.record()
        assert is_of(record, client)
        assert (record["ending"], record["proxy"]) == ("proxy", f"failed: {why}")
        assert why in record["message"]


@pytest.mark.parametrize("octets", [0, MAX_V2], ids=["not at all", "octet by octet"])
def test_a_header_that_comes_late_ends_the_connection(launcher: Path, octets: int) -> None:
    """A direct client waits for the greeting; a hostile one sends an octet now and then."""
    begun = time.monotonic()
    with (
        serving(launcher, "--idle-timeout=1") as serve,
        connect(serve.port, BALANCER) as client,
    ):
        for octet in (V2 + b"\x21\x11\x0f\xf0").ljust(MAX_V2)[:octets]:
            client.sendall(bytes([octet]))
            if select.select([client], [], [], 0.05)[0]:
                break
            assert time.monotonic() - begun < 1 + GRACE
        assert read_all(client) == REFUSED
        record = serve.record()
        assert is_of(record, client)
        assert (record["ending"], record["proxy"]) == ("proxy", "failed: no PROXY header in time")


@pytest.mark.parametrize("header", [LINE, PACKED], ids=["v1", "v2"])
def test_a_header_from_elsewhere_ends_the_connection(launcher: Path, header: bytes) -> None:
    with serving(launcher) as serve, connect(serve.port, STRANGER) as client:
        assert exchange(client, header + COMMANDS) == GREETING + REFUSED
        record = serve.record()
        assert is_of(record, client)
        why = "a PROXY header from an address that is not in proxy-protocol"
        assert (record["ending"], record["proxy"]) == ("proxy", f"failed: {why}")
        assert why in record["message"]


def test_a_header_from_elsewhere_in_pieces_is_not_trusted(launcher: Path) -> None:
    with serving(launcher) as serve, connect(serve.port, STRANGER) as client:
        assert client.recv(4096) == GREETING
        client.sendall(PACKED[:3])
        assert client.recv(4096) == REFUSED  # the reply to an empty line
        assert exchange(client, PACKED[3:] + COMMANDS).startswith(REFUSED)
        record = serve.record()
        assert is_of(record, client)
        assert "proxy" not in record


def test_a_client_from_elsewhere_without_a_header_is_answered(launcher: Path) -> None:
    with serving(launcher) as serve, connect(serve.port, STRANGER) as client:
        assert exchange(client).endswith(BYE)
        record = serve.record()
        assert is_of(record, client)
        assert record["ending"] == "quit"
