"""Entries of the journal, as journalctl prints them."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from null521.local import journal
from null521.record import REFUSED

OURS = {
    "__REALTIME_TIMESTAMP": "2000000",
    "MESSAGE_ID": REFUSED,
    "MESSAGE": "Refused ::1 (h.example); quit after 3 commands, 0.001 s",
    "NULL521_CLIENT": "::1",
}
PLAIN = {"__REALTIME_TIMESTAMP": "2000000", "MESSAGE": "null521: Refused ::1 (h); quit"}


def test_lines_that_are_no_objects_are_left_out() -> None:
    lines = ["{", "[]", "3", json.dumps(OURS), "", "[" * 100_000]
    assert journal.parse_entries("\n".join(lines)) == [OURS]


@pytest.mark.parametrize(
    ("entry", "is_it"),
    [
        pytest.param(OURS, True, id="with fields"),
        pytest.param(PLAIN, True, id="without fields"),
        pytest.param(OURS | {"NULL521_CLIENT": "192.0.2.1"}, False, id="another client"),
        pytest.param(OURS | {"NULL521_CLIENT": ["::1"]}, False, id="a list"),
        pytest.param(OURS | {"__REALTIME_TIMESTAMP": "1999999"}, False, id="before"),
        pytest.param(OURS | {"__REALTIME_TIMESTAMP": "9" * 9999}, True, id="far in the future"),
        pytest.param(OURS | {"__REALTIME_TIMESTAMP": None}, False, id="no time"),
        pytest.param(PLAIN | {"MESSAGE": [1, 2]}, False, id="octets"),
        pytest.param(PLAIN | {"MESSAGE": "Refused ::12 (h)"}, False, id="a longer address"),
    ],
)
def test_the_entry_of_a_connection(entry: dict[str, object], is_it: bool) -> None:
    assert journal.is_of(entry, ["::1", "127.0.0.1"], since=2.0) is is_it


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """Folders of the journal that are not the host's, by kind."""
    machine_id = tmp_path / "machine-id"
    machine_id.write_text(f"{521:032x}\n")
    monkeypatch.setattr(journal, "MACHINE_ID", machine_id)
    parents = {kind: tmp_path / kind for kind in journal.FOLDERS}
    monkeypatch.setattr(journal, "FOLDERS", parents)
    return {kind: parent / f"{521:032x}" for kind, parent in parents.items()}


def write(folder: Path, at: float) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "system.journal"
    file.touch()
    os.utime(file, (at, at))
    os.utime(folder, (1, 1))  # entries do not change it


def test_no_folder_of_the_journal(folders: dict[str, Path]) -> None:
    assert journal.storage() == []


@pytest.mark.parametrize("used", list(journal.FOLDERS))
def test_the_folder_in_use_is_the_one_written_last(folders: dict[str, Path], used: str) -> None:
    """The other is left from other settings of journald."""
    for kind, folder in folders.items():
        write(folder, 3 if kind == used else 2)
    first, second = journal.storage()
    assert (first.kind, first.folder) == (used, str(folders[used]))
    assert (first.written, second.written) == (3, 2)


def test_a_folder_without_its_file_was_written_when_it_changed(folders: dict[str, Path]) -> None:
    """As after journald has moved what it had in /run to /var."""
    write(folders["persistent"], 5)
    folders["volatile"].mkdir(parents=True)
    os.utime(folders["volatile"], (4, 4))
    assert [one.kind for one in journal.storage()] == ["persistent", "volatile"]


VALUES = st.none() | st.text() | st.lists(st.integers())


@given(st.dictionaries(st.sampled_from(list(OURS)), VALUES))
def test_no_entry_is_an_exception(entry: dict[str, object]) -> None:
    journal.is_of(entry, ["::1"], since=2.0)
