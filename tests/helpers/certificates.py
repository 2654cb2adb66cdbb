"""Certificates and keys, made by openssl."""

import subprocess
from pathlib import Path

KINDS = {
    "ec": ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"],
    "rsa": ["-newkey", "rsa:2048"],
    "ed25519": ["-newkey", "ed25519"],
}


def make(folder: Path, kind: str = "ec", *options: str) -> tuple[str, str]:
    """A pair signed by itself; the paths of certificate and key."""
    paths = str(folder / "cert.pem"), str(folder / "key.pem")
    words = ["openssl", "req", "-x509", *KINDS[kind], "-nodes", "-subj", "/CN=h.example", *options]
    words += ["-out", paths[0], "-keyout", paths[1]]
    subprocess.run(words, check=True, capture_output=True)
    return paths


def openssl_dates(cert: str) -> tuple[str, str]:
    words = ["openssl", "x509", "-in", cert, "-noout", "-dates", "-dateopt", "iso_8601"]
    said = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    before, after = ("".join(filter(str.isdigit, line)) + "Z" for line in said.splitlines())
    return before, after
