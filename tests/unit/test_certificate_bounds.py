"""What is read of PEM and DER, to the octet; test_certificate.py has real certificates."""

import ssl
import sys
import time
from base64 import b64encode
from pathlib import Path

import pytest
from helpers.certificates import make

import null521
from null521.certificate import MAX_FILE, Unusable, block, check, context, validity

CERTIFICATE = b" CERTIFICATE-----"
PRIVATE_KEY = b" PRIVATE KEY-----"
UTC, GENERAL = b"\x17\x0d", b"\x18\x0f"


def pem(label: str, octets: bytes) -> bytes:
    text = b64encode(octets).decode()
    return f"-----BEGIN {label}-----\n{text}\n-----END {label}-----\n".encode()


def between(start: bytes, end: bytes) -> bytes:
    """A sequence of two times, as it stands in a certificate."""
    both = b"".join((UTC if len(each) == 13 else GENERAL) + each for each in (start, end))
    return b"\x30" + bytes([len(both)]) + both


def pair(folder: Path, cert: bytes, key: bytes = pem("PRIVATE KEY", b"key")) -> tuple[str, str]:
    """The paths of files with that in them."""
    paths = folder / "cert.pem", folder / "key.pem"
    paths[0].write_bytes(cert)
    paths[1].write_bytes(key)
    return str(paths[0]), str(paths[1])


@pytest.mark.parametrize(
    ("start", "end", "found"),
    [
        # RFC 5280, 4.1.2.5.1: of two digits, 50 and above are of the last century.
        (b"490101000000Z", b"500101000000Z", ("20490101000000Z", "19500101000000Z")),
        (b"000101000000Z", b"991231235959Z", ("20000101000000Z", "19991231235959Z")),
        (b"240101000000Z", b"20500101000000Z", ("20240101000000Z", "20500101000000Z")),
        (b"20500101000000Z", b"99991231235959Z", ("20500101000000Z", "99991231235959Z")),
        (b"24010100000\xffZ", b"240101000000Z", ("2024010100000\ufffdZ", "20240101000000Z")),
    ],
)
def test_validity(start: bytes, end: bytes, found: tuple[str, str]) -> None:
    """Wherever it stands, and the first where there are two alike."""
    both = between(start, end)
    assert validity(both) == found
    assert validity(b"serial" + both + b"\x30\x03\x02\x01\x05") == found
    assert validity(b"\0" + both + both.replace(b"00000", b"11111")) == found


def test_without_validity() -> None:
    assert validity(b"") == validity(b"\x30\x1e\x17\x0c2401010000Z") == ("", "")


@pytest.mark.parametrize("label", ["PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY"])
def test_the_first_block_of_a_label(tmp_path: Path, label: str) -> None:
    path = tmp_path / "pem"
    path.write_bytes(b"words\n" + pem("CERTIFICATE", b"first") + pem("CERTIFICATE", b"second"))
    assert block(str(path), CERTIFICATE) == b"first"
    path.write_bytes(pem("EC PARAMETERS", b"curve") + pem(label, b"key"))
    assert block(str(path), PRIVATE_KEY) == b"key"


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n",
        b"-----BEGIN CERTIFICATE-----\nAAAA\n",
        b"-----BEGIN CERTIFICATE-----\nA\n-----END CERTIFICATE-----\n",
        b"AAAA\n-----END CERTIFICATE-----\n",
        pem("PRIVATE KEY", b"key"),
    ],
    ids=["empty", "empty block", "no end", "no base64", "no beginning", "another"],
)
def test_no_whole_block(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "pem"
    path.write_bytes(text)
    with pytest.raises(ValueError, match="has no CERTIFICATE") as raised:
        block(str(path), CERTIFICATE)
    assert str(raised.value) == f"{path} has no CERTIFICATE in PEM"


def test_what_is_behind_the_bound_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "pem"
    text = pem("CERTIFICATE", b"x")
    needed = text.index(b"-----END ") + len(b"-----END ")
    assert MAX_FILE == 1_048_576
    path.write_bytes(b"\n" * (MAX_FILE - needed) + text)
    assert block(str(path), CERTIFICATE) == b"x"
    path.write_bytes(b"\n" * (MAX_FILE - needed + 1) + text)
    with pytest.raises(ValueError, match="has no CERTIFICATE"):
        block(str(path), CERTIFICATE)


def test_a_key_that_asks_for_a_password(tmp_path: Path) -> None:
    cert, key = pair(
        tmp_path,
        pem("CERTIFICATE", between(b"240101000000Z", b"20990101000000Z")),
        pem("ENCRYPTED PRIVATE KEY", b"key"),
    )
    with pytest.raises(Unusable) as raised:
        check(cert, key)
    assert str(raised.value) == (
        f"STARTTLS is not available: {key} is encrypted, and nobody is there to type the password"
    )


def test_it_has_expired_once_the_last_second_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cert, key = pair(tmp_path, pem("CERTIFICATE", between(b"240101000000Z", b"300102030405Z")))
    gmtime = time.gmtime
    monkeypatch.setattr(time, "gmtime", lambda: gmtime(1893553445))
    check(cert, key)
    monkeypatch.setattr(time, "gmtime", lambda: gmtime(1893553446))
    with pytest.raises(Unusable) as raised:
        check(cert, key)
    assert str(raised.value) == (
        f"STARTTLS is not available: {cert} has a certificate that expired at 20300102030405Z"
    )


def test_the_clock_is_read_as_utc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The dates of a certificate are: one that ends in an hour is good, wherever we are."""
    end = time.strftime("%y%m%d%H%M%SZ", time.gmtime(time.time() + 3600)).encode()
    cert, key = pair(tmp_path, pem("CERTIFICATE", between(b"240101000000Z", end)))
    for zone in ("Pacific/Kiritimati", "UTC+12", "UTC-14"):
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        check(cert, key)
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(("cert", "key"), [("", ""), ("/cert", ""), ("", "/key")])
def test_one_alone_is_not_enough(cert: str, key: str) -> None:
    with pytest.raises(Unusable) as raised:
        check(cert, key)
    assert str(raised.value) == (
        "STARTTLS is not available: tls-cert and tls-key go together, but only one of them is set"
    )


def test_the_context_of_a_pair(tmp_path: Path) -> None:
    made = context(*make(tmp_path))
    assert made.minimum_version == ssl.TLSVersion.TLSv1_2
    assert made.protocol == ssl.PROTOCOL_TLS_SERVER


def test_a_context_is_made_only_of_what_check_finds_good(tmp_path: Path) -> None:
    with pytest.raises(Unusable, match="go together"):
        context("", str(tmp_path))


def test_the_key_of_another_certificate(tmp_path: Path) -> None:
    """That shows only in context()."""
    (tmp_path / "other").mkdir()
    cert, _ = make(tmp_path)
    _, key = make(tmp_path / "other")
    check(cert, key)
    with pytest.raises(Unusable) as raised:
        context(cert, key)
    assert str(raised.value) == (
        f"STARTTLS is not available: {cert} and {key} do not work: key values mismatch"
    )


def test_a_python_without_openssl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(null521, "tls", raising=False)
    monkeypatch.setitem(sys.modules, "null521.tls", None)
    with pytest.raises(Unusable, match=r"^STARTTLS is not available: .*null521\.tls"):
        context(*make(tmp_path))
