"""The order of the places to which a record may go."""

from typing import Any

import pytest

from null521 import log as journal
from null521.record import REFUSED, Record
from null521.serve.log import SENDERS


def test_places_are_tried_in_order_and_only_until_one_takes_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tried: list[str] = []

    def writer(name: str, accepts: bool) -> Any:
        def write(record: Record) -> bool:
            tried.append(name)
            return accepts

        return write

    monkeypatch.setitem(journal.PLACES, "auto", ("a", "b", "c"))
    for name in "abc":
        monkeypatch.setitem(journal.WRITERS, name, writer(name, name != "a"))
    journal.write("auto", Record(REFUSED, 6, "x", []))
    assert tried == ["a", "b"]


def test_a_server_can_send_to_the_same_places() -> None:
    named = {place for places in journal.PLACES.values() for place in places}
    assert named == set(journal.WRITERS) == set(SENDERS)
