"""What DNS says about mail for a host that accepts none, and what it should say.

It knows dnspython, which may be missing, and the records that senders look up. It must not know
what the host answers. What comes from DNS is bounded, and in presentation format, which escapes
everything that a terminal would obey (RFC 1035, 5.1).
"""

import time
from dataclasses import dataclass, field

import dns.exception
import dns.name
import dns.resolver

MAX_MX = 8  # records of each name that are looked at
MAX_PARENTS = 3


class NoAnswer(LookupError):
    """DNS has no answer; str() says why in one line."""


@dataclass
class MxFindings:
    """What DNS says. The names of the fields are keys in JSON.

    name: the one whose records count, after aliases. null_mx: whether it has a valid null MX.
    faults: a line for each mistake. notes: a line for each other fact.
    record: the one to publish, as in a zone file, or "". trouble: why nothing is known, or "".
    """

    name: str = ""
    mx: list[tuple[int, str]] = field(default_factory=list)
    null_mx: bool = False
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    record: str = ""
    trouble: str = ""


def addresses(host: str, server: tuple[str, int] | None, timeout: float) -> list[str]:
    """IPv6 and IPv4 addresses, from that name server or the system's; NoAnswer if it has none."""
    return Resolver(server, timeout).addresses(_as_given(host))


def look_up(
    host: str, addresses: list[str], server: tuple[str, int] | None, timeout: float
) -> MxFindings:
    """What senders are told about mail for that host, which has these addresses."""
    findings = MxFindings()
    try:
        Resolver(server, timeout).look_up(findings, _as_given(host), addresses)
    except NoAnswer as error:
        findings.trouble = str(error)
    return findings


class Resolver:
    """Asks the given name server or the system's. All of its queries share one timeout, in seconds.

    NoAnswer, from each method, if no name server answers in time.
    """

    def __init__(self, server: tuple[str, int] | None, timeout: float) -> None:
        self._timeout = timeout
        self._end = time.monotonic() + timeout
        try:
            self._resolver = dns.resolver.Resolver(configure=server is None)
        except dns.exception.DNSException as error:
            raise NoAnswer("no name server is configured") from error
        if server:
            self._resolver.nameservers, self._resolver.port = [server[0]], server[1]

    def ask(self, name: dns.name.Name, kind: str) -> dns.resolver.Answer:
        """The answer, without records if the name has none of that kind."""
        try:
            return self._resolver.resolve(
                name,
                kind,
                raise_on_no_answer=False,
                search=True,
                lifetime=max(0.01, self._end - time.monotonic()),
            )
        except dns.resolver.NXDOMAIN as error:
            raise NoAnswer("there is no such name") from error
        except dns.resolver.NoNameservers as error:
            codes = {str(tried[3])[:60] for tried in error.kwargs["errors"]}
            raise NoAnswer(f"no answer: {', '.join(sorted(codes))}") from error
        except dns.exception.Timeout as error:
            raise NoAnswer(f"no answer within {self._timeout:g} s") from error
        except (dns.exception.DNSException, OSError) as error:
            raise NoAnswer(f"no answer: {str(error)[:60]!a}") from error

    def addresses(self, name: dns.name.Name) -> list[str]:
        """IPv6 and IPv4 addresses; NoAnswer if there are none."""
        found = [str(record) for kind in ("AAAA", "A") for record in self.ask(name, kind)]
        if not found:
            raise NoAnswer("the name has no address")
        return found

    def look_up(self, findings: MxFindings, host: dns.name.Name, addresses: list[str]) -> None:
        """Fill in the findings."""
        answer = self.ask(host, "MX")
        name = answer.canonical_name
        findings.name = _shown(name)
        if name != answer.qname:
            findings.notes.append(
                f"{_shown(answer.qname)} is an alias of {findings.name}, "
                "whose MX records apply to it (RFC 5321, 5.1)"
            )
        findings.mx = _mx(answer)
        self._judge_mx(findings, name, addresses)
        self._judge_parents(findings, name, addresses)

    def _judge_mx(self, findings: MxFindings, name: dns.name.Name, addresses: list[str]) -> None:
        null, others = _split(findings.mx)
        findings.null_mx = findings.mx == [(0, ".")]
        if findings.null_mx:
            findings.notes.append("there is a null MX (RFC 7505)")
            return
        findings.record = f"{name} IN MX 0 ."
        if null and others:
            findings.faults.append(
                f"a null MX beside another MX, {', '.join(others)}, is invalid (RFC 7505, 3)"
            )
        elif null:
            findings.faults.append(
                "a null MX must have preference 0 and be the only MX (RFC 7505, 3)"
            )
        elif not others:
            findings.faults.append(
                "no null MX (RFC 7505), which would tell most senders not to connect at all"
            )
        here = self._those_here(others, name, addresses)
        if here:
            findings.faults.append(_forbidden(findings.name, here))
        elsewhere = [exchange for exchange in others if exchange not in here]
        if elsewhere and not null:
            findings.faults.append(
                f"the MX of {findings.name} is {', '.join(elsewhere)}, "
                "so its mail goes there, not here (RFC 5321, 5.1)"
            )

    def _judge_parents(
        self, findings: MxFindings, host: dns.name.Name, addresses: list[str]
    ) -> None:
        """Look at the domains above the host, because the MX of one may point to this host."""
        name = host
        for _ in range(MAX_PARENTS):
            name = name.parent()
            if len(name) < 3:  # a top-level domain: its label and the root's
                return
            try:
                _, others = _split(_mx(self.ask(name, "MX")))
            except NoAnswer:
                continue
            here = self._those_here(others, host, addresses)
            if here:
                findings.faults.append(_forbidden(_shown(name), here))

    def _those_here(
        self, exchanges: list[str], host: dns.name.Name, addresses: list[str]
    ) -> list[str]:
        """Those of the exchanges that are the host itself, by name or by address."""
        here = []
        for exchange in exchanges:
            name = dns.name.from_text(exchange)
            try:
                is_here = name == host or not set(addresses).isdisjoint(self.addresses(name))
            except NoAnswer:
                continue
            if is_here:
                here.append(exchange)
        return here


def _forbidden(domain: str, here: list[str]) -> str:
    return (
        f"the MX of {domain} is this host, {', '.join(here)}: "
        "an MX must not point to a host that answers 521 (RFC 1846, 4.3)"
    )


def _mx(answer: dns.resolver.Answer) -> list[tuple[int, str]]:
    """Preferences and exchanges, as in a zone file but without the last dot."""
    return sorted((record.preference, _shown(record.exchange)) for record in answer)[:MAX_MX]


def _split(mx: list[tuple[int, str]]) -> tuple[bool, list[str]]:
    """Whether there is a null MX, and all other exchanges."""
    exchanges = [exchange for _, exchange in mx]
    return "." in exchanges, [exchange for exchange in exchanges if exchange != "."]


def _as_given(host: str) -> dns.name.Name:
    """The name as the user typed it: without a last dot, the resolver's search list applies."""
    return dns.name.from_text(host, origin=None)


def _shown(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True)
