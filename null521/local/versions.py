"""The versions of everything that null521 depends on here, as a report of a fault needs them.

It knows where each is to be found. It must not know what they are for.
"""

import os
import platform
from importlib.util import find_spec

import null521
from null521.local import programs
from null521.local.parts import shown

LIBRARIES = ("systemd", "uvloop", "prometheus_client", "dns", "rich")


def look(booted: bool) -> dict[str, str]:
    """By name; "" for what is not there."""
    system = os.uname()
    return {
        "null521": f"{null521.__version__}, in {shown(os.path.dirname(null521.__file__))}",
        "python": platform.python_version(),
        "libraries": ", ".join(filter(_is_there, LIBRARIES)),
        "systemd": _systemd() if booted else "",
        "openssl": _openssl(),
        "kernel": shown(f"{system.sysname} {system.release} {system.machine}"),
        "release": _release(),
    }


def _is_there(library: str) -> bool:
    try:
        return find_spec(library) is not None
    except (ImportError, ValueError):
        return False


def _systemd() -> str:
    text, _ = programs.output("systemctl", "--version")
    first = text.partition("\n")[0]
    return shown(first.removeprefix("systemd "))


def _openssl() -> str:
    try:
        import ssl
    except ImportError:  # this Python was built without
        return ""
    return shown(ssl.OPENSSL_VERSION)


def _release() -> str:
    try:
        return shown(platform.freedesktop_os_release().get("PRETTY_NAME", ""))
    except (OSError, ValueError):  # ValueError: not UTF-8
        return ""
