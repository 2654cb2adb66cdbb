"""Certificates that openssl makes, by units/certificate and of every kind, serve for STARTTLS."""

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from helpers.certificates import dates
from helpers.namespaces import TEST_TIMEOUT, TREE

from null521 import certificate

KINDS = {
    "ec": ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"],
    "rsa": ["-newkey", "rsa:2048"],
    "ed25519": ["-newkey", "ed25519"],
}


def openssl_dates(cert: str) -> tuple[str, str]:
    words = ["openssl", "x509", "-in", cert, "-noout", "-dates", "-dateopt", "iso_8601"]
    said = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    before, after = ("".join(filter(str.isdigit, line)) + "Z" for line in said.splitlines())
    return before, after


def assert_serves(cert: str, key: str) -> None:
    certificate.context(cert, key)
    octets = certificate.block(cert, b" CERTIFICATE-----")
    assert certificate.validity(octets) == openssl_dates(cert) == dates(cert)


# 20 days: two UTCTimes. 100 years: from 2050 on, a GeneralizedTime (RFC 5280, 4.1.2.5).
@pytest.mark.parametrize("days", ["20", "36500"])
@pytest.mark.parametrize("kind", KINDS)
def test_one_that_serves(tmp_path: Path, kind: str, days: str) -> None:
    cert, key = (str(tmp_path / name) for name in ("cert.pem", "key.pem"))
    words = ["openssl", "req", "-x509", *KINDS[kind], "-nodes", "-subj", "/CN=h.example"]
    words += ["-days", days, "-out", cert, "-keyout", key]
    subprocess.run(words, check=True, capture_output=True)
    assert_serves(cert, key)


def test_the_one_that_make_install_makes(tmp_path: Path) -> None:
    folder = tmp_path / "null521"
    subprocess.run([str(TREE / "units/certificate"), str(folder)], check=True)
    assert_serves(str(folder / "tls-cert.pem"), str(folder / "tls-key.pem"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "null521"


def make(folder: Path, **environ: str) -> "subprocess.Popen[str]":
    """units/certificate for the folder, started."""
    return subprocess.Popen(
        [str(TREE / "units/certificate"), str(folder)],
        env={**os.environ, **environ},
        stderr=subprocess.PIPE,
        text=True,
    )


def in_place_of_openssl(folder: Path, script: str) -> str:
    """A PATH on which openssl is that script; "$real" is openssl itself."""
    folder.mkdir()
    real = shutil.which("openssl")
    (folder / "openssl").write_text(f"#!/bin/sh\nreal={real}\n{script}\n")
    (folder / "openssl").chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


def modes(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}


WHOLE = {"tls-key.pem": 0o600, "tls-cert.pem": 0o644}


def test_its_name_is_in_it_as_clients_look_for_it(folder: Path) -> None:
    assert make(folder).wait() == 0
    words = ["openssl", "x509", "-noout", "-ext", "subjectAltName", "-in", f"{folder}/tls-cert.pem"]
    said = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    assert f"DNS:{os.uname().nodename[:64]}\n" in said
    assert (modes(folder), folder.stat().st_mode & 0o777) == (WHOLE, 0o700)


def test_ten_at_once_make_one_pair(folder: Path) -> None:
    runs = [make(folder) for _ in range(10)]
    assert [(run.wait(), run.communicate()[1]) for run in runs] == [(0, "")] * 10
    assert modes(folder) == WHOLE
    assert_serves(str(folder / "tls-cert.pem"), str(folder / "tls-key.pem"))
    before = (folder / "tls-cert.pem").read_bytes()
    assert make(folder).wait() == 0
    assert (folder / "tls-cert.pem").read_bytes() == before


CUT = '"$real" "$@"; for word; do case $word in */cert) truncate -s 100 "$word"; esac; done; '
# openssl that fails, also when it has written half of a file, or says that all is well.
FAILS = {
    "at once": "exit 1",
    "with a key": CUT.replace("-s 100", "-s 0") + "exit 0",
    "with half a certificate": CUT + "exit 1",
    "without a word": "exit 0",
}


@pytest.mark.parametrize("how", FAILS)
def test_openssl_that_fails_leaves_nothing(tmp_path: Path, folder: Path, how: str) -> None:
    run = make(folder, PATH=in_place_of_openssl(tmp_path / "bin", FAILS[how]))
    assert "no certificate was made in" in run.communicate()[1]
    assert run.returncode == 0
    assert modes(folder) == {}


def test_one_that_is_killed_leaves_nothing_for_long(tmp_path: Path, folder: Path) -> None:
    """While openssl runs. Nobody else can read what it has written, and the next run goes on."""
    path = in_place_of_openssl(tmp_path / "bin", '"$real" "$@"; echo; exec sleep 3 9<&-')
    run = make(folder, PATH=path)
    deadline = time.monotonic() + TEST_TIMEOUT
    while not (written := list(folder.glob(".new.*/key"))):
        assert time.monotonic() < deadline
    assert written[0].stat().st_mode & 0o777 == 0o600
    assert written[0].parent.stat().st_mode & 0o777 == 0o700
    run.kill()
    run.communicate()
    assert make(folder).wait() == 0
    assert modes(folder) == WHOLE
    assert_serves(str(folder / "tls-cert.pem"), str(folder / "tls-key.pem"))


def test_one_that_is_killed_between_the_two_files(tmp_path: Path, folder: Path) -> None:
    """The key is there, and gets its certificate; so does a key of the administrator's own."""
    assert make(folder).wait() == 0
    (folder / "tls-cert.pem").unlink()
    key = (folder / "tls-key.pem").read_bytes()
    assert make(folder).wait() == 0
    assert (folder / "tls-key.pem").read_bytes() == key
    assert_serves(str(folder / "tls-cert.pem"), str(folder / "tls-key.pem"))
