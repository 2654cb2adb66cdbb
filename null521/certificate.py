"""The certificate for STARTTLS: whether it looks usable, and the TLS context made of it.

It knows PEM files, and enough of DER to find a certificate's dates. check() runs for every
connection, so it must not import the ssl module, and it cannot see everything: a key that belongs
to another certificate shows only in context().
"""

import posix
import time
from binascii import a2b_base64

MYPY = False
if MYPY:
    import ssl

    from null521.session import Session
    from null521.settings import Settings
    from null521.tls import Secured

# Validity ::= SEQUENCE { notBefore Time, notAfter Time }, where each Time is a UTCTime of 13
# characters or a GeneralizedTime of 15: RFC 5280, 4.1.2.5. How such a sequence begins in DER, and
# how many characters each has; before the second there are two octets more.
VALIDITY = (
    (b"\x30\x1e\x17\x0d", 13, 13),
    (b"\x30\x20\x17\x0d", 13, 15),
    (b"\x30\x22\x18\x0f", 15, 15),
)

MAX_FILE = 2**20  # octets read: chains are a few thousand
FORMAT = "%Y%m%d%H%M%SZ"  # of the times that are returned here, in UTC


class Unusable(Exception):
    """STARTTLS cannot be offered; says so, and why, in one line."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"STARTTLS is not available: {reason}")


def check(cert: str, key: str) -> str:
    """When the certificate at these paths of PEM files expires; Unusable if they cannot work."""
    if not (cert and key):
        raise Unusable("tls-cert and tls-key go together, but only one of them is set")
    try:
        certificate = block(cert, b" CERTIFICATE-----")
        block(key, b" PRIVATE KEY-----")
    except OSError as error:
        raise Unusable(f"{error.filename}: {error.strerror}") from error
    except ValueError as error:
        raise Unusable(str(error)) from error
    _, end = validity(certificate)
    if not end:
        raise Unusable(f"{cert} has no certificate that can be read")
    if end < time.strftime(FORMAT, time.gmtime()):
        raise Unusable(f"{cert} has a certificate that expired at {end}")
    return end


def context(cert: str, key: str) -> "ssl.SSLContext":
    """What sessions under TLS have in common; Unusable if the PEM files cannot work.

    This imports the ssl module: 15 ms, 4 MB.
    """
    check(cert, key)
    return load(cert, key)


def load(cert: str, key: str, tries: int = 3) -> "ssl.SSLContext":
    """The same for files that check() has just looked at."""
    try:
        from null521 import tls
    except ImportError as error:  # a Python that was built without OpenSSL
        raise Unusable(str(error)) from error
    before = _written(cert, key)
    try:
        return tls.context(cert, key)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        # One file was read before they were renewed and the other after: a pair that never was.
        if tries > 1 and _written(cert, key) != before:
            return load(cert, key, tries - 1)
        raise Unusable(f"{cert} and {key} do not work: {tls.reason(error)}") from error


def _written(*paths: str) -> list[tuple[int, int, int]]:
    """Something that is another once one of these files has been written."""
    from os import stat

    try:
        files = [stat(path) for path in paths]
    except OSError:
        return []
    return [(file.st_ino, file.st_size, file.st_mtime_ns) for file in files]


def is_offered(settings: "Settings") -> bool:
    """Whether one process for one client offers STARTTLS; if not, a warning says why."""
    try:
        check(settings.tls_cert, settings.tls_key)
    except Unusable as error:
        settings.warnings.append(str(error))
        return False
    except Exception as error:  # a fault of ours costs the client no more than STARTTLS
        from null521 import fault

        settings.warnings.append(str(Unusable(fault.line(error))))
        return False
    return True


def secured(session: "Session", settings: "Settings") -> "Session | Secured":
    """The session with TLS around it; as it is if that cannot be, and a warning says why."""
    try:
        made = context(settings.tls_cert, settings.tls_key)
    except Unusable as error:
        settings.warnings.append(str(error))
        return session
    from null521.tls import Secured

    return Secured(session, made, settings.max_octets)


def validity(certificate: bytes) -> tuple[str, str]:
    """From when to when, as YYYYMMDDHHMMSSZ in UTC; "" if that is not to be found. In DER."""
    for beginning, first, second in VALIDITY:
        at = certificate.find(beginning)
        if at >= 0:
            start = at + len(beginning)
            end = start + first + 2
            return _time(certificate[start : start + first]), _time(certificate[end : end + second])
    return "", ""


def _time(octets: bytes) -> str:
    text = octets.decode("ascii", "replace")
    # Of a year's two digits, 50 and above are of the last century: RFC 5280, 4.1.2.5.1.
    return text if len(text) == 15 else ("20" if text < "5" else "19") + text


def seconds_of(moment: str) -> int | None:
    """Since the epoch, of a time as above; None if it is none, which OpenSSL accepts."""
    from calendar import timegm

    try:
        return timegm(time.strptime(moment, FORMAT))
    except (ValueError, OverflowError):
        return None


def _opener(path: str, flags: int) -> int:
    """For open(): a FIFO is empty, and does not keep the client waiting."""
    return posix.open(path, flags | posix.O_NONBLOCK)


def block(path: str, label: bytes) -> bytes:
    """What the first block of that label holds; OSError, or ValueError if none is whole."""
    with open(path, "rb", opener=_opener) as file:
        text = file.read(MAX_FILE)
    before, found, rest = text.partition(label)
    if before.endswith(b" ENCRYPTED"):
        raise ValueError(f"{path} is encrypted, and nobody is there to type the password")
    text, end, _ = rest.partition(b"-----END ")
    try:
        octets = a2b_base64(text)
    except ValueError:
        octets = b""
    if not (found and end and octets):
        raise ValueError(f"{path} has no{label.decode().rstrip('-')} in PEM")
    return octets
