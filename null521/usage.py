"""What --help and --version print.

It knows how to lay out the table of settings. The path of a connection must not import it.
"""

from null521 import __version__
from null521.settings import TABLE, expected, read

HEAD = """\
usage: null521 [--SETTING=VALUE ...]

Answer one connection on standard input and output as a host that takes no mail does:
521 to all, as RFC 7504 has it. Started by systemd, inetd, xinetd or tcpserver.

Settings, each also taken from the environment (--refuse-at is NULL521_REFUSE_AT):
"""

TAIL = """

Exit status: 0; 78 if a setting or what was handed over is no good (the client gets its 521)."""


def show(flag: str) -> int:
    """Print what the flag asks for on standard output; return the exit status."""
    try:
        print(f"null521 {__version__}" if flag == "--version" else help_text(), flush=True)
    except OSError:  # nobody reads it, or there is no room
        return 1
    return 0


def help_text() -> str:
    """The text of --help, from the one table of settings."""
    defaults = read([], {})
    lines = []
    for name, (kind, purpose) in TABLE.items():
        default = getattr(defaults, name.replace("-", "_"))
        lines += [f"  --{name:16} {purpose}", f"  {'':18} {expected(kind)}; default {default}"]
    return HEAD + "\n".join(lines) + TAIL
