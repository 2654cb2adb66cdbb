"""Tests of the units start no process: it would cost time, and need more than the package."""

import sys
from collections.abc import Iterator

import pytest

STARTS = ("os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.system", "subprocess.Popen")
_forbidden = False


def _audit(event: str, _: object) -> None:
    if _forbidden and event in STARTS:
        raise AssertionError(f"{event} in a test of a unit")


sys.addaudithook(_audit)


@pytest.fixture(autouse=True)
def no_process() -> Iterator[None]:
    """Fail whoever starts one: PEP 578."""
    global _forbidden
    _forbidden = True
    yield
    _forbidden = False
