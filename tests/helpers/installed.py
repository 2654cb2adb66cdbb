"""The program as `make install` installs it, for tests and benchmarks."""

import importlib.util
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

from helpers.program import TREE


def install(prefix: Path) -> Path:
    """Run `make install` for the Python that runs the tests; return the path of the launcher.

    With a DESTDIR, as for a package, it changes nothing outside the prefix.
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
    # The installation includes bytecode.
    unwanted = ("PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX")
    subprocess.run(
        ["make", "install", *(f"{name}={value}" for name, value in places.items())],
        cwd=TREE,
        check=True,
        stdout=subprocess.DEVNULL,
        env={k: v for k, v in os.environ.items() if k not in unwanted},
    )
    return prefix / "bin" / "null521"
