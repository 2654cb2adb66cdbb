"""The PROXY protocol: which client a balancer's connection belongs to, without I/O.

Versions 1 and 2 as in HAProxy's doc/proxy-protocol.txt, whose sections the comments name. It must
not know whom to trust: settings do. Why not a library: the package proxy-protocol does not find
the end of a header that SMTP follows, accepts ports such as "+25" and "2_5" and control characters
in an address, has no bound, and lets struct.error and UnicodeDecodeError out; aiosmtpd's reader has
to read the connection itself.
"""

from socket import AF_INET, AF_INET6, inet_ntop, inet_pton
from typing import NamedTuple

from null521.peer import plain_address

V1 = b"PROXY "
V2 = b"\r\n\r\n\0\r\nQUIT\n"
BEGINNINGS = (V1, V2)

MAX_V1 = 107  # octets, CRLF included: 2.1
# No bound in the specification but that of the field, 65551. Without TLVs it takes up to 232, and
# with them it is meant for a segment of 536 (2.); 4096 is nginx's bound, and one read.
MAX_V2 = 4096

FAMILIES = {b"TCP4": AF_INET, b"TCP6": AF_INET6}
ADDRESSES = {0x11: (AF_INET, 4), 0x21: (AF_INET6, 16)}  # family and octets of one, by octet 14


class Header(NamedTuple):
    """What a header says. size: its octets; what follows them is SMTP.

    client: address and port as peer.caller() gives them; None if the connection is the balancer's
    own, or of unknown origin. fault: why the header is malformed, in one line of ASCII, or "".
    """

    size: int = 0
    client: tuple[str, str] | None = None
    fault: str = ""


def header(octets: bytes) -> Header | None:
    """The header at the beginning of all octets received so far; None if it is not complete.

    Never raises, needs no more than MAX_V2 octets, and ignores all that follow the header.
    """
    if octets.startswith(V1):
        return _version_1(octets)
    if octets.startswith(V2):
        return _version_2(octets)
    if any(beginning.startswith(octets) for beginning in BEGINNINGS):
        return None
    return Header(fault="no PROXY header")


def _version_1(octets: bytes) -> Header | None:
    end = octets.find(b"\r\n", 0, MAX_V1)
    if end < 0:
        longer = len(octets) < MAX_V1
        return None if longer else Header(fault=f"PROXY v1: no CRLF in {MAX_V1} octets")
    protocol, *fields = octets[len(V1) : end].split(b" ")
    if protocol == b"UNKNOWN":  # the rest is to be ignored
        return Header(end + 2)
    if protocol not in FAMILIES:
        return Header(fault="PROXY v1: neither TCP4 nor TCP6 nor UNKNOWN")
    if len(fields) != 4:
        return Header(fault="PROXY v1: not two addresses and two ports, each after one blank")
    source, destination, *ports = (field.decode("latin-1") for field in fields)
    if not _is_address(FAMILIES[protocol], source, destination):
        return Header(fault=f"PROXY v1: an address that is none of {protocol.decode()}")
    if not all(map(_is_port, ports)):
        return Header(fault="PROXY v1: a port that is no number from 0 to 65535")
    return Header(end + 2, (plain_address(source), ports[0]))


def _is_address(family: int, *addresses: str) -> bool:
    try:
        return all(inet_pton(family, address) for address in addresses)
    except (OSError, ValueError):  # ValueError: a NUL
        return False


def _is_port(text: str) -> bool:
    # Digits first: int() also takes "+25", "2_5" and " 25"; leading zeros are not allowed, 2.1.
    return text.isascii() and text.isdigit() and int(text) <= 65535 and text == str(int(text))


def _version_2(octets: bytes) -> Header | None:
    if len(octets) < 16:
        return None
    command, protocol = octets[12:14]
    size = 16 + int.from_bytes(octets[14:16], "big")
    if command not in (0x20, 0x21):
        return Header(fault=f"PROXY v2: version and command 0x{command:02x}, not 0x20 or 0x21")
    if command == 0x20:  # LOCAL: the family is to be ignored, too
        protocol = 0
    if protocol >> 4 > 3 or protocol & 15 > 2:
        return Header(fault=f"PROXY v2: family and transport 0x{protocol:02x} do not exist")
    # A receiver that does not support UDP or UNIX treats it as unspecified: 2.2.
    family, width = ADDRESSES.get(protocol, (0, 0))
    ports = 16 + 2 * width
    if width and size < ports + 4:
        return Header(fault=f"PROXY v2: {size} octets, too few for its addresses")
    if size > MAX_V2:
        return Header(fault=f"PROXY v2: {size} octets, more than {MAX_V2}")
    if len(octets) < size:
        return None
    if not width:
        return Header(size)
    address = inet_ntop(family, octets[16 : 16 + width])
    return Header(size, (plain_address(address), str(int.from_bytes(octets[ports:][:2], "big"))))
