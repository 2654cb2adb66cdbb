"""Whether STARTTLS may be offered: is there a certificate, a key, and time left to use them?

Asked for each connection, so it must not import the ssl module, and cannot see all that may be
wrong: a key that belongs to another certificate shows only when a client asks for TLS (tls.py).
"""

import time
from binascii import a2b_base64

# Validity ::= SEQUENCE { notBefore Time, notAfter Time }, where each Time is a UTCTime of 13
# characters or a GeneralizedTime of 15: RFC 5280, 4.1.2.5. How such a sequence begins in DER, and
# how many characters each has; before the second there are two octets more.
VALIDITY = (
    (b"\x30\x1e\x17\x0d", 13, 13),
    (b"\x30\x20\x17\x0d", 13, 15),
    (b"\x30\x22\x18\x0f", 15, 15),
)

MAX_FILE = 2**20  # octets read: chains are a few thousand


def fault(cert: str, key: str) -> str:
    """Why the PEM files at these paths cannot serve for TLS, in one line; "" if they seem to."""
    if not (cert and key):
        return "tls-cert and tls-key go together, but only one of them is set"
    try:
        certificate = block(cert, b" CERTIFICATE-----")
        block(key, b" PRIVATE KEY-----")
    except OSError as error:
        return f"{error.filename}: {error.strerror}"
    except ValueError as error:
        return str(error)
    _, end = validity(certificate)
    if not end:
        return f"{cert} has no certificate that can be read"
    if end < time.strftime("%Y%m%d%H%M%SZ", time.gmtime()):
        return f"{cert} has a certificate that expired at {end}"
    return ""


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


def block(path: str, label: bytes) -> bytes:
    """What the first block of that label holds; OSError, or ValueError if none is whole."""
    with open(path, "rb") as file:
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
