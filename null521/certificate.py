"""Whether STARTTLS may be offered: is there a certificate, a key, and time left to use them?

Asked for each connection, so it must not import the ssl module, and cannot see all that may be
wrong: a key that belongs to another certificate shows only when a client asks for TLS (tls.py).
"""

import time
from binascii import a2b_base64

# Validity ::= SEQUENCE { notBefore Time, notAfter Time }, where each Time is a UTCTime of 13
# characters or a GeneralizedTime of 15: RFC 5280, 4.1.2.5. How such a sequence begins in DER, the
# octets from there to the characters of notAfter, and how many these are.
VALIDITY = (
    (b"\x30\x1e\x17\x0d", 4 + 13 + 2, 13),
    (b"\x30\x20\x17\x0d", 4 + 13 + 2, 15),
    (b"\x30\x22\x18\x0f", 4 + 15 + 2, 15),
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
    end = not_after(certificate)
    if not end:
        return f"{cert} has no certificate that can be read"
    if end < time.strftime("%Y%m%d%H%M%SZ", time.gmtime()):
        return f"{cert} has a certificate that expired at {end}"
    return ""


def not_after(certificate: bytes) -> str:
    """When it ends, as YYYYMMDDHHMMSSZ in UTC; "" if that is not to be found. In DER."""
    for beginning, offset, length in VALIDITY:
        start = certificate.find(beginning)
        if start >= 0:
            end = certificate[start + offset : start + offset + length].decode("ascii", "replace")
            # Of a year's two digits, 50 and above are of the last century: RFC 5280, 4.1.2.5.1.
            return end if length == 15 else ("20" if end < "5" else "19") + end
    return ""


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
