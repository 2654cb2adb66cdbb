"""What all tests share: the installed program, and skips that count as failures in CI."""

import fcntl
import os
import secrets
import socket
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from helpers.installed import install
from helpers.program import TREE
from hypothesis import HealthCheck, configuration, settings

# Users do not set it, and it changes when a failed write is noticed.
os.environ.pop("PYTHONUNBUFFERED", None)

# By another name, because each program started here would warn of a variable that is no setting.
if "NULL521_TESTS_MUST_RUN" in os.environ:
    os.environ["TESTS_MUST_RUN"] = os.environ.pop("NULL521_TESTS_MUST_RUN")

# No examples are kept between runs, and hypothesis's own files go below build/, so that a run adds
# nothing to the tree. In CI, a run judges a change, so its examples follow from the code; all
# others look for new ones. `make check` uses the quick profile.
settings.register_profile(
    "null521",
    database=None,
    deadline=None,
    derandomize="TESTS_MUST_RUN" in os.environ,
    suppress_health_check=[HealthCheck.too_slow],  # a busy machine
)
settings.register_profile("quick", settings.get_profile("null521"), max_examples=20)
settings.load_profile("null521")
configuration.set_hypothesis_home_dir(TREE / "build" / "hypothesis")


@pytest.fixture(scope="session")
def launcher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The installed launcher, as a superserver starts it, in a directory readable by all."""
    if "PYTEST_XDIST_WORKER" in os.environ:  # the first worker installs it for all
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
def port() -> Iterator[int]:
    """A free port of 127.0.0.1, below those that the kernel gives to other tests: ip(7).

    A name in the abstract namespace of unix(7) keeps it from other tests for as long as this one.
    """
    for _ in range(100):
        number = 10000 + secrets.randbelow(20000)  # hypothesis seeds random alike in all workers
        with socket.socket(socket.AF_UNIX) as claim:
            try:
                claim.bind(f"\0null521-tests-port-{number}")
                socket.create_server(("127.0.0.1", number)).close()
            except OSError:
                continue
            yield number
            return
    raise OSError("no free port from 10000 to 29999")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With NULL521_TESTS_MUST_RUN set, as in CI, count a skipped test as failed."""
    report = yield
    if report.skipped and os.environ.get("TESTS_MUST_RUN"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped: {report.longrepr}"
    return report
