"""Whether STARTTLS may be offered: by real certificates of every kind."""

import os
import re
import ssl
from pathlib import Path

import pytest
from helpers.certificates import KINDS, dates, make

from null521 import certificate, settings, tls
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


def test_a_fifo_is_empty_and_keeps_nobody_waiting(tmp_path: Path) -> None:
    cert, key = make(tmp_path)
    Path(cert).unlink()
    os.mkfifo(cert)
    assert fault_of(cert, key) == f"{cert} has no CERTIFICATE in PEM"


def test_a_pair_that_is_renewed_while_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its files are renamed into place one after the other, as by certbot; see rename(2)."""
    cert, key = make(tmp_path)
    (tmp_path / "renewed").mkdir()
    renewed = list(make(tmp_path / "renewed"))
    read, faults = tls.context, []

    def between(cert: str, key: str) -> ssl.SSLContext:
        try:
            return read(cert, key)
        except ssl.SSLError as error:
            faults.append(error.reason)
            if renewed:
                Path(renewed.pop()).rename(key)
            raise

    monkeypatch.setattr(tls, "context", between)
    Path(renewed.pop(0)).rename(cert)
    certificate.load(cert, key)
    assert faults == ["KEY_VALUES_MISMATCH"]

    faults.clear()
    Path(make(tmp_path / "renewed")[0]).rename(cert)
    with pytest.raises(certificate.Unusable, match="key values mismatch"):
        certificate.load(cert, key)
    assert faults == ["KEY_VALUES_MISMATCH"]


def test_a_pair_that_changes_whenever_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cert, key = make(tmp_path)
    times = []

    def between(cert: str, key: str) -> ssl.SSLContext:
        times.append(1)
        Path(key).write_text("x" * len(times))
        raise OSError

    monkeypatch.setattr(tls, "context", between)
    with pytest.raises(certificate.Unusable):
        certificate.load(cert, key)
    assert len(times) == 3


def test_a_pair_that_goes_away_while_it_is_read(tmp_path: Path) -> None:
    cert, key = make(tmp_path)
    Path(key).unlink()
    with pytest.raises(certificate.Unusable, match="No such file"):
        certificate.load(cert, key)


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


@pytest.mark.parametrize(
    ("moment", "seconds"),
    [
        ("19700101000000Z", 0),
        ("20300228235959Z", 1898553599),
        ("20500101000000Z", 2524608000),
        ("99991231235959Z", 253402300799),  # never: RFC 5280, 4.1.2.5
        ("", None),
        ("20301332000000Z", None),
        ("2030022823595\ufffdZ", None),
    ],
)
def test_the_time_at_which_a_certificate_expires(moment: str, seconds: int | None) -> None:
    assert certificate.seconds_of(moment) == seconds


def test_a_fault_of_ours_costs_no_more_than_starttls(monkeypatch: pytest.MonkeyPatch) -> None:
    def check(cert: str, key: str) -> None:
        raise RuntimeError

    monkeypatch.setattr(certificate, "check", check)
    found = Settings()
    assert certificate.is_offered(found) is False
    (warning,) = found.warnings
    where = rf"RuntimeError.* at test_certificate\.py:{check.__code__.co_firstlineno + 1}$"
    assert re.search(f"^STARTTLS is not available: .*{where}", warning), warning
