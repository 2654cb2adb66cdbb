"""Whether the certificate of a host is the one that its TLSA records promise.

It knows DANE for mail: RFC 6698, 7671 and 7672. It must not know how the records or the certificate
were obtained. Both may be hostile; only digests and lengths of them are shown.

Not judged: what only a verified chain shows (for DANE-TA, signatures, names and dates), and whether
DNSSEC secures the records, except for what the name server says.
"""

import hashlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

from null521.check import x509
from null521.check.advice import LATE
from null521.check.remarks import Remark
from null521.check.verdict import REFUSES, Finding

DANE_TA, DANE_EE = 2, 3  # certificate usages: RFC 7218. 0 and 1 are unusable: RFC 7672, 3.1.3.
CERTIFICATE, PUBLIC_KEY = 0, 1  # selectors
FULL = 0  # the matching type of data that is no digest
# Matching types: what becomes of the selected part, and the octets of its digest.
MATCHING: dict[int, Callable[[bytes], bytes]] = {
    FULL: bytes,
    1: lambda part: hashlib.sha256(part).digest(),
    2: lambda part: hashlib.sha512(part).digest(),
}
LENGTHS = {1: 32, 2: 64}
MAX_SHOWN = 8  # octets of the data
MAX_RECORDS_SHOWN = 8

QUEUE = "senders that use DANE queue the mail (by RFC 7672; not measured)"


class Tlsa(NamedTuple):
    """A TLSA record: RFC 6698, 2.1."""

    usage: int
    selector: int
    matching: int
    data: bytes

    def __str__(self) -> str:
        """As in a zone file, with the data cut."""
        more = "..." if len(self.data) > MAX_SHOWN else ""
        return f"{self.usage} {self.selector} {self.matching} {self.data[:MAX_SHOWN].hex()}{more}"

    @property
    def is_usable(self) -> bool:
        """Whether senders of mail use it: RFC 7672, 3.1; RFC 7671, 10.1.2, about lengths."""
        return (
            self.usage in (DANE_TA, DANE_EE)
            and self.selector in (CERTIFICATE, PUBLIC_KEY)
            and self.matching in MATCHING
            and LENGTHS.get(self.matching, len(self.data)) == len(self.data) > 0
        )

    def matches(self, chain: Sequence[bytes]) -> bool | None:
        """Whether it matches the certificates, in DER, the host's first; None if not judged."""
        candidates = chain[:1] if self.usage == DANE_EE else chain[1:]
        for certificate in candidates:
            try:
                part = certificate
                if self.selector == PUBLIC_KEY:
                    part = x509.parts(certificate).public_key
            except ValueError:
                continue
            if MATCHING[self.matching](part) == self.data:
                return True
        # The certificate or key itself may be in DNS, and not in the chain: RFC 7671, 5.2.3.
        return None if self.usage == DANE_TA and self.matching == FULL else False


class TlsaRecords(NamedTuple):
    """The records of a name. is_authentic: whether the name server says that they are secured."""

    name: str
    records: tuple[Tlsa, ...]
    is_authentic: bool

    def __str__(self) -> str:
        left_out = len(self.records) - MAX_RECORDS_SHOWN
        more = f" and {left_out} more" if left_out > 0 else ""
        listed = " and ".join(map(str, self.records[:MAX_RECORDS_SHOWN]))
        return f"{self.name} IN TLSA {listed}{more}"


def judge(tlsa: TlsaRecords | None, findings: Sequence[Finding]) -> list[Remark]:
    """What is to say about the records, and the certificate at each address that refuses mail."""
    if tlsa is None:
        return []
    said: dict[tuple[str, str], list[str]] = {}
    for finding in findings:
        name, text = _of(tlsa, finding)
        if name:
            said.setdefault((name, text), []).append(finding.address)
    dnssec = (
        "the name server says that DNSSEC secures the record (AD)"
        if tlsa.is_authentic
        else "the record counts only with DNSSEC, which the name server does not confirm (no AD)"
    )
    return [
        Remark(name, ", ".join(addresses), f"{text}; {dnssec}")
        for (name, text), addresses in said.items()
    ]


def _of(tlsa: TlsaRecords, finding: Finding) -> tuple[str, str]:
    """Name and text of the remark about one address; "" if there is none."""
    if finding.secured is None or finding.secured.tls is None:
        # Whatever a record holds, it promises STARTTLS: RFC 7672, 2.2. Before MAIL, it is not due.
        if finding.verdict.status == REFUSES and finding.verdict.stage in LATE:
            return "tlsa-without-starttls", f"{tlsa} promises STARTTLS, so {QUEUE}"
        return "", ""
    usable = [record for record in tlsa.records if record.is_usable]
    if not usable:
        return (
            "tlsa-unusable",
            f"senders cannot use {tlsa}: for mail, usage is 2 or 3, selector 0 or 1, and the data "
            "as long as matching type 0, 1 or 2 requires (RFC 7672, 3.1)",
        )
    outcomes = {record: record.matches(finding.secured.chain) for record in usable}
    matching = [record for record, matches in outcomes.items() if matches]
    if any(record.usage == DANE_EE for record in matching):
        return "tlsa-matches", f"the certificate matches {tlsa}"
    if matching:
        return (
            "tlsa-matches",
            f"the chain of the certificate matches {tlsa}; its signatures, names and dates were "
            "not judged",
        )
    if None in outcomes.values():
        return (
            "tlsa-not-judged",
            f"the certificate does not match {tlsa}, but a usage of 2 with matching type 0 was not "
            "judged",
        )
    return "tlsa-mismatch", f"the certificate does not match {tlsa}, so {QUEUE}"
