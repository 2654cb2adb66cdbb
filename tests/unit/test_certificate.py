"""Whether STARTTLS may be offered: by real certificates of every kind."""

from pathlib import Path

import pytest
from helpers.certificates import KINDS, dates, make

from null521 import certificate, settings
from null521.settings import Settings
from null521.tls import Secured


def fault_of(cert: str, key: str) -> str:
    """Why check() finds them unusable."""
    with pytest.raises(certificate.Unusable) as raised:
        certificate.check(cert, key)
    prefix, colon, reason = str(raised.value).partition(": ")
    assert (prefix, colon) == ("STARTTLS is not available", ": ")
    return reason


# 20 days: two UTCTimes. 100 years: from 2050 on, a GeneralizedTime (RFC 5280, 4.1.2.5).
@pytest.mark.parametrize("days", ["20", "36500"])
@pytest.mark.parametrize("kind", KINDS)
def test_one_that_serves(tmp_path: Path, kind: str, days: str) -> None:
    cert, key = make(tmp_path, kind, "-days", days)
    certificate.check(cert, key)
    octets = certificate.block(cert, b" CERTIFICATE-----")
    assert certificate.validity(octets) == dates(cert)


def test_one_of_the_last_century_and_one_of_the_far_future() -> None:
    utc, general = b"\x17\x0d", b"\x18\x0f"
    last = b"\x30\x1e" + utc + b"980101000000Z" + utc + b"991231235959Z"
    assert certificate.validity(b"DER " + last) == ("19980101000000Z", "19991231235959Z")
    far = b"\x30\x22" + general + b"20500101000000Z" + general + b"99991231235959Z"
    assert certificate.validity(b"DER " + far) == ("20500101000000Z", "99991231235959Z")
    assert certificate.validity(b"") == ("", "")


def test_expired(tmp_path: Path) -> None:
    cert, key = make(tmp_path, "ec", "-days", "-1")
    assert fault_of(cert, key) == f"{cert} has a certificate that expired at {dates(cert)[1]}"


def test_what_cannot_be_read_or_is_not_what_it_should_be(tmp_path: Path) -> None:
    cert, key = make(tmp_path)
    none, empty, cut = (str(tmp_path / name) for name in ("none", "empty", "cut"))
    Path(empty).write_text("none\n")
    Path(cut).write_text(Path(cert).read_text()[:200])
    no_time = str(tmp_path / "no-time")
    Path(no_time).write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    for pair, fault in {
        (none, key): f"{none}: No such file or directory",
        (cert, none): f"{none}: No such file or directory",
        (cert, str(tmp_path)): f"{tmp_path}: Is a directory",
        (empty, key): f"{empty} has no CERTIFICATE in PEM",
        (cert, empty): f"{empty} has no PRIVATE KEY in PEM",
        (cut, key): f"{cut} has no CERTIFICATE in PEM",
        (key, cert): f"{key} has no CERTIFICATE in PEM",
        (no_time, key): f"{no_time} has no certificate that can be read",
        ("", key): "tls-cert and tls-key go together, but only one of them is set",
        (cert, ""): "tls-cert and tls-key go together, but only one of them is set",
    }.items():
        assert fault_of(*pair) == fault


def settings_for(cert: str, key: str) -> Settings:
    return settings.read([f"--tls-cert={cert}", f"--tls-key={key}", "--refuse-at=rcpt"], {})


def test_a_usable_pair_is_offered_and_secures_the_session(tmp_path: Path) -> None:
    given = settings_for(*make(tmp_path))
    given.max_octets = 5
    assert certificate.is_offered(given) is True
    session = given.session(starttls=True)
    made = certificate.secured(session, given)
    assert isinstance(made, Secured)
    assert given.warnings == []
    made.receive(b"GET /")
    assert (made.ending, session.tls) == ("tls", "failed: http request")
    bounded = certificate.secured(session, given)
    bounded.receive(b"\x16\x03\x01\x00\x50\x01")
    assert bounded.ending == "limit"


def test_an_unusable_pair_is_a_warning_and_leaves_the_session_in_clear(tmp_path: Path) -> None:
    cert, key = make(tmp_path)
    for pair in (cert, str(tmp_path / "none")), (str(tmp_path / "none"), key):
        given = settings_for(*pair)
        assert certificate.is_offered(given) is False
        session = given.session(starttls=True)
        assert certificate.secured(session, given) is session
        why = f"STARTTLS is not available: {tmp_path / 'none'}: No such file or directory"
        assert given.warnings == [why, why]
