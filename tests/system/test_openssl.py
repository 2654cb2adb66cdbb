"""Certificates that openssl makes, by units/certificate and of every kind, serve for STARTTLS."""

import subprocess
from pathlib import Path

import pytest
from helpers.certificates import dates
from helpers.namespaces import TREE

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
