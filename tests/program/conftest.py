"""Clients of the program, with each of its drivers."""

import functools
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.program import SERVE, SERVE_WITHOUT_UVLOOP, Driver, Servers, answered


@pytest.fixture(scope="module", params=["handler", "serve", "serve without uvloop"])
def driver(request: pytest.FixtureRequest, launcher: Path) -> Iterator[Driver]:
    """A function that connects a client to the program with some flags, for one driver."""
    if request.param == "handler":
        yield functools.partial(answered, launcher)
        return
    with Servers(SERVE if request.param == "serve" else SERVE_WITHOUT_UVLOOP) as servers:
        yield servers.answered
