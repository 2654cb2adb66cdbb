"""What all tests share: the program as installed, and skips that count as failures in CI."""

import fcntl
import importlib.util
import os
import socket
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from helpers.program import TREE
from hypothesis import configuration, settings

# Users do not have it set, and with it, what cannot be written shows at another time.
os.environ.pop("PYTHONUNBUFFERED", None)

# No examples are kept between runs, and what hypothesis keeps for itself is below build/, so that a
# run leaves nothing behind in the tree. `make check` takes the quick profile.
settings.register_profile("null521", database=None, deadline=None)
settings.register_profile("quick", database=None, deadline=None, max_examples=20)
settings.load_profile("null521")
configuration.set_hypothesis_home_dir(TREE / "build" / "hypothesis")


def install(prefix: Path) -> Path:
    """`make install` below the prefix, for the interpreter that runs the tests and its libraries.

    With a DESTDIR, as packages have it, so that nothing beyond the prefix is touched.
    """
    systemd = importlib.util.find_spec("systemd")
    site = sysconfig.get_path("purelib")
    if systemd and systemd.origin:
        site = str(Path(systemd.origin).parents[1])
    places = {
        "DESTDIR": "/",
        "PREFIX": prefix,
        "SYSCONFDIR": prefix / "etc",
        "PYTHON": sys._base_executable,  # type: ignore[attr-defined]
        "SITEDIR": site,
    }
    # Bytecode is a part of what is installed.
    unwanted = ("PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX")
    subprocess.run(
        ["make", "install", *(f"{name}={value}" for name, value in places.items())],
        cwd=TREE,
        check=True,
        stdout=subprocess.DEVNULL,
        env={k: v for k, v in os.environ.items() if k not in unwanted},
    )
    return prefix / "bin" / "null521"


@pytest.fixture(scope="session")
def launcher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The installed launcher, as a superserver starts it, where all users may read it."""
    if "PYTEST_XDIST_WORKER" in os.environ:  # one for all workers, made by the first
        prefix = tmp_path_factory.getbasetemp().parent / "installed"
        with open(f"{prefix}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not prefix.exists():
                install(prefix)
        yield prefix / "bin" / "null521"
        return
    with tempfile.TemporaryDirectory(prefix="null521-") as folder:
        Path(folder).chmod(0o755)
        yield install(Path(folder))


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
