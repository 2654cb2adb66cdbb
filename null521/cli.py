"""The command line: which program is meant, and nothing else.

Bare null521 answers one connection. That path is walked once for every client, so it imports no
more than it needs. A subcommand is a room of its own: null521/NAME/cli.py has run(arguments),
which returns the exit status, and help(), which returns what --help prints.
"""

import os
import stat
import sys

from null521 import connection, settings

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
        if flag in arguments and not _stdout_is_a_socket():
            from null521.console import usage

            return usage.show(flag, arguments[0])
    if arguments and arguments[0] in SUBCOMMANDS:
        from importlib import import_module

        return int(import_module(f"null521.{arguments[0]}.cli").run(arguments[1:]))
    try:
        return connection.run(settings.read(arguments, os.environ))
    except KeyboardInterrupt:  # on a terminal
        return 130


def _stdout_is_a_socket() -> bool:
    """Whether a superserver has connected us to a client, which must see nothing but SMTP."""
    try:
        return stat.S_ISSOCK(os.fstat(1).st_mode)
    except OSError:
        return False
