"""What --help and --version print."""

import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

from null521 import __version__, cli, invalid, settings
from null521.console import usage
from null521.serve import settings as serving


def test_help_lists_the_subcommands() -> None:
    said = usage.text()
    assert said.startswith("usage: null521 ")
    for name, purpose in cli.SUBCOMMANDS.items():
        assert [name, *purpose.split()] in [line.split() for line in said.splitlines()]


@pytest.mark.parametrize("name", cli.SUBCOMMANDS)
def test_each_subcommand_has_its_own_help(name: str) -> None:
    said = usage.text(name)
    assert said == import_module(f"null521.{name}.cli").help()
    assert said.startswith(f"usage: null521 {name} ")
    assert said == said.rstrip()
    assert "\n\nExit status: 0" in said or "\nExit status: 0" in said


def test_a_new_subcommand(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is in the help as soon as it is in SUBCOMMANDS, and has a door."""
    door = ModuleType("null521.extra.cli")
    door.help = lambda: "usage: null521 extra"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "null521.extra", ModuleType("null521.extra"))
    monkeypatch.setitem(sys.modules, "null521.extra.cli", door)
    assert usage.text("extra") == usage.text()
    monkeypatch.setitem(cli.SUBCOMMANDS, "extra", "do more")
    assert usage.text("extra") == "usage: null521 extra"
    assert "  extra    do more\n" in usage.text()


@pytest.mark.parametrize("defaults", [settings.read([], {}), serving.read([], {})])
def test_the_table_of_settings(defaults: settings.Settings) -> None:
    said = usage.settings_table(defaults)
    words = [line.strip() for line in said.splitlines()]
    options = [line for line in words if line.startswith("--")]
    purposes = {name: purpose for name, (_, purpose) in defaults.table.items()}
    assert options == [f"--{name:16} {purpose}" for name, purpose in purposes.items()]
    valid = [words[words.index(option) + 1] for option in options]
    for name, line in zip(purposes, valid, strict=True):
        expected = invalid.expected(defaults.table[name][0])
        assert line.startswith(f"{expected}; default ")


def test_defaults_as_a_user_would_set_them() -> None:
    """Numbers without ".0", several values with blanks between them, "none" for nothing."""
    defaults = serving.read(["--listen=*:25", "--listen=*:26"], {})
    said = usage.settings_table(defaults)
    assert "; default *:25 *:26\n" in said
    assert "seconds, more than 0 and at most 3600; default 30\n" in said
    assert "the path of a PEM file, or nothing; default none\n" in said
    assert "default 0.0" not in said


@pytest.mark.parametrize(("flag", "subcommand"), [("--help", ""), ("-h", "check")])
def test_help_is_printed(capsys: pytest.CaptureFixture[str], flag: str, subcommand: str) -> None:
    assert usage.show(flag, subcommand) == 0
    assert capsys.readouterr() == (usage.text(subcommand) + "\n", "")


def test_output_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    with Path("/dev/full").open("w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert usage.show("--version") == 1
    assert full.closed


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert usage.show("--version", "serve") == 0
    assert capsys.readouterr() == (f"null521 {__version__}\n", "")
