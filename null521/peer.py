"""What superservers hand over: descriptors, and who is calling.

It knows sockets and what superservers put into the environment. It must not know the dialogue.
"""

import os
from _collections_abc import Mapping
from _socket import AF_INET, AF_INET6, inet_ntop, inet_pton
from _socket import socket as Socket

# Address and port as put there by systemd, tcpserver, ucspi-tcp-ipv6, xinetd, socat and ncat.
VARIABLES = (
    ("REMOTE_ADDR", "REMOTE_PORT"),
    ("TCPREMOTEIP", "TCPREMOTEPORT"),
    ("TCP6REMOTEIP", "TCP6REMOTEPORT"),
    ("REMOTE_HOST", "REMOTE_PORT"),
    ("SOCAT_PEERADDR", "SOCAT_PEERPORT"),
    ("NCAT_REMOTE_ADDR", "NCAT_REMOTE_PORT"),
)


Caller = tuple[str, str]  # IP address and port, each "" if unknown


def listen_fds(environ: Mapping[str, str]) -> range:
    """The descriptors that systemd or podman has handed to this process: sd_listen_fds(3)."""
    count = environ.get("LISTEN_FDS", "")
    if environ.get("LISTEN_PID") != str(os.getpid()) or not (count.isascii() and count.isdigit()):
        return range(0)
    return range(3, 3 + int(count[:9]))


def caller(connection: Socket | None, environ: Mapping[str, str]) -> Caller:
    """The client's IP address and port, each "" if unknown.

    The socket is asked first, because the environment can be another client's (inetutils-inetd
    leaves the previous one's there for "wait" services). The environment counts only if the socket
    knows nothing: behind a pipe or socketpair, or when the client has already reset it.
    """
    if connection is not None and connection.family in (AF_INET, AF_INET6):
        try:
            address, port = connection.getpeername()[:2]
            return plain_address(address), str(port)
        except OSError:  # ENOTCONN: the client has disconnected
            pass
    for address_variable, port_variable in VARIABLES:
        address = plain_address(environ.get(address_variable, ""))
        if address:
            port = environ.get(port_variable, "")
            return address, port if port.isascii() and port.isdigit() and len(port) < 6 else ""
    return "", ""


def plain_address(text: str) -> str:
    """An IP address in its shortest form, IPv4 where it is IPv4 mapped to IPv6, "" if it is none.

    A zone ("%eth0") and brackets, as socat writes them, are left out.
    """
    text = text.strip("[]").partition("%")[0]
    family = AF_INET6 if ":" in text else AF_INET
    try:
        packed = inet_pton(family, text)
    except (OSError, ValueError):  # ValueError: a NUL, or what is not UTF-8
        return ""
    mapped = b"\0" * 10 + b"\xff\xff"  # RFC 4291, 2.5.5.2
    if packed.startswith(mapped):
        family, packed = AF_INET, packed.removeprefix(mapped)
    return inet_ntop(family, packed)
