"""PROXY headers: the specification's examples, each kind of fault, and any octets in any pieces."""

import socket
import struct
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from null521.peer import plain_address
from null521.serve.proxy import BEGINNINGS, MAX_V1, MAX_V2, V1, V2, Header, header

SMTP = b"EHLO x\r\nQUIT\r\n"
IPV4 = socket.inet_aton("192.0.2.7") + socket.inet_aton("198.51.100.1") + b"\x12\x34\0\x19"
IPV6 = bytes(range(32)) + b"\xff\xff\0\x19"


def binary(command: int, protocol: int, rest: bytes = b"", length: int | None = None) -> bytes:
    """A header of version 2; the length defaults to that of the rest."""
    return (
        V2 + struct.pack("!BBH", command, protocol, len(rest) if length is None else length) + rest
    )


LONGEST = b"PROXY TCP6 " + b"ffff:" * 7 + b"ffff " + b"ffff:" * 7 + b"ffff 65535 65535\r\n"
# Section 2.1's "worst case"; it has 107 octets.
UNKNOWN = LONGEST.replace(b"TCP6", b"UNKNOWN")

VALID = {
    # The example of section 2.1, and its longest lines.
    b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n": ("192.168.0.1", "56324"),
    b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n": ("255.255.255.255", "65535"),
    LONGEST: ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "65535"),
    b"PROXY UNKNOWN\r\n": None,
    UNKNOWN: None,
    b"PROXY UNKNOWN \x00\xff\r\n": None,
    b"PROXY TCP4 192.0.2.7 192.0.2.8 0 0\r\n": ("192.0.2.7", "0"),
    b"PROXY TCP6 2001:DB8:0:0::1 ::1 1 25\r\n": ("2001:db8::1", "1"),
    b"PROXY TCP6 ::ffff:192.0.2.7 ::1 1 25\r\n": ("192.0.2.7", "1"),
    # TCP, alone and followed by TLVs. TLVs are ignored, so malformed ones are accepted too.
    binary(0x21, 0x11, IPV4): ("192.0.2.7", "4660"),
    binary(0x21, 0x11, IPV4 + b"\x04\0\1x"): ("192.0.2.7", "4660"),
    binary(0x21, 0x11, IPV4 + b"\x04\xff"): ("192.0.2.7", "4660"),
    binary(0x21, 0x11, IPV4.ljust(MAX_V2 - 16, b"\0")): ("192.0.2.7", "4660"),
    binary(0x21, 0x21, IPV6): ("1:203:405:607:809:a0b:c0d:e0f", "65535"),
    binary(0x21, 0x21, b"\0" * 10 + b"\xff\xff\xc0\0\2\7" + IPV6[16:]): ("192.0.2.7", "65535"),
    # The balancer's own connection.
    binary(0x20, 0x00): None,
    binary(0x20, 0x11, IPV4): None,
    binary(0x20, 0xFF, b"x"): None,
    # Unspecified, or treated as unspecified.
    binary(0x21, 0x00): None,
    binary(0x21, 0x00, IPV4): None,
    binary(0x21, 0x01): None,
    binary(0x21, 0x10): None,
    binary(0x21, 0x12, IPV4): None,
    binary(0x21, 0x22, IPV6): None,
    binary(0x21, 0x31, b"/run/socket".ljust(216, b"\0")): None,
    binary(0x21, 0x32, b"\xff" * 216): None,
}

NO_HEADER = "no PROXY header"
NO_END = "PROXY v1: no CRLF in 107 octets"
NO_PROTOCOL = "PROXY v1: neither TCP4 nor TCP6 nor UNKNOWN"
NO_FIELDS = "PROXY v1: not two addresses and two ports, each after one blank"
NO_IPV4 = "PROXY v1: an address that is none of TCP4"
NO_IPV6 = "PROXY v1: an address that is none of TCP6"
NO_PORT = "PROXY v1: a port that is no number from 0 to 65535"
MALFORMED = {
    SMTP: NO_HEADER,
    b"\r\n\r\n\0\r\nQUIT\r\n": NO_HEADER,
    b"proxy TCP4 192.0.2.7 192.0.2.8 1 25\r\n": NO_HEADER,
    b"PROXY\r\n": NO_HEADER,
    b"PROXY\tTCP4 192.0.2.7 192.0.2.8 1 25\r\n": NO_HEADER,
    b" PROXY TCP4 192.0.2.7 192.0.2.8 1 25\r\n": NO_HEADER,
    # Neither CR nor LF alone ends the line, and 108 octets are one too many.
    b"PROXY TCP4 192.0.2.7 192.0.2.8 1 25\n".ljust(MAX_V1, b"x"): NO_END,
    b"PROXY TCP4 192.0.2.7 192.0.2.8 1 25\r".ljust(MAX_V1, b"x"): NO_END,
    b"PROXY TCP4 192.0.2.7 192.0.2.8 1 25\n\r\n": NO_PORT,
    b"PROXY TCP4 192.0.2.7 192.0.2.8 1 25\r\r\n": NO_PORT,
    UNKNOWN[:-2] + b"x\r\n": NO_END,
    b"PROXY \r\n": NO_PROTOCOL,
    b"PROXY TCP 192.0.2.7 192.0.2.8 1 25\r\n": NO_PROTOCOL,
    b"PROXY tcp4 192.0.2.7 192.0.2.8 1 25\r\n": NO_PROTOCOL,
    b"PROXY UDP4 192.0.2.7 192.0.2.8 1 25\r\n": NO_PROTOCOL,
    b"PROXY UNKNOWNx\r\n": NO_PROTOCOL,
    b"PROXY  TCP4 192.0.2.7 192.0.2.8 1 25\r\n": NO_PROTOCOL,
    b"PROXY TCP4\r\n": NO_FIELDS,
    b"PROXY TCP4 192.0.2.7 192.0.2.8 1\r\n": NO_FIELDS,
    b"PROXY TCP4 192.0.2.7 192.0.2.8 1 25 \r\n": NO_FIELDS,
    b"PROXY TCP4 192.0.2.7  192.0.2.8 1 25\r\n": NO_FIELDS,
    b"PROXY TCP4 192.0.2.256 192.0.2.8 1 25\r\n": NO_IPV4,
    b"PROXY TCP4 192.0.02.7 192.0.2.8 1 25\r\n": NO_IPV4,
    b"PROXY TCP4 192.0.2 192.0.2.8 1 25\r\n": NO_IPV4,
    b"PROXY TCP4 192.0.2.7 0x7f.1 1 25\r\n": NO_IPV4,
    b"PROXY TCP4 192.0.2.7\0 192.0.2.8 1 25\r\n": NO_IPV4,
    b"PROXY TCP4 192.0.2.\xb9 192.0.2.8 1 25\r\n": NO_IPV4,
    "PROXY TCP4 192.0.2.\N{ARABIC-INDIC DIGIT SEVEN} 192.0.2.8 1 25\r\n".encode(): NO_IPV4,
    b"PROXY TCP4 2001:db8::1 192.0.2.8 1 25\r\n": NO_IPV4,
    b"PROXY TCP4 mx.example 192.0.2.8 1 25\r\n": NO_IPV4,
    b"PROXY TCP6 192.0.2.7 ::1 1 25\r\n": NO_IPV6,
    b"PROXY TCP6 ::1 192.0.2.7 1 25\r\n": NO_IPV6,
    b"PROXY TCP6 [::1] ::1 1 25\r\n": NO_IPV6,
    b"PROXY TCP6 fe80::1%eth0 ::1 1 25\r\n": NO_IPV6,
    b"PROXY TCP6 ::1:: ::1 1 25\r\n": NO_IPV6,
    b"PROXY TCP6 00001::1 ::1 1 25\r\n": NO_IPV6,
    b"PROXY TCP4 192.0.2.7 192.0.2.8 65536 25\r\n": NO_PORT,
    b"PROXY TCP4 192.0.2.7 192.0.2.8 1 65536\r\n": NO_PORT,
    b"PROXY TCP4 192.0.2.7 192.0.2.8 01 25\r\n": NO_PORT,
    b"PROXY TCP4 192.0.2.7 192.0.2.8 +1 25\r\n": NO_PORT,
    b"PROXY TCP4 192.0.2.7 192.0.2.8 -1 25\r\n": NO_PORT,
    b"PROXY TCP4 192.0.2.7 192.0.2.8 1_1 25\r\n": NO_PORT,
    b"PROXY TCP4 192.0.2.7 192.0.2.8 \t1 25\r\n": NO_PORT,
    b"PROXY TCP4 192.0.2.7 192.0.2.8 \xb2 25\r\n": NO_PORT,
    b"PROXY TCP4 192.0.2.7 192.0.2.8 " + b"1" * 60 + b" 25\r\n": NO_PORT,
    binary(0x11, 0x11, IPV4): "PROXY v2: version and command 0x11, not 0x20 or 0x21",
    binary(0x31, 0x11, IPV4): "PROXY v2: version and command 0x31, not 0x20 or 0x21",
    binary(0x22, 0x11, IPV4): "PROXY v2: version and command 0x22, not 0x20 or 0x21",
    binary(0x21, 0x41, IPV4): "PROXY v2: family and transport 0x41 do not exist",
    binary(0x21, 0x13, IPV4): "PROXY v2: family and transport 0x13 do not exist",
    binary(0x21, 0x11, IPV4[:-1]): "PROXY v2: 27 octets, too few for its addresses",
    binary(0x21, 0x21, IPV6[:-1]): "PROXY v2: 51 octets, too few for its addresses",
    binary(0x21, 0x11, length=0): "PROXY v2: 16 octets, too few for its addresses",
    binary(0x21, 0x11, length=4081): "PROXY v2: 4097 octets, more than 4096",
    binary(0x20, 0x00, length=65535): "PROXY v2: 65551 octets, more than 4096",
}


@pytest.mark.parametrize(("octets", "client"), VALID.items(), ids=lambda value: repr(value)[:60])
def test_a_header_needs_its_last_octet_and_none_of_what_follows(
    octets: bytes, client: tuple[str, str] | None
) -> None:
    assert {header(octets[:end]) for end in range(len(octets))} == {None}
    assert header(octets) == header(octets + SMTP) == Header(len(octets), client)


@pytest.mark.parametrize(("octets", "fault"), MALFORMED.items(), ids=lambda value: repr(value)[:60])
def test_a_malformed_header_has_a_fault(octets: bytes, fault: str) -> None:
    assert header(octets) == header(octets + SMTP) == Header(0, None, fault)


@pytest.mark.parametrize("octets", [SMTP[:1], b"PROXZ", b"\r\n\r\n\1", b"\n"])
def test_other_octets_are_refused_at_the_first_wrong_one(octets: bytes) -> None:
    assert header(octets[:-1]) is None
    assert header(octets) == Header(0, None, NO_HEADER)


OCTETS = st.binary(max_size=300)
FIELDS = st.lists(
    st.sampled_from([b"TCP4", b"TCP6", b"UNKNOWN", b"192.0.2.7", b"::1", b"25", b"", b"\r", b"\n"])
    | st.binary(max_size=8)
).map(b" ".join)
HOSTILE = st.one_of(
    OCTETS,
    st.builds(bytes.__add__, st.sampled_from(BEGINNINGS), OCTETS),
    st.builds(lambda line, end: V1 + line + end, FIELDS, st.sampled_from([b"\r\n", b"\n", SMTP])),
    st.builds(
        binary,
        st.sampled_from([0x20, 0x21]) | st.integers(0, 255),
        st.sampled_from([0x11, 0x21]) | st.integers(0, 255),
        OCTETS,
        st.none() | st.integers(0, 65535),
    ),
)


@given(HOSTILE)
def test_any_octets_get_the_same_verdict_in_pieces_as_in_one(octets: bytes) -> None:
    found = header(octets)
    verdicts = [header(octets[:end]) for end in range(len(octets) + 1)]
    known = [verdict for verdict in verdicts if verdict]
    assert verdicts == [None] * (len(verdicts) - len(known)) + known
    assert set(known) <= {found}
    if found is None:
        assert len(octets) < MAX_V2
    elif found.fault:
        assert (found.size, found.client) == (0, None)
        assert found.fault.isascii()
        assert found.fault.isprintable()
    else:
        assert len(octets[: found.size]) == found.size == len(octets) - len(known) + 1
        assert octets.startswith(BEGINNINGS)


ADDRESSES = st.tuples(st.ip_addresses(v=4), st.ip_addresses(v=4)) | st.tuples(
    st.ip_addresses(v=6), st.ip_addresses(v=6)
)
PORTS = st.integers(0, 65535)


@given(ADDRESSES, PORTS, PORTS, st.binary(max_size=9))
def test_both_versions_carry_any_address_and_port(
    addresses: tuple[IPv4Address, IPv4Address] | tuple[IPv6Address, IPv6Address],
    port: int,
    other: int,
    rest: bytes,
) -> None:
    source, target = addresses
    client = (plain_address(str(source)), str(port))
    line = f"PROXY TCP{source.version} {source} {target} {port} {other}\r\n".encode()
    assert header(line + rest) == Header(len(line), client)
    block = source.packed + target.packed + struct.pack("!HH", port, other)
    packed = binary(0x21, 0x11 if source.version == 4 else 0x21, block)
    assert header(packed + rest) == Header(len(packed), client)
