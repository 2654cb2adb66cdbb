"""The package for Fedora and RHEL: built, installed, used, upgraded and removed by rpm.

The host is Debian, with a database of rpm's own. What the triggers of Fedora's systemd do, when any
package brings units, a catalog or tmpfiles.d, is done by hand here.
"""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.host import CODES, active, dial, shown
from helpers.namespaces import TREE, Systemd
from helpers.packages import build, copy_as, everything

from null521 import __version__
from null521.local.programs import FOLDERS
from null521.record import REFUSED

MODULES = "/usr/lib/null521/null521"
OLDER = "0.0.1"
# Debian's preset enables all units, Fedora's none.
PRESET = "/etc/systemd/system-preset/00-fedora.preset"
TRIGGERS = """
systemctl daemon-reload
journalctl --update-catalog
systemd-tmpfiles --create null521.conf
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("rpm", TREE, tmp_path_factory.mktemp("rpm"))


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One of a lower version and with a module more."""
    tree = tmp_path_factory.mktemp("older")
    copy_as(OLDER, tree, "packaging/null521.spec")
    return build("rpm", tree, tree / "rpm")


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Systemd]:
    with Systemd(tmp_path / "host") as host:
        host.run(["mkdir", "-p", os.path.dirname(PRESET)])
        host.run(["tee", PRESET], input=b"disable *\n", stdout=subprocess.DEVNULL)
        # An empty database, whatever the host has installed.
        host.run(["rm", "-rf", rpm(host, "--eval", "%{_dbpath}").strip()])
        yield host


def rpm(host: Systemd, *words: str) -> str:
    """What rpm says; on Debian its database holds no other package that ours could require."""
    done = host.run(["rpm", *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    assert done.returncode == 0, done.stdout
    return done.stdout.decode()


def install(host: Systemd, package: Path) -> None:
    host.run(["tee", "/root/null521.rpm"], input=package.read_bytes(), stdout=subprocess.DEVNULL)
    said = rpm(host, "--upgrade", "--nodeps", "/root/null521.rpm")
    # Debian 12's rpm always says that one should use something else.
    assert [line for line in said.splitlines() if not line.startswith("rpm: ")] == []
    host.run(["sh", "-euc", TRIGGERS])


def query(package: Path, *words: str) -> list[str]:
    done = subprocess.run(
        ["rpm", "--query", *words, "--package", str(package)],
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.splitlines()


def test_rpmlint(package: Path) -> None:
    """Neither error nor warning but those that packaging/rpmlint.toml explains."""
    folder = TREE / "packaging"
    config = f"--config={folder / 'rpmlint.toml'}"
    words = ["rpmlint", config, str(package), str(folder / "null521.spec")]
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    assert "1 packages and 1 specfiles checked; 0 errors, 0 warnings" in done.stdout, done.stdout


def test_rpmlint_that_finds_something(package: Path, tmp_path: Path) -> None:
    """The configuration hides only what it says."""
    spec = tmp_path / "null521.spec"
    text = (TREE / "packaging/null521.spec").read_text()
    spec.write_text(text.replace("%files\n", "%files\n%{_prefix}/lib/other\n"))
    words = ["rpmlint", f"--config={TREE / 'packaging/rpmlint.toml'}", str(spec)]
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    assert "hardcoded-library-path in %{_prefix}/lib/other" in done.stdout


def test_the_version_is_that_of_the_program(package: Path) -> None:
    assert query(package, "--queryformat=%{VERSION} %{ARCH}") == [f"{__version__} noarch"]
    assert f"- {__version__}-1\n" in (TREE / "packaging/null521.spec").read_text()


def test_what_it_requires(package: Path) -> None:
    """The version of Python that its bytecode is for; systemd-python is of any version."""
    done = subprocess.run(["/usr/bin/python3", "-V"], check=True, capture_output=True, text=True)
    version = ".".join(done.stdout.split()[1].split(".")[:2])
    required = {line for line in query(package, "--requires") if not line.startswith("rpmlib(")}
    assert required == {"/bin/sh", "/usr/bin/python3", f"python(abi) = {version}", "systemd"}
    assert query(package, "--recommends") == ["openssl", "python3dist(systemd-python)"]


def test_the_tree(package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = set(query(package, "--list"))
    with capsys.disabled():
        print("", *sorted(path for path in paths if not path.startswith(MODULES)), sep="\n")
    modules = {str(path.relative_to(TREE)) for path in (TREE / "null521").rglob("*.py")}
    assert {f"/usr/lib/null521/{name}" for name in modules} <= paths
    pages = {path.name for path in (TREE / "docs/man").iterdir()}
    assert {f"/usr/share/man/man{name[-1]}/{name}.gz" for name in pages} <= paths
    for document in [*(TREE / "docs").glob("*.*"), *(TREE / "docs/prometheus").iterdir()]:
        assert f"/usr/share/doc/null521/{document.relative_to(TREE)}" in paths
    for path in paths:
        assert re.match(r"/etc/null521$|/usr/(bin|lib|share)/", path), path
        assert not path.startswith("/usr/lib/python"), path


def test_no_file_names_a_path_of_make_install(package: Path, tmp_path: Path) -> None:
    """Nor one of a single version of Python. Documents also say what `make install` does."""
    unpack = 'rpm2cpio "$1" | cpio --extract --make-directories --quiet'
    subprocess.run(
        ["bash", "-euo", "pipefail", "-c", unpack, "bash", package], cwd=tmp_path, check=True
    )
    for page in tmp_path.glob("usr/share/man/*/*.gz"):
        subprocess.run(["gunzip", page], check=True)
    explains = {
        tmp_path / "usr/share/doc/null521/docs",
        tmp_path / "usr/share/doc/null521/README.md",
    }
    for path in tmp_path.rglob("*"):
        if path.is_file() and not path.is_symlink() and not explains & {path, path.parent}:
            octets = path.read_bytes().replace(FOLDERS.encode(), b"")
            assert b"/usr/local" not in octets, path
            if path.suffix not in (".pyc", ".md"):
                assert not re.search(rb"/python3\.\d", octets), path
    readme = (tmp_path / "usr/share/doc/null521/README.md").read_text()
    assert "nobody /usr/bin/null521 null521 " in readme
    assert not re.search(r"/usr/local/(bin|share)|write /usr", readme)


def test_from_installing_to_removing(host: Systemd, package: Path) -> None:
    before = everything(host)
    install(host, package)
    assert rpm(host, "--verify", "--nodeps", "null521") == ""
    assert host.output("null521", "--version") == f"null521 {__version__}\n"
    assert "# code object from /usr/lib/null521" not in compiled(host)
    units = [
        f"/usr/lib/systemd/system/{name}" for name in ("null521.socket", "null521-serve.socket")
    ]
    assert host.output("systemd-analyze", "verify", "--man=no", *units) == ""

    for socket in ("null521.socket", "null521-serve.socket"):
        assert active(host, socket) == "inactive"
        assert shown(host, socket, "UnitFileState") == "disabled"
    assert host.output("ls", "/etc/null521") == ""
    host.run(["systemctl", "enable", "--quiet", "--now", "null521.socket"])
    assert host.output("stat", "-c", "%a %U", "/etc/null521/tls-key.pem") == "600 root\n"
    assert dial(host)[1] == CODES
    host.wait_for(1, f"MESSAGE_ID={REFUSED}")

    host.run(["systemctl", "disable", "--quiet", "--now", "null521.socket"])
    key = host.output("cat", "/etc/null521/tls-key.pem")
    host.run(["systemctl", "enable", "--quiet", "--now", "null521-serve.socket"])
    assert dial(host)[1] == CODES
    host.wait_for(2, f"MESSAGE_ID={REFUSED}")
    assert host.entries("-p", "warning", "-t", "null521") == []

    rpm(host, "--erase", "null521")
    assert active(host, "null521-serve.service") == "inactive"
    assert host.output("ss", "-Hltn", "sport = 25") == ""
    assert host.output("cat", "/etc/null521/tls-key.pem") == key
    assert host.output("ls", "/etc/null521").split() == ["tls-cert.pem", "tls-key.pem"]
    # Besides, rpm's own files, and a directory that other packages of Fedora have too.
    ignored = r"/etc/null521|/root/\.rpmdb|/var/lib/rpm|/usr/share/licenses$"
    left = {path for path in everything(host) - before if not os.path.lexists(path)}
    assert {path for path in left if not re.match(ignored, path)} == {"/root/null521.rpm"}


def compiled(host: Systemd) -> str:
    """What the interpreter says of the modules that it imports and compiles."""
    words = ["/usr/bin/python3", "-v", "-IS", "/usr/bin/null521", "serve", "--help"]
    said = host.run(words, capture_output=True).stderr.decode()
    assert "null521.serve.cli" in said
    return said


def test_upgrading_while_it_answers(host: Systemd, package: Path, older: Path) -> None:
    """The port stays open, by the same socket; the server is the new one."""
    install(host, older)
    assert host.output("null521", "--version") == f"null521 {OLDER}\n"
    host.run(["systemctl", "enable", "--quiet", "--now", "null521-serve.socket"])
    assert dial(host)[1] == CODES
    pid = shown(host, "null521-serve.service", "MainPID")
    since = shown(host, "null521-serve.socket", "ActiveEnterTimestampMonotonic")

    install(host, package)
    assert host.output("null521", "--version") == f"null521 {__version__}\n"
    assert shown(host, "null521-serve.socket", "ActiveEnterTimestampMonotonic") == since
    assert shown(host, "null521-serve.service", "MainPID") not in (pid, "0")
    assert shown(host, "null521-serve.socket", "UnitFileState") == "enabled"
    assert dial(host)[1] == CODES
    assert "gone" not in host.output("find", MODULES)


@pytest.mark.parametrize("platlib", ["lib", "lib64"])
def test_modules_where_fedora_has_them(host: Systemd, package: Path, platlib: str) -> None:
    """Below a directory of one version of Python; compiled ones in lib64, if there is one."""
    install(host, package)
    move = """
        name=$(/usr/bin/python3 -c 'import sys; print("python%d.%d" % sys.version_info[:2])')
        mkdir -p "/usr/$1/$name"
        [ "$1" = lib ] || ln -s "/usr/lib/$name"/* "/usr/$1/$name"
        mkdir -p "/usr/$1/$name/site-packages" "/usr/lib/$name/site-packages"
        cd /usr/lib/python3/dist-packages
        mv systemd uvloop "/usr/$1/$name/site-packages"
        mv prometheus_client "/usr/lib/$name/site-packages"
    """
    host.run(["bash", "-euc", move, "bash", platlib])
    # Without -I, so that Debian's interpreter takes its directory of libraries from the variable.
    variable = f"PYTHONPLATLIBDIR={platlib}"
    launcher = ["env", variable, "/usr/bin/python3", "-S", "/usr/bin/null521"]
    words = [*launcher, "--hostname=h", "--log=journal"]
    said = host.run(words, input=b"QUIT\r\n", stdout=subprocess.PIPE)
    assert said.stdout.startswith(b"521 h ")
    host.wait_for(1, f"MESSAGE_ID={REFUSED}")
    # Without prometheus_client, this setting is an error.
    words = [*launcher, "serve", "--listen=127.0.0.1:2525", "--metrics=127.0.0.1:9521"]
    host.run([*words, "--log=none", "--exit-idle=0.1"])


def test_a_host_without_openssl(host: Systemd, package: Path) -> None:
    """The socket starts, mail is refused, and the journal says why STARTTLS is not offered."""
    install(host, package)
    host.run(["mv", "/usr/bin/openssl", "/usr/bin/away"])
    host.run(["systemctl", "start", "null521.socket"])
    assert dial(host)[1] != []
    said = host.entries_of("null521-certificate.service")
    assert any("no certificate was made in /etc/null521" in entry["MESSAGE"] for entry in said)
