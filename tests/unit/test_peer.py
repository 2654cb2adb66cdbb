"""The client's address: from the socket, from the environment, or unknown."""

import os
import posix
import socket

import pytest

from null521.peer import caller, environ, listen_fds, plain_address


def accepted(family: socket.AddressFamily, address: str) -> tuple[socket.socket, socket.socket]:
    """A client's socket, and the accepted connection at its other end."""
    with socket.create_server(
        (address, 0), family=family, dualstack_ipv6=address == "::"
    ) as server:
        client = socket.create_connection(
            ("127.0.0.1" if address == "::" else address, *server.getsockname()[1:2])
        )
        connection, _ = server.accept()
    return client, connection


@pytest.mark.parametrize(
    ("family", "listening", "address"),
    [
        (socket.AF_INET, "127.0.0.1", "127.0.0.1"),
        (socket.AF_INET6, "::1", "::1"),
        (socket.AF_INET6, "::", "127.0.0.1"),
    ],
    ids=["IPv4", "IPv6", "IPv4 mapped to IPv6"],
)
def test_the_socket_is_trusted_before_the_environment(
    family: socket.AddressFamily, listening: str, address: str
) -> None:
    client, connection = accepted(family, listening)
    stale = {"TCPREMOTEIP": "192.0.2.9", "REMOTE_ADDR": "192.0.2.9", "REMOTE_PORT": "9"}
    with client, connection:
        assert caller(connection, stale) == (address, str(client.getsockname()[1]))


@pytest.mark.parametrize(
    ("address", "environ", "client"),
    [
        ("127.0.0.1", {"REMOTE_HOST": "192.0.2.1", "REMOTE_PORT": "9"}, ("192.0.2.1", "9")),
        ("127.0.0.1", {"REMOTE_HOST": "::ffff:127.0.0.1", "REMOTE_PORT": "9"}, ("127.0.0.1", "9")),
        ("127.0.0.1", {"REMOTE_HOST": "2001:db8::1", "REMOTE_PORT": "9"}, ("2001:db8::1", "9")),
        ("127.0.0.1", {"REMOTE_HOST": "mail.example", "REMOTE_PORT": "9"}, ("", "")),
        # Not stunnel's: xinetd has no REMOTE_PORT, and systemd no REMOTE_HOST.
        ("127.0.0.1", {"REMOTE_HOST": "192.0.2.1"}, None),
        ("127.0.0.1", {"REMOTE_HOST": "<no address>"}, None),
        ("127.0.0.1", {"REMOTE_ADDR": "192.0.2.1", "REMOTE_PORT": "9"}, None),
        ("127.0.0.1", {"TCPREMOTEIP": "192.0.2.1", "TCPREMOTEPORT": "9"}, None),
        ("127.0.0.2", {"REMOTE_HOST": "192.0.2.1", "REMOTE_PORT": "9"}, None),
        ("::1", {"REMOTE_HOST": "192.0.2.1", "REMOTE_PORT": "9"}, None),
    ],
)
def test_only_the_variables_of_stunnel_count_beside_a_socket(
    address: str, environ: dict[str, str], client: tuple[str, str] | None
) -> None:
    """And only if the connection comes from 127.0.0.1, as one between stunnel and us does."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.create_server((address, 0), family=family) as server:
        source = (address, 0)
        peer = socket.create_connection(server.getsockname()[:2], source_address=source)
        connection, _ = server.accept()
    with peer, connection:
        expected = client or (address, str(peer.getsockname()[1]))
        assert caller(connection, environ) == expected


@pytest.mark.parametrize(
    ("environ", "client"),
    [
        ({"REMOTE_ADDR": "192.0.2.1", "REMOTE_PORT": "4711"}, ("192.0.2.1", "4711")),
        ({"TCPREMOTEIP": "192.0.2.1", "TCPREMOTEPORT": "4711"}, ("192.0.2.1", "4711")),
        ({"TCP6REMOTEIP": "2001:db8::1", "TCP6REMOTEPORT": "1"}, ("2001:db8::1", "1")),
        ({"REMOTE_HOST": "::ffff:192.0.2.1"}, ("192.0.2.1", "")),
        (
            {
                "SOCAT_PEERADDR": "[2001:0db8:0000:0000:0000:0000:0000:0001]",
                "SOCAT_PEERPORT": "7",
            },
            ("2001:db8::1", "7"),
        ),
        ({"NCAT_REMOTE_ADDR": "192.0.2.1", "NCAT_REMOTE_PORT": "65535"}, ("192.0.2.1", "65535")),
        ({"REMOTE_ADDR": "192.0.2.1", "REMOTE_PORT": "1\n"}, ("192.0.2.1", "")),
        ({"REMOTE_HOST": "<no address>", "SOCAT_PEERADDR": "192.0.2.1"}, ("192.0.2.1", "")),
        ({"REMOTE_ADDR": "192.0.2.1", "REMOTE_PORT": "٣"}, ("192.0.2.1", "")),
        ({"REMOTE_ADDR": "192.0.2.1", "REMOTE_PORT": "12345"}, ("192.0.2.1", "12345")),
        ({"REMOTE_ADDR": "192.0.2.1", "REMOTE_PORT": "123456"}, ("192.0.2.1", "")),
        ({"REMOTE_ADDR": "192.0.2.1", "REMOTE_PORT": ""}, ("192.0.2.1", "")),
        ({"REMOTE_ADDR": "mail.example", "REMOTE_PORT": "25"}, ("", "")),
        # The first variable with an address counts, and the port that belongs to it.
        (
            {"TCPREMOTEIP": "192.0.2.2", "NCAT_REMOTE_ADDR": "192.0.2.3", "REMOTE_PORT": "1"},
            ("192.0.2.2", ""),
        ),
        ({}, ("", "")),
    ],
)
def test_the_environment_is_trusted_without_a_network_socket(
    environ: dict[str, str], client: tuple[str, str]
) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert caller(ours, environ) == client
    assert caller(None, environ) == client


def test_the_environment_is_used_after_the_client_has_reset() -> None:
    client, connection = accepted(socket.AF_INET, "127.0.0.1")
    # SO_LINGER with a time of 0: close sends RST, socket(7).
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()
    with connection:
        assert caller(connection, {"REMOTE_ADDR": "192.0.2.1"}) == ("192.0.2.1", "")


def test_the_environment_is_used_for_an_unconnected_socket() -> None:
    for family in (socket.AF_INET, socket.AF_INET6):
        with socket.socket(family) as unconnected:
            assert caller(unconnected, {"REMOTE_HOST": "::1"}) == ("::1", "")
            assert caller(unconnected, {}) == ("", "")


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:DB8:0:0::1", "2001:db8::1"),
        ("::FFFF:192.0.2.1", "192.0.2.1"),
        ("::ffff:0:192.0.2.1", "::ffff:0:c000:201"),
        ("::192.0.2.1", "::192.0.2.1"),
        ("1::ffff:192.0.2.1", "1::ffff:c000:201"),
        ("fe80::1%eth0", "fe80::1"),
        ("[fe80::1%eth0%1]", "fe80::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[192.0.2.1]", "192.0.2.1"),
        (" 192.0.2.1", ""),
        ("X192.0.2.1X", ""),
        ("192.0.2.1\0", ""),
        ("192.0.2.256", ""),
        ("192.0.2", ""),
        ("\udcff", ""),
        ("", ""),
    ],
)
def test_plain_address_normalizes_an_address_or_is_empty(text: str, address: str) -> None:
    assert plain_address(text) == address


@pytest.mark.parametrize(
    ("count", "descriptors"),
    [
        ("1", range(3, 4)),
        ("3", range(3, 6)),
        ("0", range(0)),
        ("", range(0)),
        ("-1", range(0)),
        ("1 ", range(0)),
        ("٣", range(0)),
        ("²", range(0)),
        ("1" * 5000, range(3, 111111114)),
    ],
)
def test_descriptors_for_this_process(count: str, descriptors: range) -> None:
    assert listen_fds({"LISTEN_FDS": count, "LISTEN_PID": str(os.getpid())}) == descriptors


@pytest.mark.parametrize("pid", ["{other}", "", "0", " {own}"])
def test_descriptors_for_another_process(pid: str) -> None:
    """sd_listen_fds(3): a process that only inherits these variables must ignore them."""
    pid = pid.format(own=os.getpid(), other=os.getpid() + 1)
    assert listen_fds({"LISTEN_FDS": "1", "LISTEN_PID": pid}) == range(0)
    assert listen_fds({"LISTEN_FDS": "1"}) == range(0)
    assert listen_fds({"LISTEN_PID": str(os.getpid())}) == range(0)
    assert listen_fds({}) == range(0)


def test_the_environment_is_what_os_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """Octets that are no text included: PEP 383."""
    octets = {b"A": b"b=c", b"H\xc3\xb4": b"\xff", b"EMPTY": b""}
    monkeypatch.setattr(posix, "environ", octets)
    assert environ() == {os.fsdecode(name): os.fsdecode(value) for name, value in octets.items()}
