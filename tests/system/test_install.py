"""The ways in that the README names: make install, make uninstall, pip install, make run."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.namespaces import Systemd

from null521.local.programs import FOLDERS

TREE = Path(__file__).parents[2]
DISTRIBUTION = "/usr/bin/python3"


def make(*words: str) -> None:
    environ = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    subprocess.run(["make", "-s", *words], cwd=TREE, check=True, env=environ)


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_install_for_a_package_and_uninstall(tmp_path: Path) -> None:
    make("install", f"DESTDIR={tmp_path}", "PREFIX=/usr", f"PYTHON={DISTRIBUTION}")
    laid_down = files(tmp_path)
    for name in (
        "usr/bin/null521",
        "usr/lib/null521/null521/session.py",
        "usr/lib/systemd/system/null521.socket",
        "usr/lib/systemd/system/system-null521.slice",
        "usr/lib/systemd/system/null521@.service",
        "usr/lib/systemd/catalog/null521.catalog",
        "usr/lib/tmpfiles.d/null521.conf",
        "usr/share/man/man8/null521.8",
        "usr/share/man/man1/null521-check.1",
        "usr/share/doc/null521/inetd.conf.example",
        "usr/share/doc/null521/null521.xinetd",
    ):
        assert name in laid_down
    assert any(re.fullmatch(r"usr/lib/null521/.*/session\.cpython-3\d+\.pyc", f) for f in laid_down)
    for name in laid_down:
        octets = (tmp_path / name).read_bytes()
        assert str(tmp_path).encode() not in octets, f"{name} names the staging directory"
        if not name.startswith("usr/share/doc/null521/README"):
            octets = octets.replace(FOLDERS.encode(), b"")
            assert b"/usr/local" not in octets, f"{name} names another prefix"
    launcher = (tmp_path / "usr/bin/null521").read_text()
    assert launcher.startswith("#!/usr/bin/python3 -IS\n")
    assert 'sys.path.insert(0, "/usr/lib/null521")' in launcher
    assert os.access(tmp_path / "usr/bin/null521", os.X_OK)

    make("uninstall", f"DESTDIR={tmp_path}", "PREFIX=/usr")
    assert files(tmp_path) == []


@pytest.mark.parametrize("setting", ["PREFIX=opt", "PREFIX=/a b", "SYSCONFDIR=/a&b"])
def test_a_path_that_units_cannot_name(setting: str) -> None:
    done = subprocess.run(["make", "install", setting], cwd=TREE, capture_output=True, check=False)
    assert done.returncode == 2
    assert b" must begin with / and contain no blanks, & or |" in done.stderr


def test_another_folder_for_the_certificate(tmp_path: Path) -> None:
    make("install", f"DESTDIR={tmp_path}", "PREFIX=/usr", "SYSCONFDIR=/srv/etc")
    for name in files(tmp_path):
        if "/share/doc/null521/README" not in name and "/CHANGELOG" not in name:
            octets = (tmp_path / name).read_bytes().replace(b"/srv/etc/null521", b"")
            assert b"/etc/null521" not in octets, name


def test_a_link_that_leads_nowhere_yet_is_kept(tmp_path: Path) -> None:
    for name in ("tls-cert.pem", "tls-key.pem"):
        (tmp_path / name).symlink_to(f"/not/mounted/yet/{name}")
    subprocess.run([TREE / "units/certificate", tmp_path], check=True)
    assert all(path.is_symlink() for path in tmp_path.iterdir())


def test_an_ordinary_user_may_install_for_himself(tmp_path: Path) -> None:
    """Into his own home. There is no certificate for him below /etc."""
    tree, home = tmp_path / "tree", tmp_path / "home"
    tree.mkdir()
    home.mkdir()
    names = ["null521", "units", "docs", "scripts", "packaging", "Makefile", "inetd.conf.example"]
    subprocess.run(
        ["cp", "--recursive", *names, "README.md", "LICENSE", "CHANGELOG.md", tree],
        cwd=TREE, check=True,
    )  # fmt: skip
    for folder in (*tmp_path.parents[:2], tmp_path):
        folder.chmod(0o755)
    subprocess.run(["chown", "--recursive", "65534:65534", tree, home], check=True)
    as_nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    words = ["make", "install", f"PREFIX={home}/.local", f"PYTHON={DISTRIBUTION}"]
    done = subprocess.run(
        [*as_nobody, *words], cwd=tree, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "STARTTLS will not be offered" in done.stderr
    assert f"{home}/.local/bin/null521 serve" in done.stdout
    launcher = [*as_nobody, f"{home}/.local/bin/null521", "--version"]
    subprocess.run(launcher, check=True, stdout=subprocess.DEVNULL)


def test_install_for_an_interpreter_elsewhere(tmp_path: Path) -> None:
    """What the launcher names is bound into the unit's root directory, and all may read it."""
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    words = [f"PREFIX={tmp_path}/opt", f"PYTHON={venv}/bin/python3", f"SYSCONFDIR={tmp_path}/etc"]
    environ = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    install = f"umask 077 && make -s install {' '.join(words)}"
    subprocess.run(["sh", "-c", install], cwd=TREE, check=True, env=environ)
    launcher = tmp_path / "opt/bin/null521"
    interpreter = Path(launcher.read_text().splitlines()[0].removeprefix("#!").split()[0])
    assert interpreter.is_file()
    assert not interpreter.is_symlink()
    unit = (tmp_path / "opt/lib/systemd/system/null521@.service").read_text()
    bound = re.findall(r"^BindReadOnlyPaths=(.*)$", unit, re.M)[0].split()
    executable = re.findall(r"^ExecPaths=(.*)$", unit, re.M)[0].replace("+", "").split()
    for path in (launcher, interpreter):
        assert any(path.is_relative_to(b) for b in bound), (path, bound)
        assert any(path.is_relative_to(e) for e in executable), (path, executable)
    for path in (tmp_path / "opt").rglob("*"):
        assert path.stat().st_mode & 0o044 == 0o044, path
    assert (tmp_path / "etc/null521/tls-key.pem").stat().st_mode & 0o777 == 0o600


def test_install_over_another_version_leaves_nothing_of_it(tmp_path: Path) -> None:
    """The modules are replaced as a whole, for any of them may be wanted at any moment."""
    words = ["install", f"DESTDIR={tmp_path}", "PREFIX=/usr", f"PYTHON={DISTRIBUTION}"]
    make(*words)
    package = tmp_path / "usr/lib/null521/null521"
    (package / "gone.py").touch()
    before, laid_down = package.stat().st_ino, files(tmp_path)
    make(*words)
    assert package.stat().st_ino != before
    assert [name for name in laid_down if name not in files(tmp_path)] == [
        "usr/lib/null521/null521/gone.py"
    ]
    assert sorted(os.listdir(package.parent)) == ["certificate", "null521"]
    (bytecode,) = package.glob("__pycache__/session.*.pyc")
    assert b"/usr/lib/null521/null521/session.py" in bytecode.read_bytes()


def test_install_says_little_and_ends_with_what_to_type_next(tmp_path: Path) -> None:
    words = ["make", "--no-print-directory", "-C", str(TREE)]
    words += [f"PREFIX={tmp_path}/opt", f"SYSCONFDIR={tmp_path}/etc"]
    done = subprocess.run([*words, "install"], capture_output=True, text=True, check=True)
    said = done.stdout.splitlines()
    assert len(said) <= 4
    assert [line.startswith("    ") for line in said[-3:]] == [False, True, True]
    assert said[-2].endswith("systemctl enable --now null521-serve.socket")
    assert done.stderr == ""

    done = subprocess.run([*words, "uninstall"], capture_output=True, text=True, check=True)
    assert done.stdout == f"null521 is uninstalled from {tmp_path}/opt\n"
    assert files(tmp_path) == ["etc/null521/tls-cert.pem", "etc/null521/tls-key.pem"]


def test_install_goes_on_without_what_it_cannot_install(tmp_path: Path) -> None:
    """There is no network, and one warning for all that null521 works without."""
    with Systemd(tmp_path / "host") as host:
        host.run(["dpkg", "--remove", "--force-depends", "python3-systemd"], capture_output=True)
        host.run(["sh", "-c", "rm -f /var/cache/apt/archives/*.deb"])
        words = ["make", "-C", "/srv/null521", "install"]
        done = host.run(words, capture_output=True)
        installing, warning = done.stderr.decode().splitlines()
        assert installing.startswith("null521: installing ")
        assert installing.endswith(": python3-systemd")
        assert warning.startswith("null521: warning: going on without python3-systemd: ")
        assert host.output("/usr/local/bin/null521", "--version").startswith("null521 ")


def test_pip_install(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    pip = [str(tmp_path / "venv/bin/pip"), "install", "--quiet", str(TREE)]
    subprocess.run(pip, check=True)
    done = subprocess.run(
        [str(tmp_path / "venv/bin/null521"), "--hostname=h", "--log=none"],
        input=b"QUIT\r\n",
        stdout=subprocess.PIPE,
        check=True,
    )
    assert done.stdout == b"521 h is configured NOT to accept any mail.\r\n221 h\r\n"


# What the README's first command shows to type, and both in a network of their own.
SHOWN = r"printf 'EHLO x\r\nMAIL FROM:<a@b.c>\r\nQUIT\r\n' | nc -N 127.0.0.1 2525"
MAKE_RUN = rf"""
ip link set lo up
make run &
until ss -Hltn 'sport = 2525' | grep -q .; do sleep 0.1; done
{SHOWN} >"$REPLIES"
"""


def test_make_run(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            "unshare",
            "--net",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
            "bash",
            "-ec",
            MAKE_RUN,
        ],
        cwd=TREE,
        env={**os.environ, "REPLIES": str(tmp_path / "replies")},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    replies = (tmp_path / "replies").read_text().splitlines()
    assert [reply[:4] for reply in replies] == ["521 ", "521 ", "521 ", "221 "]
    assert f"    {SHOWN}\n" in done.stdout
