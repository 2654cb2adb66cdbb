"""Where the administrator is told that something is wrong."""

import os
import posix

import pytest

from null521 import log, misuse
from null521.record import of_fault
from null521.settings import Settings


def journal_stream(monkeypatch: pytest.MonkeyPatch, value: bytes) -> None:
    monkeypatch.setitem(posix.environ, b"JOURNAL_STREAM", value)


def own() -> bytes:
    stderr = os.fstat(2)
    return f"{stderr.st_dev}:{stderr.st_ino}".encode()


def test_only_the_stream_itself_is_the_journal(monkeypatch: pytest.MonkeyPatch) -> None:
    journal_stream(monkeypatch, own())
    assert misuse.is_journal()
    journal_stream(monkeypatch, own() + b"1")
    assert not misuse.is_journal()
    monkeypatch.delitem(posix.environ, b"JOURNAL_STREAM")
    assert not misuse.is_journal()


def test_standard_error_is_not_told_twice(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(log.WRITERS, "journal", lambda record: True)
    journal_stream(monkeypatch, own())
    misuse.warn("journal", of_fault("one"))
    assert capfd.readouterr().err == ""
    journal_stream(monkeypatch, b"1:1")  # of the desktop that has started the terminal
    misuse.warn("journal", of_fault("two"))
    assert capfd.readouterr().err == "null521: two\n"


def test_warnings_come_before_faults(capfd: pytest.CaptureFixture[str]) -> None:
    settings = Settings()
    settings.log = "none"
    settings.warnings, settings.faults = ["one"], ["two", "three"]
    misuse.tell(settings)
    assert capfd.readouterr().err == "null521: one\nnull521: two\nnull521: three\n"
