"""What DNS says of a host that takes no mail, and what it ought to say.

It knows dnspython, which need not be installed, and the records that senders go by. It must not
know what the host answers. What comes out of DNS is bounded, and in its presentation format, in
which nothing is left that a terminal would obey (RFC 1035, 5.1).
"""

import time
from dataclasses import dataclass, field

import dns.exception
import dns.name
import dns.resolver

MAX_MX = 8  # looked at, of each name
MAX_PARENTS = 3


class Trouble(LookupError):
    """DNS has no answer; says why in one line."""


@dataclass
class Zone:
    """What was found.

    name: whose records count, once aliases are followed. null_mx: that there is a valid one.
    faults and notes: a line each, for what is not as it should be, and for what is good to know.
    record: to be published, as in a zone file; "" if it is there. trouble: why nothing is known.
    """

    name: str = ""
    mx: list[tuple[int, str]] = field(default_factory=list)
    null_mx: bool = False
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    record: str = ""
    trouble: str = ""


def addresses(host: str, server: tuple[str, int] | None, patience: float) -> list[str]:
    """IPv6 and IPv4, as that name server has it, or the system's; Trouble if there are none."""
    return Resolver(server, patience).addresses(_as_given(host))


def look(host: str, addresses: list[str], server: tuple[str, int] | None, patience: float) -> Zone:
    """What senders are told about mail for that host, which has these addresses."""
    zone = Zone()
    try:
        Resolver(server, patience).look(zone, _as_given(host), addresses)
    except Trouble as error:
        zone.trouble = str(error)
    return zone


class Resolver:
    """Asks the system's name servers or the one given, all in so many seconds from now on."""

    def __init__(self, server: tuple[str, int] | None, patience: float) -> None:
        self._patience = patience
        self._end = time.monotonic() + patience
        try:
            self._resolver = dns.resolver.Resolver(configure=server is None)
        except dns.exception.DNSException as error:
            raise Trouble("no name server is configured") from error
        if server:
            self._resolver.nameservers, self._resolver.port = [server[0]], server[1]

    def ask(self, name: dns.name.Name, kind: str) -> dns.resolver.Answer:
        """The answer, without records if the name has none of that kind; Trouble if none comes."""
        try:
            return self._resolver.resolve(
                name,
                kind,
                raise_on_no_answer=False,
                search=True,
                lifetime=max(0.01, self._end - time.monotonic()),
            )
        except dns.resolver.NXDOMAIN as error:
            raise Trouble("there is no such name") from error
        except dns.resolver.NoNameservers as error:
            codes = {str(tried[3])[:60] for tried in error.kwargs["errors"]}
            raise Trouble(f"no answer: {', '.join(sorted(codes))}") from error
        except dns.exception.Timeout as error:
            raise Trouble(f"no answer within {self._patience:g} s") from error
        except (dns.exception.DNSException, OSError) as error:
            raise Trouble(f"no answer: {str(error)[:60]!a}") from error

    def addresses(self, name: dns.name.Name) -> list[str]:
        """IPv6 and IPv4; Trouble if there are none."""
        found = [str(record) for kind in ("AAAA", "A") for record in self.ask(name, kind)]
        if not found:
            raise Trouble("there is none for that name")
        return found

    def look(self, zone: Zone, host: dns.name.Name, addresses: list[str]) -> None:
        """Fill in the zone; Trouble if nothing is known."""
        answer = self.ask(host, "MX")
        name = answer.canonical_name
        zone.name = _shown(name)
        if name != answer.qname:
            zone.notes.append(
                f"{_shown(answer.qname)} is an alias of {zone.name}, "
                "whose records count for it (RFC 5321, 5.1)"
            )
        zone.mx = _mx(answer)
        self._judge_mx(zone, name, addresses)
        self._judge_parents(zone, name, addresses)

    def _judge_mx(self, zone: Zone, name: dns.name.Name, addresses: list[str]) -> None:
        null, others = _split(zone.mx)
        zone.null_mx = zone.mx == [(0, ".")]
        if zone.null_mx:
            zone.notes.append("there is a null MX (RFC 7505)")
            return
        zone.record = f"{name} IN MX 0 ."
        if null and others:
            zone.faults.append(f"a null MX, but also {', '.join(others)}: invalid (RFC 7505, 3)")
        elif null:
            zone.faults.append("a null MX has the preference 0, and is alone (RFC 7505, 3)")
        elif not others:
            zone.faults.append(
                "no null MX (RFC 7505), by which most senders know without a connection"
            )
        here = self._those_here(others, name, addresses)
        if here:
            zone.faults.append(_forbidden(zone.name, here))
        elsewhere = [exchange for exchange in others if exchange not in here]
        if elsewhere and not null:
            zone.faults.append(
                f"the MX of {zone.name} is {', '.join(elsewhere)}, so that its mail goes there, "
                "not here (RFC 5321, 5.1)"
            )

    def _judge_parents(self, zone: Zone, host: dns.name.Name, addresses: list[str]) -> None:
        """Of the domains that the host is in, for one of them may send its mail here."""
        name = host
        for _ in range(MAX_PARENTS):
            name = name.parent()
            if len(name) < 3:  # a top-level domain: its label, and the root's
                return
            try:
                _, others = _split(_mx(self.ask(name, "MX")))
            except Trouble:
                continue
            here = self._those_here(others, host, addresses)
            if here:
                zone.faults.append(_forbidden(_shown(name), here))

    def _those_here(
        self, exchanges: list[str], host: dns.name.Name, addresses: list[str]
    ) -> list[str]:
        """Which of the exchanges are the host itself, by name or by address."""
        here = []
        for exchange in exchanges:
            name = dns.name.from_text(exchange)
            try:
                is_here = name == host or not set(addresses).isdisjoint(self.addresses(name))
            except Trouble:
                continue
            if is_here:
                here.append(exchange)
        return here


def _forbidden(domain: str, here: list[str]) -> str:
    return (
        f"the MX of {domain} is this host, {', '.join(here)}, "
        "which no host that answers 521 may be (RFC 1846, 4.3)"
    )


def _mx(answer: dns.resolver.Answer) -> list[tuple[int, str]]:
    """Preferences and exchanges, as in a zone file but without the last dot."""
    return sorted((record.preference, _shown(record.exchange)) for record in answer)[:MAX_MX]


def _split(mx: list[tuple[int, str]]) -> tuple[bool, list[str]]:
    """Whether a null MX is among them, and all others."""
    exchanges = [exchange for _, exchange in mx]
    return "." in exchanges, [exchange for exchange in exchanges if exchange != "."]


def _as_given(host: str) -> dns.name.Name:
    """As a user says it: without a last dot, a search list may still apply."""
    return dns.name.from_text(host, origin=None)


def _shown(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True)
