"""The schedules of mail servers against what those were seen to do.

The files in seen/ are what tests/system/senders/retries.py wrote. docs/senders.md shows the same.
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from null521.report.schedules import ENOUGH, matching

SHOWN = 9  # gaps in the document
SEEN = sorted((Path(__file__).parent / "seen").glob("*.json"))
DOCUMENT = (Path(__file__).parents[3] / "docs" / "senders.md").read_text()
RUNS = [json.loads(path.read_text()) for path in SEEN]
RETRIES = [
    pytest.param(seen, id=f"{run['faster']} times as fast: {seen['sender']}, {seen['refused']}")
    for run in RUNS
    for seen in run["seen"]
    if len(seen["gaps"]) >= ENOUGH
]


@pytest.mark.parametrize("seen", RETRIES)
def test_each_sender_is_named_by_what_it_was_seen_to_do(seen: dict[str, Any]) -> None:
    """From the first gap on, and by any three in a row."""
    gaps, name = seen["gaps"], seen["sender"].split()[0]
    assert list(matching(gaps)) == seen["names"]
    assert any(name in found for found in seen["names"])
    for first in range(len(gaps) - ENOUGH + 1):
        found = matching(gaps[first : first + ENOUGH])
        assert any(name in each for each in found), gaps[first:]


def test_every_kind_of_sender_was_seen() -> None:
    names = {re.match(r"\w+", each.values[0]["sender"])[0] for each in RETRIES}  # type: ignore
    assert names == {"Postfix", "Exim", "OpenSMTPD", "sendmail"}


@pytest.mark.parametrize("run", RUNS, ids=lambda run: str(run["faster"]))
def test_the_document_shows_what_was_seen(run: dict[str, Any]) -> None:
    for seen in run["seen"]:
        gaps = ", ".join(map(str, seen["gaps"][:SHOWN]))
        assert f"| {seen['sender']} | {seen['refused']} | {seen['bounced']} | {gaps}" in DOCUMENT
