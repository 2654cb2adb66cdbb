"""Packages for distributions: build one, build an older one, and see what is left of it.

It must not know how a package is installed.
"""

import shutil
import subprocess
from pathlib import Path
from typing import Any

from helpers.namespaces import TREE, Systemd
from null521 import __version__


def build(kind: str, tree: Path, into: Path, **options: Any) -> Path:
    """The package that `make deb` or `make rpm` makes of a tree, in that folder."""
    words = ["make", "-s", "-C", str(tree), kind, f"{kind.upper()}={into}"]
    subprocess.run(words, check=True, capture_output=True, **options)
    (package,) = into.glob(f"*.{kind}")
    return package


def copy_as(version: str, tree: Path, *files: str) -> None:
    """Copy this tree into a folder, with a module more, as another version.

    files: where the version stands besides null521/__init__.py.
    """
    ignored = shutil.ignore_patterns("build", ".*", "__pycache__")
    shutil.copytree(TREE, tree, ignore=ignored, dirs_exist_ok=True)
    (tree / "null521/gone.py").touch()
    for name in (*files, "null521/__init__.py"):
        text = (tree / name).read_text()
        assert __version__ in text
        (tree / name).write_text(text.replace(__version__, version, 1))


def everything(systemd: Systemd, *more: str) -> set[str]:
    """The paths of all files that a package could lay down; more: other folders to look at."""
    words = ["find", "/etc", "/opt", "/root", "/usr", "/var", *more]
    # Not what other services make meanwhile: logind, say, which rpm asks to delay a shutdown.
    for other in ("/var/log/journal", "/var/lib/systemd/linger", "/var/tmp/systemd-private-*"):
        words += ["-path", other, "-prune", "-o"]
    words += ["-print"]
    return set(systemd.run(words, check=False, capture_output=True).stdout.decode().splitlines())
