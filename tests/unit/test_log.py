"""The order of the places to which a record may go."""

from typing import Any

import pytest

from null521 import log as journal
from null521.record import REFUSED, Record


def test_places_are_tried_in_order_and_only_until_one_takes_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tried: list[str] = []

    def place(name: str, takes: bool) -> Any:
        def write(record: Record) -> bool:
            tried.append(name)
            return takes

        return write

    places = (place("a", False), place("b", True), place("c", True))
    monkeypatch.setitem(journal.PLACES, "auto", places)
    journal.write("auto", Record(REFUSED, 6, "x", []))
    assert tried == ["a", "b"]
