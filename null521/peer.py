"""What superservers hand over: descriptors, and who is calling.

It knows sockets and what superservers put into the environment. It must not know the dialogue.
"""

import posix
import sys
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


def environ() -> dict[str, str]:
    """The environment of this process as os.environ has it, without importing os."""
    code = sys.getfilesystemencoding(), "surrogateescape"
    return {name.decode(*code): value.decode(*code) for name, value in posix.environ.items()}


def listen_fds(environ: dict[str, str]) -> range:
    """The descriptors that systemd or podman has handed to this process: sd_listen_fds(3)."""
    count = environ.get("LISTEN_FDS", "")
    ours = environ.get("LISTEN_PID") == str(posix.getpid())
    if not (ours and count.isascii() and count.isdigit()):
        return range(0)
    return range(3, 3 + int(count[:9]))


def caller(connection: Socket | None, environ: dict[str, str]) -> Caller:
    """The client's IP address and port, each "" if unknown.

    The socket is asked first, because the environment can be another client's (inetutils-inetd
    leaves the previous one's there for "wait" services). The environment counts only if the socket
    knows nothing: behind a pipe or socketpair, or when the client has already reset it; and behind
    stunnel, which connects us from 127.0.0.1 and names the client in REMOTE_HOST and REMOTE_PORT.
    No other superserver sets both, so stale ones can mislead only about clients of this host.
    """
    if connection is not None and connection.family in (AF_INET, AF_INET6):
        try:
            address, port = connection.getpeername()[:2]
            if address != "127.0.0.1" or not environ.keys() >= {"REMOTE_HOST", "REMOTE_PORT"}:
                return plain_address(address), str(port)
        except OSError:  # ENOTCONN: the client has disconnected
            pass
    for address_variable, port_variable in VARIABLES:
        if address := plain_address(environ.get(address_variable, "")):
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
