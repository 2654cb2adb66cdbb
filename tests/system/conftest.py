"""System tests run the program in its real surroundings; their namespaces need root."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.namespaces import Journald


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip all tests below this folder unless root runs them."""
    if os.geteuid() == 0:
        return
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.skip(reason="tests/system needs root: see `make test`"))


@pytest.fixture
def journald(tmp_path: Path) -> Iterator[Journald]:
    """A journald for this test alone."""
    with Journald(tmp_path / "journald") as running:
        yield running
