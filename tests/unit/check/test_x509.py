"""The parts of certificates, compared with those that the library cryptography finds."""

import contextlib
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from helpers.certificates import KINDS, make
from hypothesis import given
from hypothesis import strategies as st

from null521.check.x509 import Parts, parts


def der(path: str) -> tuple[bytes, x509.Certificate]:
    found = x509.load_pem_x509_certificate(Path(path).read_bytes())
    return found.public_bytes(Encoding.DER), found


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_key(tmp_path: Path, kind: str) -> None:
    octets, known = der(make(tmp_path, kind)[0])
    found = parts(octets)
    assert found.public_key == known.public_key().public_bytes(
        Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    )
    assert found.subject == known.subject.public_bytes() == known.issuer.public_bytes()
    assert found.issuer == found.subject
    assert found.is_self_issued


def test_another_issuer() -> None:
    assert Parts(b"a", b"b", b"c").is_self_issued is False


def element(tag: int, body: bytes, long: int = 0) -> bytes:
    """In DER; long: how many octets of length follow the first one, 0 for none."""
    length = bytes([0x80 + long]) + len(body).to_bytes(long) if long else bytes([len(body)])
    return bytes([tag]) + length + body


FIELDS = [element(2, b"\1"), element(0x30, b"alg"), element(0x30, b"issuer"), element(0x30, b"v")]
FIELDS += [element(0x30, b"subject"), element(0x30, b"key" * 40)]
VERSION = element(0xA0, element(2, b"\2"))


@pytest.mark.parametrize("long", [0, 1, 2, 4])
def test_with_and_without_a_version(long: int) -> None:
    """Version 1 has no field for it: RFC 5280, 4.1."""
    expected = (FIELDS[2], FIELDS[4], FIELDS[5])
    for version in (b"", VERSION):
        body = version + b"".join(FIELDS)
        inner = element(0x30, body, long or 1)
        assert parts(element(0x30, inner + b"more", long or 1) + b"more") == expected


def good() -> bytes:
    return element(0x30, element(0x30, VERSION + b"".join(FIELDS), 1), 1)


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"\x30",
        b"\x30\x00",
        b"\x30\x01",
        b"\x30\x80",
        b"\x30\xff",
        element(0x31, element(0x30, b"".join(FIELDS), 1), 1),
        element(0x30, element(0x31, b"".join(FIELDS), 1), 1),
        element(0x30, element(0x30, b"".join(FIELDS[:5]), 1), 1),
        element(0x30, element(0x30, VERSION, 1), 1),
        element(0x30, element(0x30, b"", 1), 1),
    ],
)
def test_what_is_not_a_certificate(octets: bytes) -> None:
    with pytest.raises(ValueError, match=r"^(cut off|not a certificate)$"):
        parts(octets)


def test_an_indefinite_length() -> None:
    """Is not DER (X.690, 10.1); as a length of no octets, it leaves nothing."""
    with pytest.raises(ValueError, match=r"^cut off$"):
        parts(b"\x30\x80" + element(0x30, b"".join([*FIELDS[:5], FIELDS[0]])) + bytes(128))
    with pytest.raises(ValueError, match=r"^not a certificate$"):
        parts(element(0x31, element(0x30, b""), 1))


def test_anything_shorter_is_cut_off() -> None:
    parts(good())
    for length in range(len(good())):
        with pytest.raises(ValueError, match=r"^cut off$"):
            parts(good()[:length])


@given(st.binary(max_size=300) | st.tuples(st.integers(0, 200), st.integers(0, 255)))
def test_any_octets(given: bytes | tuple[int, int]) -> None:
    """Parts or ValueError, and each part is one of the octets' own."""
    octets = given
    if not isinstance(octets, bytes):
        at, value = octets
        whole = bytearray(good())
        whole[at % len(whole)] = value
        octets = bytes(whole)
    with contextlib.suppress(ValueError):
        assert all(part in octets for part in parts(octets))
