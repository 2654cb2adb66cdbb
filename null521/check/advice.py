"""What to say about how a host refuses mail: which senders queue it nevertheless, and why.

It knows the findings at each address and the predictions. It must not know DNS (mx.py, tlsa.py).
"""

import ipaddress
from collections.abc import Sequence

from null521.check import prediction, x509
from null521.check.remarks import Remark
from null521.check.verdict import REFUSES, Finding

SMTP_PORT = 25
EARLY, LATE = ("greeting", "helo"), ("mail", "rcpt")

# Senders that queue the mail if they are told to verify certificates, and one does not verify: how
# they are told. Measured by tests/system/senders/test_verifying.py.
VERIFIERS = {
    "Postfix 3.7 to 3.10": "smtp_tls_security_level=verify",
    "Exim 4.96 to 4.98": "hosts_require_tls and tls_verify_hosts",
    "OpenSMTPD 6.8 to 7.6": "relay tls",
    "sendmail 8.17 to 8.18": "VERIFY",
}
# docs/senders.md says how these were measured; the rest is from RFC 8461, 5.
OTHER_VERIFIERS = (
    "python-slimta; by documentation, also KumoMTA and senders that use MTA-STS. Nodemailer, "
    "aiosmtplib, PHPMailer, and what is written with the libraries of Ruby and Go give up, with an "
    "error about the certificate (measured)"
)


def judge(findings: Sequence[Finding], port: int) -> list[Remark]:
    """All remarks about the addresses of a host that was asked on that port."""
    return [
        *_faults_of_tls(findings),
        *_refused_early(findings),
        *_starttls(findings),
        *_port_25(findings, port),
    ]


def _faults_of_tls(findings: Sequence[Finding]) -> list[Remark]:
    return [
        Remark("tls-differs" if one.has_tls else "starttls-fails", one.address, one.fault)
        for one in findings
        if one.fault
    ]


def _refused_early(findings: Sequence[Finding]) -> list[Remark]:
    """By stage, whether the host hangs up, and whether it has STARTTLS: as prediction.py does."""
    groups: dict[tuple[str, bool, bool], list[str]] = {}
    for one in findings:
        if one.verdict.status == REFUSES and one.verdict.stage in EARLY:
            key = one.verdict.stage, one.answers.has_hung_up, one.has_tls
            groups.setdefault(key, []).append(one.address)
    remarks = []
    for (stage, has_hung_up, has_tls), addresses in groups.items():
        about = ", ".join(addresses)
        if has_hung_up and stage != "greeting":
            text = f"senders may queue the mail if refused at {stage} and cut off; refuse at rcpt"
            remarks.append(Remark("refused-early", about, text))
            continue
        by_outcome: dict[str, list[str]] = {}
        for sender in prediction.at_stage(stage, has_tls):
            if sender.outcome != prediction.AT_ONCE:
                by_outcome.setdefault(sender.outcome, []).append(sender.sender)
        names = tuple(name for group in by_outcome.values() for name in group)
        listed = ", ".join(
            f"{', '.join(group)} ({outcome})" for outcome, group in by_outcome.items()
        )
        if names:
            text = (
                f"some senders queue mail that is refused at {stage}: {listed}; by their source "
                f"code also {', '.join(prediction.NOT_MEASURED)}; refuse at rcpt"
            )
            remarks.append(Remark("refused-early", about, text, names))
    return remarks


def _starttls(findings: Sequence[Finding]) -> list[Remark]:
    """Not offered, where senders that require TLS then queue the mail; or not verifiable."""
    without, self_signed = [], []
    for one in findings:
        is_late = one.verdict.status == REFUSES and one.verdict.stage in LATE
        if one.secured is None and is_late:
            without.append(one.address)
        elif one.secured and one.has_tls and is_self_signed(one.secured.chain):
            self_signed.append(one.address)
    remarks = []
    if without:
        names = tuple(
            sender.sender
            for sender in prediction.at_stage("rcpt", starttls=False)
            if sender.insisting != prediction.AT_ONCE
        )
        text = (
            "STARTTLS is not offered, so senders that require TLS queue the mail; offer it "
            "(null521: tls-cert and tls-key)"
        )
        remarks.append(Remark("starttls-not-offered", ", ".join(without), text, names))
    if self_signed:
        listed = ", ".join(f"{sender} ({how})" for sender, how in VERIFIERS.items())
        text = (
            "the certificate is self-signed; senders that verify certificates reject it. These "
            f"queue the mail, as measured: {listed}, {OTHER_VERIFIERS}"
        )
        remarks.append(Remark("self-signed", ", ".join(self_signed), text, tuple(VERIFIERS)))
    return remarks


def _port_25(findings: Sequence[Finding], port: int) -> list[Remark]:
    """No connection or no greeting, which may be the fault of the network here."""
    if port != SMTP_PORT:
        return []
    outside = [one for one in findings if not _is_loopback(one.address)]
    # If one address answers, others over the same version of IP are not blocked here.
    works = {_version(one.address) for one in outside if not one.answers.unanswered}
    blocked = [
        one.address
        for one in outside
        if one.answers.unanswered
        and not (one.answers.unreachable or _version(one.address) in works)
    ]
    if not blocked:
        return []
    text = (
        "many networks, such as clouds and access providers, block outgoing connections to port "
        "25, so the cause may be here, not there; check from another network too"
    )
    return [Remark("port-25-blocked", ", ".join(blocked), text)]


def is_self_signed(chain: Sequence[bytes]) -> bool:
    """Whether the host's certificate, the first in the chain, names itself as its issuer."""
    try:
        return x509.parts(chain[0]).is_self_issued
    except (IndexError, ValueError):
        return False


def _version(address: str) -> int:
    return ipaddress.ip_address(address).version


def _is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address).is_loopback
