"""The program as `make install` lays it down, for tests and benchmarks."""

import importlib.util
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

from helpers.program import TREE


def install(prefix: Path) -> Path:
    """`make install` below the prefix, for the interpreter that runs the tests and its libraries.

    With a DESTDIR, as packages have it, so that nothing beyond the prefix is touched.
    """
    systemd = importlib.util.find_spec("systemd")
    site = sysconfig.get_path("purelib")
    if systemd and systemd.origin:
        site = str(Path(systemd.origin).parents[1])
    places = {
        "DESTDIR": "/",
        "PREFIX": prefix,
        "SYSCONFDIR": prefix / "etc",
        "PYTHON": sys._base_executable,  # type: ignore[attr-defined]
        "SITEDIR": site,
    }
    # Bytecode is a part of what is installed.
    unwanted = ("PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX")
    subprocess.run(
        ["make", "install", *(f"{name}={value}" for name, value in places.items())],
        cwd=TREE,
        check=True,
        stdout=subprocess.DEVNULL,
        env={k: v for k, v in os.environ.items() if k not in unwanted},
    )
    return prefix / "bin" / "null521"
