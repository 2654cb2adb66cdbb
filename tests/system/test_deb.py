"""The package for Debian: built, installed, used, upgraded and purged, under a real systemd."""

import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.host import CODES, active, dial, shown
from helpers.namespaces import TREE, Systemd
from helpers.packages import build, copy_as, everything

from null521 import __version__
from null521.record import REFUSED

NOBODY = 65534
PACKAGE = "/usr/lib/null521/null521"
OLDER = "0.0.1"


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("deb", TREE, tmp_path_factory.mktemp("deb"))


@pytest.fixture(scope="module")
def older() -> Iterator[Path]:
    """One of a lower version and with a module more, which a user without privileges has built."""
    with tempfile.TemporaryDirectory(prefix="null521-") as tree:
        copy_as(OLDER, Path(tree), "debian/changelog")
        for folder, _, names in os.walk(tree):
            for path in (folder, *(os.path.join(folder, name) for name in names)):
                os.chown(path, NOBODY, NOBODY)
        yield build("deb", Path(tree), Path(tree, "deb"), user=NOBODY, group=NOBODY)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Systemd]:
    with Systemd(tmp_path / "host") as host:
        # What an image for containers has: no manual pages, and nothing may be started.
        host.run(["rm", "-f", "/etc/dpkg/dpkg.cfg.d/docker", "/usr/sbin/policy-rc.d"])
        # An index of all manual pages on the host, each time: it takes the longest of all.
        host.run(["rm", "-f", "/var/lib/man-db/auto-update"])
        yield host


def dpkg(host: Systemd, *words: str) -> str:
    """What it says; it must not have to ask, nor find anything wrong afterwards."""
    said = host.run(["dpkg", *words], capture_output=True, stdin=subprocess.DEVNULL)
    assert host.output("dpkg", "--audit") == ""
    return said.stderr.decode()


def install(host: Systemd, package: Path) -> str:
    host.run(["tee", "/root/null521.deb"], input=package.read_bytes(), stdout=subprocess.DEVNULL)
    return dpkg(host, "--install", "/root/null521.deb")


def test_lintian(package: Path) -> None:
    words = ["lintian", "--allow-root", "--pedantic", "--display-info", str(package)]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    assert re.sub("(?m)^N: .*\n", "", done.stdout) + done.stderr == ""


def test_the_version_is_that_of_the_program(package: Path) -> None:
    assert package.name == f"null521_{__version__}-1_all.deb"


def test_from_installing_to_purging(host: Systemd, package: Path) -> None:
    before = everything(host, "/run/null521")
    assert "null521" not in install(host, package)
    assert host.output("null521", "--version") == f"null521 {__version__}\n"
    for page in (TREE / "docs" / "man").iterdir():
        assert "/usr/share/man/" in host.output("man", "--where", page.stem)
    # dpkg on a host without documentation leaves them out, so look into the package itself.
    listed = subprocess.run(["dpkg", "--contents", package], check=True, capture_output=True)
    for path in [*(TREE / "docs").glob("*.*"), *(TREE / "docs/prometheus").iterdir()]:
        name = f" ./usr/share/doc/null521/{path.relative_to(TREE)}\n"
        assert name.encode() in listed.stdout, "missing, or compressed"
    assert host.output("stat", "-c", "%a %U", "/etc/null521/tls-key.pem") == "600 root\n"
    modules = host.output("find", PACKAGE, "-name", "*.py").splitlines()
    assert len(host.output("find", PACKAGE, "-name", "*.pyc").splitlines()) == len(modules)

    for socket in ("null521.socket", "null521-serve.socket"):
        assert active(host, socket) == "inactive"
        assert shown(host, socket, "UnitFileState") == "disabled"
    host.run(["systemctl", "enable", "--quiet", "--now", "null521.socket"])
    assert dial(host)[1] == CODES
    host.wait_for(1, f"MESSAGE_ID={REFUSED}")
    said = host.output("null521", "report", "--csv", "--by=sender")
    assert said.splitlines()[1].startswith('"a@b.c","1",')

    host.run(["systemctl", "disable", "--quiet", "--now", "null521.socket"])
    host.run(["systemctl", "enable", "--quiet", "--now", "null521-serve.socket"])
    assert dial(host)[1] == CODES
    host.wait_for(2, f"MESSAGE_ID={REFUSED}")
    assert host.entries("-p", "warning", "-t", "null521") == []

    dpkg(host, "--remove", "null521")
    assert active(host, "null521-serve.service") == "inactive"
    assert host.output("ss", "-Hltn", "sport = 25") == ""
    assert host.output("ls", "/etc/null521").split() == ["tls-cert.pem", "tls-key.pem"]
    dpkg(host, "--purge", "null521")
    # What has come to the machine itself in the meantime, host shows too: it is a copy on write.
    left = {path for path in everything(host, "/run/null521") - before if not os.path.lexists(path)}
    assert left == {"/root/null521.deb"}
    assert "null521" not in host.output("systemctl", "list-unit-files")


def test_upgrading_while_it_answers(host: Systemd, package: Path, older: Path) -> None:
    """The port stays open, by the same socket; the server is the new one."""
    install(host, older)
    assert host.output("null521", "--version") == f"null521 {OLDER}\n"
    host.run(["systemctl", "enable", "--quiet", "--now", "null521-serve.socket"])
    assert dial(host)[1] == CODES
    key = host.output("cat", "/etc/null521/tls-key.pem")
    pid = shown(host, "null521-serve.service", "MainPID")
    since = shown(host, "null521-serve.socket", "ActiveEnterTimestampMonotonic")

    install(host, package)
    assert host.output("null521", "--version") == f"null521 {__version__}\n"
    assert shown(host, "null521-serve.socket", "ActiveEnterTimestampMonotonic") == since
    assert shown(host, "null521-serve.service", "MainPID") not in (pid, "0")
    assert dial(host)[1] == CODES
    assert shown(host, "null521-serve.socket", "UnitFileState") == "enabled"
    assert host.output("cat", "/etc/null521/tls-key.pem") == key
    assert "gone" not in host.output("find", PACKAGE)


def test_openssl_that_comes_later(host: Systemd, package: Path) -> None:
    """It is recommended alone, so that apt may set it up afterwards."""
    host.run(["mv", "/usr/bin/openssl", "/usr/bin/away"])
    assert "no certificate was made in /etc/null521" in install(host, package)
    host.run(["mv", "/usr/bin/away", "/usr/bin/openssl"])
    host.run(["dpkg-trigger", "--by-package=openssl", "/usr/bin/openssl"])
    dpkg(host, "--triggers-only", "--pending")
    assert host.output("ls", "/etc/null521").split() == ["tls-cert.pem", "tls-key.pem"]
