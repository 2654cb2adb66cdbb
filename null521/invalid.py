"""What is said of a setting that is invalid or unknown, and what takes its place.

Imported only once there is one, and by --help. It knows each kind of value in words, and whose
variables begin like ours. It must not know where the line goes.
"""

import re
from collections.abc import Collection

from null521.settings import MAX_NAME, MAX_NUMBER, MAX_SECONDS, MAX_TEXT, Settings

# Kubernetes makes these for a Service whose name begins with ours, as Docker's links do:
# https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
KUBERNETES = re.compile(
    r"NULL521_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)"
)
PREFIX = "NULL521_"
MAX_UNKNOWN = 8  # variables named
LIKENESS = 0.75  # of difflib; the words "serve" and "server" have 0.91

EXPECTED = {
    "name": f"1 to {MAX_NAME} printable ASCII characters, none of them blank",
    "text": f"one line of 1 to {MAX_TEXT} printable ASCII characters",
    "seconds": f"seconds, more than 0 and at most {MAX_SECONDS}",
    "number": f"a whole number from 1 to {MAX_NUMBER}",
    "path": "the path of a PEM file, or nothing",
    # Of `null521 serve` alone.
    "places": "ADDRESS:PORT, [ADDRESS]:PORT, *:PORT for all addresses, or /PATH; or several",
    "place": "ADDRESS:PORT, [ADDRESS]:PORT, *:PORT for all addresses, or nothing",
    "seconds or 0": f"seconds, at most {MAX_SECONDS}",
    "number or 0": f"a whole number, at most {MAX_NUMBER}",
    "networks": "IP addresses or networks, as 192.0.2.1 or 2001:db8::/32, or nothing",
}


def replace(settings: Settings, name: str, source: str, given: str) -> None:
    """Say that a value is invalid; source: the flag or variable that gave it.

    The default stays, but whoever sets a stage does not want the default, which is that of the
    draft; "rcpt" works with all senders.
    """
    if name == "refuse-at":
        settings.refuse_at = "rcpt"
    settings.faults.append(value(source, given, settings.table[name][0]))


def value(source: str, given: str, kind: str | tuple[str, ...]) -> str:
    """One line of printable ASCII on a value."""
    return f"{source} is {_shown(given)}, but should be {expected(kind)}"


def option(word: str, program: str) -> str:
    """The same on a word of the command line of that program."""
    return f"{_shown(word)} is not an option; see {program} --help"


def variables(names: list[str], known: Collection[str]) -> list[str]:
    """A line for each variable that is no setting, nor one of Kubernetes. known: the settings."""
    lines = []
    for name in [name for name in names if not KUBERNETES.fullmatch(name)][:MAX_UNKNOWN]:
        # Without the beginning, which would make them all alike.
        word = name.removeprefix(PREFIX).upper()
        if near := nearest(word, [_variable(one) for one in known]):
            meant = f"is not a setting; did you mean {PREFIX}{near}?"
        elif word in map(_variable, _of_server()):
            meant = "is a setting of null521 serve only"
        else:
            meant = "is not a setting; see null521 --help"
        lines.append(f"{_shown(name)} {meant}")
    return lines


def _variable(name: str) -> str:
    return name.upper().replace("-", "_")


def _of_server() -> Collection[str]:
    from null521.serve.settings import MORE  # slow to import

    return MORE


def nearest(word: str, known: Collection[str]) -> str:
    """The one of the known words that is meant, if that is clear; otherwise ""."""
    from difflib import get_close_matches  # slow to import

    return next(iter(get_close_matches(word[:60], known, 1, LIKENESS)), "")


def expected(kind: str | tuple[str, ...]) -> str:
    """A valid value of that kind, in words."""
    return EXPECTED[kind] if isinstance(kind, str) else "one of " + ", ".join(kind)


def _shown(given: str) -> str:
    text = ascii(given[:60])
    return text if len(text) <= 60 else text[:57] + "..."
