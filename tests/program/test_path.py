"""The path of one connection imports only its own modules, and stays small."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

TREE = Path(__file__).parents[2]

# The top of the package has the path of one connection, and branches that are imported on demand.
BRANCHES = {"certificate", "tls", "jsonline", "fault", "invalid", "misuse"}
OURS = {path.stem for path in (TREE / "null521").glob("[!_]*.py")} - BRANCHES
# Built in, frozen, or already loaded by the interpreter, so they cost almost nothing.
CHEAP = {"posix", "sys", "_stat", "time", "select", "_socket", "_signal"}


def imported(launcher: Path, *flags: str) -> set[str]:
    """All modules that one run imports, without those of an empty script."""
    empty, names = (
        subprocess.run(
            [sys.executable, "-I", "-S", "-X", "importtime", *words],
            input=b"EHLO x\r\nMAIL FROM:<a@b>\r\nQUIT\r\n",
            capture_output=True,
            check=True,
        ).stderr.decode()
        for words in (["/dev/null"], [str(launcher), *flags])
    )
    module = re.compile(r"^import time: .*\| +(\S+)$", re.M)
    return set(module.findall(names)) - set(module.findall(empty))


@pytest.mark.parametrize("log", ["none", "stderr", "syslog"])
@pytest.mark.parametrize("stage", ["greeting", "rcpt"])
def test_one_connection_imports_only_its_path(launcher: Path, stage: str, log: str) -> None:
    modules = imported(launcher, f"--refuse-at={stage}", f"--log={log}")
    assert modules - CHEAP == {"null521"} | {f"null521.{name}" for name in OURS}


def test_the_json_log_alone_imports_json(launcher: Path) -> None:
    assert "json" in imported(launcher, "--log=json")


def test_the_path_of_one_connection_is_small() -> None:
    """Lines of code, without blank ones, comments and docstrings."""
    text = "".join((TREE / "null521" / f"{name}.py").read_text() for name in OURS)
    text = re.sub(r'"""(?:.|\n)*?"""', "", text)
    lines = [line for line in text.splitlines() if line.strip() and line.strip()[0] != "#"]
    assert len(lines) < 650
