"""What this host answers to a sender that connects to it from the host itself.

It knows the probe of `null521 check`, which it shares. It must not know why the host answers so.
"""

import socket
from dataclasses import dataclass, field

from null521.check import cli as check
from null521.check.advice import EARLY
from null521.check.verdict import DOES_NOT, REFUSES, Finding
from null521.local.parts import Part
from null521.local.ports import Listener

MAX_TARGETS = 8


@dataclass
class Answers:
    """A finding for each address that could be asked, with its port; how many were not."""

    findings: list[Finding] = field(default_factory=list)
    ports: list[int] = field(default_factory=list)
    left_out: int = 0

    @property
    def refusing(self) -> list[Finding]:
        """Those that refuse."""
        return [one for one in self.findings if one.verdict.status == REFUSES]

    @property
    def stages(self) -> list[str]:
        """Where they refuse."""
        return sorted({one.verdict.stage for one in self.refusing})

    @property
    def not_after(self) -> str:
        """The end of the certificate that is in use, as YYYYMMDDHHMMSSZ; "" if none is seen."""
        ends = [
            one.secured.tls.not_after for one in self.findings if one.secured and one.secured.tls
        ]
        return min(filter(None, ends), default="")

    @property
    def offers_starttls(self) -> bool:
        """Whether all of those that refuse offer STARTTLS, and it works."""
        return bool(self.refusing) and all(one.has_tls for one in self.refusing)


def sources(findings: list[Finding]) -> list[str]:
    """From which of this host's addresses those were reached, as records name the client."""
    return sorted({_source(one.address) for one in findings})


def _source(address: str) -> str:
    """The kernel's choice; to connect a datagram socket sends nothing."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as client:
            client.connect((address, 25))
            return str(client.getsockname()[0])
    except OSError:
        return address


def ask(listeners: list[Listener], port: int, timeout: float) -> Answers:
    """Ask at each address that is listened on, or at 127.0.0.1 if none is."""
    targets = dict.fromkeys((host, one.port) for one in listeners for host in one.targets)
    asked = list(targets) or ([] if listeners else [("127.0.0.1", port)])
    threads = [
        check.in_thread(check.ask, host, check.Place(host, number), timeout)
        for host, number in asked[:MAX_TARGETS]
    ]
    findings = [thread() for thread in threads]
    reached = [
        (one, number)
        for one, (_, number) in zip(findings, asked, strict=False)
        # Nothing is wrong if there is no IPv6 here, or if a socket of "::" is for IPv6 alone.
        if not (one.answers.unreachable or (_is_refused(one) and _is_second(one, listeners)))
    ]
    return Answers([one for one, _ in reached], [port for _, port in reached],
                   max(0, len(asked) - MAX_TARGETS))  # fmt: skip


def _is_refused(one: Finding) -> bool:
    """Whether there was no connection."""
    return not one.answers.replies and one.answers.trouble.startswith("connection failed")


def _is_second(one: Finding, listeners: list[Listener]) -> bool:
    """Whether it was asked only because "::" may include IPv4."""
    listened = {listener.address for listener in listeners}
    return one.address == "127.0.0.1" and listened.isdisjoint(("127.0.0.1", "0.0.0.0"))


def judge(answers: Answers, listened: bool, needs_header: bool = False) -> Part:
    """listened: whether anything listens here, by what the kernel says.

    needs_header: whether nothing could be asked, because only a balancer may connect from here.
    """
    part = Part("answers")
    if needs_header:
        part.unknown.append("answers: connections from this host need a PROXY header, as set")
        return part
    part.data["addresses"] = [
        {
            "address": one.address,
            "port": port,
            "status": one.verdict.status,
            "stage": one.verdict.stage or None,
            "starttls": one.has_tls,
            "trouble": one.answers.trouble,
        }
        for one, port in zip(answers.findings, answers.ports, strict=True)
    ]
    for one, port in zip(answers.findings, answers.ports, strict=True):
        label = check.Place(one.address, port).label
        if one.verdict.status == REFUSES:
            tls = ", STARTTLS works" if one.has_tls else ", without STARTTLS"
            part.found.append(f"{label} refuses at {one.verdict.stage}{tls}")
        elif listened or one.answers.replies:
            part.found.append(one.verdict.of(label))
            if one.verdict.status == DOES_NOT or not one.answers.unreachable:
                part.faults.append(one.verdict.of(label))
        if one.verdict.stage in EARLY and one.verdict.status == REFUSES:
            part.faults.append(f"{label} refuses at {one.verdict.stage}, so some senders queue the "
                               "mail: set NULL521_REFUSE_AT=rcpt")  # fmt: skip
        if one.fault:
            part.faults.append(f"{label}: {one.fault}")
    if answers.refusing and not listened:
        part.found.append("what answers does not listen in this network namespace: a container's "
                          "published port?")  # fmt: skip
    if answers.left_out:
        part.unknown.append(f"{answers.left_out} more addresses were not asked")
    if listened and not answers.findings:
        part.unknown.append("answers: nothing could be reached")
    elif not part.found:
        part.found.append("no answer")
        part.is_tested = False
    return part
