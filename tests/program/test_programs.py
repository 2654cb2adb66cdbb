"""What `check --local` takes from other programs, which may hang, or print without end."""

import time
from pathlib import Path

import pytest

from null521.local import programs
from null521.local.programs import MAX_OCTETS, output


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where to put a shell script that is then found by the name "systemctl"."""
    monkeypatch.setenv("PATH", f"{tmp_path}:{programs.FOLDERS}")
    path = tmp_path / "systemctl"
    path.touch(mode=0o755)
    return path


def write(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")


def test_what_a_program_prints(program: Path) -> None:
    write(program, 'echo "$@"; echo "$LC_ALL $SYSTEMD_COLORS"; echo no >&2; cat')
    assert output("systemctl", "a b", "c") == ("a b c\nC.UTF-8 0\n", "")


def test_it_is_not_installed() -> None:
    assert output("null521-no-such-program") == ("", "null521-no-such-program is not installed")


def test_it_cannot_be_started(program: Path) -> None:
    program.write_text("#!/null521-no-such-shell\n")
    assert output("systemctl").trouble.startswith("systemctl cannot be started: ")


def test_it_fails(program: Path) -> None:
    write(program, "echo x; printf 'first\\nFailed to \\033[2Jconnect\\n' >&2; exit 3")
    assert output("systemctl") == ("x\n", "systemctl: Failed to \\x1b[2Jconnect")
    write(program, "exit 3")
    assert output("systemctl").trouble == "systemctl: exit status 3"


@pytest.mark.parametrize(
    "script",
    [
        pytest.param("echo x; exec sleep 60", id="itself"),
        pytest.param("echo x; sleep 60 & exit 0", id="a child that keeps its output"),
        pytest.param("echo x; exec >&- 2>&-; exec sleep 60", id="without output"),
    ],
)
def test_it_hangs(program: Path, script: str) -> None:
    write(program, script)
    start = time.monotonic()
    text, trouble = output("systemctl", timeout=2)
    assert time.monotonic() - start < 20  # no more than the machine is slow
    assert text == "x\n"
    assert trouble in ("systemctl does not answer", "systemctl does not end")


def test_it_prints_without_end(program: Path) -> None:
    write(program, "exec yes")
    text, trouble = output("systemctl", timeout=20)
    assert len(text) == MAX_OCTETS
    assert trouble == f"systemctl prints more than {MAX_OCTETS} octets"


def test_what_is_not_utf_8(program: Path) -> None:
    write(program, "printf 'a\\377b'")
    assert output("systemctl").text == r"a\xffb"
