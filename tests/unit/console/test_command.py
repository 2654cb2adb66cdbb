"""Usage errors, and standard output that cannot be written."""

import io
import sys

import pytest

from null521.console.command import Parser, flushed_stdout


def parser() -> Parser:
    options = Parser("null521 test", "What it does.", "Exit status: 0.")
    options.add_argument("--number", type=int)
    return options


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--number=x"], "argument --number: invalid int value: 'x'"),
        (["--num=1"], "unrecognized arguments: --num=1"),
        (["a\nb", "c"], "unrecognized arguments: a b c"),
    ],
)
def test_a_usage_error_is_one_line(
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    with pytest.raises(SystemExit) as exit:
        parser().parse_args(arguments)
    assert exit.value.code == 64
    line = f"null521 test: {message}; see null521 test --help\n"
    assert capsys.readouterr() == ("", line)


def test_a_usage_error_with_standard_error_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    with pytest.raises(SystemExit) as exit:
        parser().error("why")
    assert exit.value.code == 64


def test_help_does_not_depend_on_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    wide = parser().help()
    monkeypatch.setenv("COLUMNS", "20")
    assert parser().help() == wide
    assert wide.startswith("usage: null521 test ")
    assert "\n\nWhat it does.\n\n" in wide
    assert wide.endswith("\n\nExit status: 0.")


class Full(io.StringIO):
    """A standard output without room for what was printed, as long as it is that."""

    closings = 0

    def flush(self) -> None:
        if sys.stdout is self:
            raise OSError(28, "No space left on device")

    def close(self) -> None:
        self.closings += 1
        self.flush()


def test_output_that_cannot_be_flushed(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is closed, so that Python does not try again at exit; the error is the first one."""
    full = Full()
    monkeypatch.setattr(sys, "stdout", full)
    with pytest.raises(OSError, match="No space"), flushed_stdout():
        print("text")
    assert full.closings == 1


def test_output_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    full = Full()
    monkeypatch.setattr(sys, "stdout", full)
    with pytest.raises(BrokenPipeError), flushed_stdout():
        raise BrokenPipeError
    assert full.closings == 1


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_other_errors_leave_it_open(
    monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    full = Full()
    monkeypatch.setattr(sys, "stdout", full)
    with pytest.raises(error), flushed_stdout():
        raise error
    assert full.closings == 0


def test_standard_output_that_was_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    with flushed_stdout():
        print("text")
    with pytest.raises(OSError, match="x"), flushed_stdout():
        raise OSError("x")


def test_output_is_flushed(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, write_through=False))
    with flushed_stdout():
        print("text")
        assert raw.getvalue() == b""
    assert raw.getvalue() == b"text\n"
