"""What all tests share: the program as installed, and skips that count as failures in CI."""

import functools
import os
import socket
import subprocess
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from helpers.namespaces import PYTHON, TREE, Journald, site
from helpers.program import SERVE, SERVE_WITHOUT_UVLOOP, Driver, Servers, answered
from hypothesis import settings

# Users do not have it set, and with it, what cannot be written shows at another time.
os.environ.pop("PYTHONUNBUFFERED", None)

# No examples are kept between runs, so that a run leaves nothing behind in the tree.
settings.register_profile("null521", database=None, deadline=None)
settings.load_profile("null521")


def install(prefix: Path) -> Path:
    """`make install` below the prefix, for the interpreter that runs the tests."""
    places = {
        "PREFIX": prefix,
        "SYSCONFDIR": prefix / "etc",
        "PYTHON": PYTHON,
        "SITEDIR": site(),
    }
    subprocess.run(
        ["make", "install", *(f"{name}={value}" for name, value in places.items())],
        cwd=TREE,
        check=True,
        stdout=subprocess.DEVNULL,
        env={k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"},
    )
    return prefix / "bin" / "null521"


@pytest.fixture(scope="session")
def launcher() -> Iterator[Path]:
    """The installed launcher, as a superserver starts it, where all users may read it."""
    with tempfile.TemporaryDirectory(prefix="null521-") as prefix:
        Path(prefix).chmod(0o755)
        yield install(Path(prefix))


@pytest.fixture(scope="module", params=["handler", "serve", "serve without uvloop"])
def driver(request: pytest.FixtureRequest, launcher: Path) -> Iterator[Driver]:
    """What answers a client by its flags, in one of the ways in which the program can be run."""
    if request.param == "handler":
        yield functools.partial(answered, launcher)
        return
    with Servers(SERVE if request.param == "serve" else SERVE_WITHOUT_UVLOOP) as servers:
        yield servers.answered


@pytest.fixture
def journald(tmp_path: Path) -> Iterator[Journald]:
    """A journald of its own."""
    with Journald(tmp_path / "journald") as running:
        yield running


@pytest.fixture
def port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        number: int = server.getsockname()[1]
    return number


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With NULL521_TESTS_MUST_RUN set, as in CI, a test that skips has failed."""
    report = yield
    if report.skipped and os.environ.get("NULL521_TESTS_MUST_RUN"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped: {report.longrepr}"
    return report
