"""The sockets on which a server listens: handed over by systemd, podman or inetd, or made here.

It knows how these hand sockets over. It must not know what is done with a connection.
"""

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Mapping
from pathlib import Path

from null521.connection import LISTEN_FDS_START
from null521.serve.settings import address_of

BACKLOG = 4096  # what the kernel allows by default: listen(2)

ACCEPTED = (
    "what was handed over is a connection, but should be a listening socket: Accept=no for "
    "systemd, wait for inetd; or null521 without serve"
)
NOTHING = "there is nothing to answer on: needs --listen=ADDRESS:PORT, or a socket handed over"


class Unfit(Exception):
    """What was handed over cannot be listened on, or nothing was; says so in one line."""


def sockets(places: tuple[str, ...], environ: Mapping[str, str]) -> list[socket.socket]:
    """Those handed over, or else those made at these places; none of them blocks.

    Unfit if there are none. OSError, with the place as its file name, if one cannot be made.
    """
    listeners = [_checked(fd) for fd in handed_over(places, environ)] or made(places)
    if not listeners:
        raise Unfit(NOTHING)
    for listener in listeners:
        listener.setblocking(False)
        listener.listen(BACKLOG)  # inetd's own is 128 or less, and lets a flood wait for SYNs
    return listeners


def handed_over(places: tuple[str, ...], environ: Mapping[str, str]) -> range:
    """The descriptors handed over: from LISTEN_FDS, whatever their names, or inetd's "wait".

    That is standard input, and not looked at if there are places: sshd makes it a socket, too.
    """
    count = environ.get("LISTEN_FDS", "")
    if environ.get("LISTEN_PID") == str(os.getpid()) and count.isdecimal():
        return range(LISTEN_FDS_START, LISTEN_FDS_START + int(count))
    if places:
        return range(0)
    try:
        return range(stat.S_ISSOCK(os.fstat(0).st_mode))
    except OSError:  # closed
        return range(0)


def made(places: tuple[str, ...]) -> list[socket.socket]:
    """A socket for each place, which is an address and port, or the path of a UNIX socket."""
    listeners: list[socket.socket] = []
    for place in places:
        try:
            listeners.append(_made(place))
        except OSError as error:
            clear(listeners, places)
            error.filename = place
            raise
    return listeners


def _checked(fd: int) -> socket.socket:
    try:
        listener = socket.socket(fileno=fd)
    except OSError as error:
        raise Unfit(f"descriptor {fd}, which was handed over, is no socket") from error
    if listener.type != socket.SOCK_STREAM:
        raise Unfit("what was handed over is no stream socket, which SMTP needs: use TCP")
    if not listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        raise Unfit(ACCEPTED)
    return listener


def _made(place: str) -> socket.socket:
    address = address_of(place)
    if address is None:
        return _made_at_path(place)
    if address[0] == "" and socket.has_dualstack_ipv6():
        return socket.create_server(address, family=socket.AF_INET6, dualstack_ipv6=True)
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    return socket.create_server(address, family=family)


def _made_at_path(path: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    try:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as client:
            client.setblocking(False)  # or a server whose queue is full would have us wait
            # One that nobody listens on any more is left over from a server that was killed.
            if Path(path).is_socket() and client.connect_ex(path) == errno.ECONNREFUSED:
                Path(path).unlink()
        listener.bind(path)
    except OSError:
        listener.close()
        raise
    return listener


def clear(listeners: list[socket.socket], places: tuple[str, ...]) -> None:
    """Stop listening, and take away the paths of UNIX sockets that were made here."""
    for listener in listeners:
        with contextlib.suppress(OSError):
            if listener.family == socket.AF_UNIX and listener.getsockname() in places:
                Path(listener.getsockname()).unlink()
        listener.close()


def name(listener: socket.socket) -> str:
    """As --listen would have it."""
    bound = listener.getsockname()
    if listener.family == socket.AF_UNIX:
        return str(bound)
    return f"[{bound[0]}]:{bound[1]}" if ":" in bound[0] else f"{bound[0]}:{bound[1]}"
