"""Tests of the program in its real surroundings need root, for namespaces."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.namespaces import Journald


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip all that is below this folder, if it is run by somebody else."""
    if os.geteuid() == 0:
        return
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.skip(reason="tests/system needs root: see `make test`"))


@pytest.fixture
def journald(tmp_path: Path) -> Iterator[Journald]:
    """A journald of its own."""
    with Journald(tmp_path / "journald") as running:
        yield running
