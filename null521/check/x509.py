"""The parts of a certificate that TLSA records are about, cut out of its DER.

It knows RFC 5280, 4.1, and as much of DER as that needs. It verifies nothing. The certificate may
be hostile: whatever it holds, the outcome is these parts or ValueError.
"""

from typing import NamedTuple

SEQUENCE, VERSION = 0x30, 0xA0


class Parts(NamedTuple):
    """Each in DER, with its tag and length."""

    issuer: bytes
    subject: bytes
    public_key: bytes  # SubjectPublicKeyInfo

    @property
    def is_self_issued(self) -> bool:
        """Whether it names itself as its issuer, as self-signed certificates do."""
        return self.issuer == self.subject


def parts(certificate: bytes) -> Parts:
    """Of the certificate in DER; ValueError if it is not one."""
    tag, _, body = _element(certificate)
    inner_tag, _, fields = _element(body)
    if (tag, inner_tag) != (SEQUENCE, SEQUENCE):
        raise ValueError("not a certificate")
    if fields[:1] == bytes([VERSION]):
        fields = fields[len(_element(fields)[1]) :]
    # serialNumber, signature, issuer, validity, subject, subjectPublicKeyInfo
    found = []
    for _ in range(6):
        _, whole, _ = _element(fields)
        found.append(whole)
        fields = fields[len(whole) :]
    return Parts(found[2], found[4], found[5])


def _element(octets: bytes) -> tuple[int, bytes, bytes]:
    """The tag of the first element, the whole element, and its content; ValueError."""
    if len(octets) < 2:
        raise ValueError("cut off")
    start, length = 2, octets[1]
    if length >= 0x80:  # so many octets of length follow: X.690, 8.1.3.5
        start += length - 0x80
        length = int.from_bytes(octets[2:start])
    if start + length > len(octets):
        raise ValueError("cut off")
    return octets[0], octets[: start + length], octets[start : start + length]
