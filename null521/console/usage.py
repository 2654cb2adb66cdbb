"""What --help and --version print.

It knows how to lay out the tables of settings. The path of a connection must not import it.
"""

import contextlib
import sys

from null521 import __version__, settings

CONNECTION = """\
usage: null521 [--SETTING=VALUE ...]
       null521 serve [--SETTING=VALUE ...]
       null521 report [OPTION ...] [LINES ...]
       null521 check [OPTION ...] HOST[:PORT]

Answer one connection on standard input and output as a host that takes no mail does:
521 to all, as RFC 7504 has it. Started by systemd, inetd, xinetd or tcpserver.
With "serve", answer many connections in one process; see null521 serve --help.
With "report", see who writes to this host, from the records; see null521 report --help.
With "check", see whether a host refuses mail as it should; see null521 check --help.
"""

SERVE = """\
usage: null521 serve [--SETTING=VALUE ...]

Answer connections as a host that takes no mail does: 521 to all, as RFC 7504 has it. They
come from the sockets that systemd (Accept=no), podman or inetd (wait) hands over, or else
from those of --listen.
"""

SETTINGS = """
Settings, each also taken from the environment (--refuse-at is NULL521_REFUSE_AT):

"""

CONNECTION_TAIL = """

Exit status: 0; 78 if a setting or what was handed over is no good (the client gets its 521)."""

SERVE_TAIL = """

SIGTERM ends it once all sessions are over, or after the grace time; a second one, at once.
Exit status: 0; 78 if a setting or what was handed over is no good; 71 if it cannot listen."""


def show(flag: str, subcommand: str = "") -> int:
    """Print what the flag asks for on standard output; return the exit status."""
    try:
        print(f"null521 {__version__}" if flag == "--version" else text(subcommand), flush=True)
    except OSError:  # nobody reads it, or there is no room
        with contextlib.suppress(OSError):
            sys.stdout.close()  # or it would be tried once more at the end, with another status
        return 1
    return 0


def text(subcommand: str = "") -> str:
    """What --help prints, from the tables of settings."""
    if subcommand == "serve":
        from null521.serve import settings as serving

        return SERVE + _table(serving.read([], {})) + SERVE_TAIL
    if subcommand == "check":
        from null521.check import cli as check

        return check.parser().format_help().rstrip()
    if subcommand == "report":
        from null521.report import cli as report

        return report.parser().format_help().rstrip()
    return CONNECTION + _table(settings.read([], {})) + CONNECTION_TAIL


def _table(defaults: settings.Settings) -> str:
    lines = []
    for name, (kind, purpose) in defaults.table.items():
        default = getattr(defaults, name.replace("-", "_"))
        if isinstance(default, (tuple, float)):
            default = " ".join(map(str, default)) if isinstance(default, tuple) else f"{default:g}"
        right = settings.expected(kind, defaults.expected)
        lines += [f"  --{name:16} {purpose}", f"  {'':18} {right}; default {default or 'none'}"]
    return SETTINGS + "\n".join(lines)
