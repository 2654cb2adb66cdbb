"""Wheel and source archive, as `make dist` builds them: their contents, and that these work."""

import os
import re
import socket
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
from helpers.namespaces import TEST_TIMEOUT, TREE

from null521 import __version__

# The unit tests, and a few tests of the program as installed from the archive.
ARCHIVE_TESTS = (
    "unit",
    "program/test_path.py",
    "program/test_drivers.py::test_transcript",
    "system/test_man.py",
    "system/test_install.py::test_install_for_a_package_and_uninstall",
)


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of both; `make dist` fails if twine rejects one."""
    folder = tmp_path_factory.mktemp("dist")
    words = ["make", "-s", "dist", f"DIST={folder}"]
    subprocess.run(words, cwd=TREE, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def source(dist: Path) -> Path:
    """The source archive, unpacked."""
    archive = dist / f"null521-{__version__}.tar.gz"
    subprocess.run(["tar", "-xf", str(archive)], cwd=dist, check=True)
    return dist / f"null521-{__version__}"


def sources(tree: Path) -> set[str]:
    """The files of a tree, without those that tools generate."""
    found = set()
    for folder, folders, names in os.walk(tree):
        folders[:] = [name for name in folders if re.fullmatch(r"\.ci|\w[\w-]*", name)]
        folders[:] = [name for name in folders if name not in ("build", "__pycache__")]
        found |= {os.path.relpath(os.path.join(folder, name), tree) for name in names}
    return found - {".git"}


def test_the_source_archive_is_the_whole_tree(source: Path) -> None:
    assert sources(source) == sources(TREE) | {"PKG-INFO"}
    for name in ("scripts/prepare", "debian/rules", "units/certificate"):
        assert os.access(source / name, os.X_OK)


def test_the_tests_of_the_source_archive_pass(source: Path) -> None:
    """With the libraries of this Python, but nothing of this tree."""
    tests = (f"tests/{name}" for name in ARCHIVE_TESTS)
    words = [sys.executable, "-m", "pytest", "-q", *tests]
    done = subprocess.run(words, cwd=source, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_wheel_works_in_an_empty_environment(dist: Path, tmp_path: Path) -> None:
    (wheel,) = dist.glob("*.whl")
    modules = {str(path.relative_to(TREE)) for path in (TREE / "null521").rglob("*.py")}
    assert {"null521/session.py", "null521/serve/server.py"} <= modules
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {name for name in names if ".dist-info/" not in name} == modules

    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    pip = [str(tmp_path / "venv/bin/pip"), "install", "--quiet", "--no-index", str(wheel)]
    subprocess.run(pip, check=True)
    command = str(tmp_path / "venv/bin/null521")
    version = subprocess.run([command, "--version"], check=True, capture_output=True, text=True)
    assert version.stdout == f"null521 {__version__}\n"

    words = [command, "--hostname=h", "--log=none"]
    done = subprocess.run(words, input=b"QUIT\r\n", check=True, capture_output=True)
    assert done.stdout == b"521 h is configured NOT to accept any mail.\r\n221 h\r\n"

    place = tmp_path / "socket"
    words = [command, "serve", f"--listen={place}", "--hostname=h", "--log=none"]
    with subprocess.Popen(words) as serve, socket.socket(socket.AF_UNIX) as client:
        try:
            deadline = time.monotonic() + TEST_TIMEOUT
            while client.connect_ex(str(place)) and time.monotonic() < deadline:
                time.sleep(0.02)
            client.settimeout(TEST_TIMEOUT)
            assert client.recv(4096) == b"521 h is configured NOT to accept any mail.\r\n"
        finally:
            client.close()
            serve.terminate()
    assert serve.returncode == 0
