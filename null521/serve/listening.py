"""The sockets on which a server listens: handed over by systemd, podman or inetd, or bound here.

It knows how these hand sockets over. It must not know what is done with a connection.
"""

import contextlib
import errno
import os
import socket
import stat
from pathlib import Path

from null521 import peer
from null521.serve.settings import address_of

BACKLOG = 4096  # what the kernel allows by default: listen(2)

ACCEPTED = (
    "what was handed over is a connection, but should be a listening socket: Accept=no for "
    "systemd, wait for inetd; or null521 without serve"
)
NOTHING = "there is nothing to answer on: needs --listen=ADDRESS:PORT, or a socket handed over"


class Misuse(Exception):
    """What was handed over is no listening socket, or nothing was; says so in one line."""


def sockets(places: tuple[str, ...], environ: dict[str, str]) -> list[socket.socket]:
    """Those handed over, or else those bound to these places; none of them blocks.

    Misuse if there are none. OSError, with the place as its file name, if one cannot be bound.
    """
    listeners = [_checked(fd) for fd in handed_over(places, environ)] or bind(places)
    if not listeners:
        raise Misuse(NOTHING)
    for listener in listeners:
        listener.setblocking(False)
        with contextlib.suppress(OSError):  # the unit allows no listen(2); systemd has called it
            listener.listen(BACKLOG)  # inetd's backlog is 128 or less, which a flood fills
    return listeners


def handed_over(places: tuple[str, ...], environ: dict[str, str]) -> range:
    """The descriptors handed over: from LISTEN_FDS, whatever their names, or inetd's "wait".

    That is standard input, ignored if there are places, because sshd makes it a socket too.
    """
    descriptors = peer.listen_fds(environ)
    if descriptors or places:
        return descriptors
    try:
        return range(stat.S_ISSOCK(os.fstat(0).st_mode))
    except OSError:  # closed
        return range(0)


def bind(places: tuple[str, ...]) -> list[socket.socket]:
    """A socket for each place, which is an address and port, or the path of a UNIX socket."""
    listeners: list[socket.socket] = []
    for place in places:
        try:
            listeners.append(_bound(place))
        except OSError as error:
            close(listeners, places)
            error.filename = place
            raise
    return listeners


def _checked(fd: int) -> socket.socket:
    try:
        listener = socket.socket(fileno=fd)
    except OSError as error:
        raise Misuse(f"descriptor {fd}, which was handed over, is no socket") from error
    if listener.type != socket.SOCK_STREAM:
        raise Misuse("what was handed over is no stream socket, which SMTP needs: use TCP")
    if not listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        raise Misuse(ACCEPTED)
    return listener


def _bound(place: str) -> socket.socket:
    address = address_of(place)
    if address is None:
        return _bound_to_path(place)
    if address[0] == "" and socket.has_dualstack_ipv6():
        return socket.create_server(address, family=socket.AF_INET6, dualstack_ipv6=True)
    host, _, interface = address[0].partition("%")
    if interface:  # RFC 4007, 11
        scoped = (host, address[1], 0, socket.if_nametoindex(interface))
        return socket.create_server(scoped, family=socket.AF_INET6)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server(address, family=family)


def _bound_to_path(path: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    try:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as client:
            client.setblocking(False)  # a server whose queue is full would block us
            # A path without a listener is the leftover of a server that was killed.
            if Path(path).is_socket() and client.connect_ex(path) == errno.ECONNREFUSED:
                Path(path).unlink()
        listener.bind(path)
    except OSError:
        listener.close()
        raise
    return listener


def close(listeners: list[socket.socket], places: tuple[str, ...]) -> None:
    """Stop listening, and remove the paths of UNIX sockets that were bound here."""
    for listener in listeners:
        with contextlib.suppress(OSError):
            if listener.family == socket.AF_UNIX and listener.getsockname() in places:
                Path(listener.getsockname()).unlink()
        listener.close()


def label(listener: socket.socket) -> str:
    """Its address, in the form of --listen."""
    bound = listener.getsockname()
    if listener.family == socket.AF_UNIX:
        return str(bound).encode("unicode_escape").decode()
    return f"[{bound[0]}]:{bound[1]}" if ":" in bound[0] else f"{bound[0]}:{bound[1]}"
