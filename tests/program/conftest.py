"""Clients of the program, by each of its drivers."""

import functools
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.program import SERVE, SERVE_WITHOUT_UVLOOP, Driver, Servers, answered


@pytest.fixture(scope="module", params=["handler", "serve", "serve without uvloop"])
def driver(request: pytest.FixtureRequest, launcher: Path) -> Iterator[Driver]:
    """What answers a client by its flags, in one of the ways in which the program can be run."""
    if request.param == "handler":
        yield functools.partial(answered, launcher)
        return
    with Servers(SERVE if request.param == "serve" else SERVE_WITHOUT_UVLOOP) as servers:
        yield servers.answered
