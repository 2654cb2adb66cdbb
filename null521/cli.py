"""The command line: which program is meant, and nothing else.

Bare null521 answers one connection. That path is walked once for every client, so it imports no
more than it needs. A subcommand is a folder of its own: null521/NAME/cli.py has run(arguments),
which returns the exit status, and help(), which returns what --help prints.
"""

import posix
import sys
from _stat import S_ISSOCK

from null521 import connection, peer, settings

# name: what it does, for --help.
SUBCOMMANDS = {
    "serve": "answer many connections in one process",
    "report": "tell from the records who sends mail to this host",
    "check": "test whether a host refuses mail as it should",
}


def main(arguments: list[str] | None = None) -> int:
    """Do what the arguments say, sys.argv's by default; return the exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    for flag in ("-h", "--help", "--version"):
        if flag in arguments and not _is_a_socket(1):
            from null521.console import usage

            return usage.show(flag, arguments[0])
    if arguments and arguments[0] in SUBCOMMANDS:
        from importlib import import_module

        return int(import_module(f"null521.{arguments[0]}.cli").run(arguments[1:]))
    environ = peer.environ()
    if arguments and arguments[0][:1] != "-" and not _has_a_client(environ):
        from null521.console import usage

        return usage.no_subcommand(arguments)
    try:
        return connection.run(settings.read(arguments, environ), environ)
    except KeyboardInterrupt:  # on a terminal
        return 130


def _has_a_client(environ: dict[str, str]) -> bool:
    """Whether there may be a client, which must see nothing but SMTP."""
    descriptors = peer.listen_fds(environ) or peer.caller(None, environ)[0]
    return bool(descriptors) or _is_a_socket(0) or _is_a_socket(1)


def _is_a_socket(fd: int) -> bool:
    """Whether a superserver has connected us to a client by that descriptor."""
    try:
        return S_ISSOCK(posix.fstat(fd).st_mode)
    except OSError:
        return False
