"""What --help and --version print.

It knows how the tables of settings are printed. Each subcommand knows its own help. The path of a
connection must not import this file.
"""

import contextlib
import os
import sys
from importlib import import_module

from null521 import __version__, invalid, settings
from null521.cli import SUBCOMMANDS
from null521.console import command

CONNECTION = """\
usage: null521 [--SETTING=VALUE ...]
       null521 SUBCOMMAND ...

Answer one connection on standard input and output as a host that accepts no mail does:
521 to everything, as in RFC 7504. Started by systemd, inetd, xinetd or tcpserver.

Subcommands, each with a --help of its own:

{subcommands}
"""

SETTINGS = """
Settings, which can also be set in the environment (--refuse-at as NULL521_REFUSE_AT):

"""

CONNECTION_TAIL = """

Exit status: 0; 78 if a setting or what was handed over is invalid (the client gets its 521)."""


def show(flag: str, subcommand: str = "") -> int:
    """Print what the flag asks for on standard output; return the exit status."""
    try:
        with command.flushed_stdout():
            print(f"null521 {__version__}" if flag == "--version" else text(subcommand))
    except OSError:  # nobody reads it, or there is no room
        return 1
    return 0


def no_subcommand(arguments: list[str]) -> int:
    """Print the help for `null521 help [SUBCOMMAND]`, or say which subcommand was meant."""
    word, rest = arguments[0], arguments[1:]
    if word == "help":
        return show("--help", rest[0] if rest else "")
    near = invalid.nearest(word, [*SUBCOMMANDS, "help"])
    meant = f"; did you mean {near}?" if near else ""
    with contextlib.suppress(OSError):
        if sys.stderr:  # None if it is closed
            print(f"null521: {word[:60]!a} is not a subcommand{meant}\n", file=sys.stderr)
            print(text(), file=sys.stderr)
    return os.EX_USAGE


def text(subcommand: str = "") -> str:
    """What --help prints, without the last newline."""
    if subcommand in SUBCOMMANDS:
        return str(import_module(f"null521.{subcommand}.cli").help())
    lines = [f"  {name:8} {purpose}" for name, purpose in SUBCOMMANDS.items()]
    start = CONNECTION.format(subcommands="\n".join(lines))
    return start + settings_table(settings.read([], {})) + CONNECTION_TAIL


def settings_table(defaults: settings.Settings) -> str:
    """Each setting with its purpose, its valid values and its default, from those settings."""
    lines = []
    for name, (kind, purpose) in defaults.table.items():
        default = getattr(defaults, name.replace("-", "_"))
        if isinstance(default, tuple):
            default = " ".join(map(str, default))
        elif isinstance(default, float):
            default = f"{default:g}"
        valid = invalid.expected(kind)
        lines += [f"  --{name:16} {purpose}", f"  {'':18} {valid}; default {default or 'none'}"]
    return SETTINGS + "\n".join(lines)
