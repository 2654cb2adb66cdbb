"""The command line: which subcommand is meant, and nothing else.

Bare null521 handles one connection. That path imports no more than it needs, for it is walked
once for every connection; what stands behind another word may import what it likes.
"""

import os
import stat
import sys

from null521 import handler, settings

SUBCOMMANDS = ("serve", "report", "check")


def main(arguments: list[str] | None = None) -> int:
    """Do what the arguments say, sys.argv's by default; return the exit status."""
    if arguments is None:
        arguments = sys.argv[1:]
    for flag in ("-h", "--help", "--version"):
        if flag in arguments and not _stdout_is_a_socket():
            from null521 import usage

            return usage.show(flag, arguments[0])
    if arguments and arguments[0] in SUBCOMMANDS:
        from null521 import subcommands

        return subcommands.run(arguments[0], arguments[1:])
    try:
        return handler.run(settings.read(arguments, os.environ))
    except KeyboardInterrupt:  # on a terminal
        return 130


def _stdout_is_a_socket() -> bool:
    """Whether a superserver has connected us to a client, who must be told nothing but SMTP."""
    try:
        return stat.S_ISSOCK(os.fstat(1).st_mode)
    except OSError:
        return False
