"""What DNS says about mail for a host that accepts none, and what it should say.

It knows the records that senders look up: MX, SPF and TLSA. It must not know how DNS is asked
(resolver.py), what the host answers, nor whether its certificate matches (tlsa.py). What comes from
DNS is bounded, and escaped where it is text.

DKIM and DMARC records are not asked for: domains that send no mail publish both as well, so they do
not tell whether mail is sent from a name.
"""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, field

import dns.name

from null521.check.remarks import Remark
from null521.check.resolver import Answer, NoAnswer, NoSuchName, Resolver, as_given, shown
from null521.check.tlsa import Tlsa, TlsaRecords

MAX_MX = 8  # records of each name that are looked at
MAX_PARENTS = 3
MAX_SPF = 200  # characters shown

# None of them is a host that anybody else can reach: RFC 6761, 6.3; /etc/hosts of distributions.
LOCAL_NAMES = ("localhost", "localhost.localdomain", "localhost6")
VERSIONS = {6: "AAAA", 4: "A"}  # of IP: the type of their addresses
REJECT = "servers may reject such mail (RFC 7505, 4.2)"
ALONE = "must have preference 0 and be the only MX"
ONLY = "a null MX is MX 0 . (RFC 7505, 3)"


@dataclass
class MxFindings:
    """What DNS says.

    name: the one whose records count, after aliases. null_mx: whether it has a valid null MX.
    spf: its SPF record or records, or "". tlsa: the records for the certificate, None if there are
    none. remarks: what is worth saying. record: the one to publish, as in a zone file, or "".
    condition: when it may be published, or "". trouble: why nothing is known, or "".
    """

    name: str = ""
    mx: list[tuple[int, str]] = field(default_factory=list)
    null_mx: bool = False
    spf: str = ""
    tlsa: TlsaRecords | None = None
    remarks: list[Remark] = field(default_factory=list)
    record: str = ""
    condition: str = ""
    trouble: str = ""

    def say(self, name: str, text: str) -> None:
        """Add a remark about DNS."""
        self.remarks.append(Remark(name, "DNS", text))


def addresses(host: str, server: tuple[str, int] | None, timeout: float) -> list[str]:
    """IPv6 and IPv4 addresses, from that name server or the system's; NoAnswer if it has none."""
    return Resolver(server, timeout).addresses(as_given(host))


def look_up(
    host: str, port: int, addresses: list[str], server: tuple[str, int] | None, timeout: float
) -> MxFindings:
    """What senders are told about mail for that host, which has these addresses."""
    findings = MxFindings()
    try:
        _LookUp(Resolver(server, timeout), findings, addresses).all(as_given(host), port)
    except NoAnswer as error:
        findings.trouble = str(error)
        is_missing = isinstance(error, NoSuchName)
        findings.say("no-such-name" if is_missing else "dns-no-answer", findings.trouble)
    return findings


class _LookUp:
    """One look at DNS, which fills in the findings about a host with these addresses."""

    def __init__(self, resolver: Resolver, findings: MxFindings, addresses: list[str]) -> None:
        self._resolver = resolver
        self._findings = findings
        self._addresses = addresses

    def all(self, host: dns.name.Name, port: int) -> None:
        """Everything; NoAnswer if there is no answer about its MX."""
        answer = self._resolver.ask(host, "MX")
        name = answer.name
        self._findings.name = shown(name)
        if name != answer.asked:
            self._findings.say(
                "alias",
                f"{shown(answer.asked)} is an alias of {shown(name)}, "
                "whose MX records apply to it (RFC 5321, 5.1)",
            )
        sends = self._sends(name)
        self._judge_mx(_Mx.of(answer), name, sends)
        self._judge_parents(name)
        self._judge_senders(name, sends)
        self._findings.tlsa = self._tlsa((name, answer.asked), port)
        self._judge_versions(answer.asked)

    def _judge_mx(self, mx: "list[_Mx]", name: dns.name.Name, sends: bool) -> None:
        """sends: whether mail may be sent from the name, so that it needs no null MX."""
        say = self._findings.say
        self._findings.mx = [(one.preference, shown(one.exchange)) for one in mx[:MAX_MX]]
        null = [one for one in mx if one.exchange == dns.name.root]
        others = [one for one in mx if one.exchange != dns.name.root][:MAX_MX]
        if self._findings.mx == [(0, ".")]:
            self._findings.null_mx = True
            say("null-mx", "there is a null MX (RFC 7505)")
            return
        if null and others:
            names = ", ".join(shown(one.exchange) for one in others)
            say("null-mx-not-alone", f"a null MX beside another MX, {names}, is invalid; {ONLY}")
        elif null:
            say("null-mx-preference", f"a null MX {ALONE} (RFC 7505, 3): {_listed(null)}")
        elif not others and self._addresses and not sends:
            say(
                "null-mx-missing",
                "no null MX (RFC 7505), which would tell most senders not to connect at all",
            )
        elif not others and not self._addresses:
            say(
                "no-address",
                f"{shown(name)} has neither an MX nor an address, so no mail can reach it; "
                "a null MX would say that this is intended (RFC 7505)",
            )
        self._judge_exchanges(others, name, is_mixed=bool(null))

    def _judge_exchanges(self, mx: "list[_Mx]", name: dns.name.Name, is_mixed: bool) -> None:
        """is_mixed: whether there is a null MX beside them."""
        say = self._findings.say
        by_kind: dict[str, list[_Mx]] = {}
        for one in mx:
            by_kind.setdefault(self._kind(one.exchange, name), []).append(one)
        if here := by_kind.get("mx-here"):
            say("mx-here", _forbidden(name, here))
        if local := by_kind.get("mx-localhost"):
            say(
                "mx-localhost",
                f"an MX makes senders connect to themselves: {_listed(local)}; {ONLY}",
            )
        if address := by_kind.get("mx-address"):
            say(
                "mx-address",
                "an MX must name a host, not an address (RFC 1035, 3.3.9): "
                f"{_listed(address)}; {ONLY}",
            )
        if nowhere := by_kind.get("mx-without-address"):
            say(
                "mx-without-address",
                f"an MX points to a host that has no address: {_listed(nowhere)}; {ONLY}",
            )
        if (elsewhere := by_kind.get("mx-elsewhere")) and not is_mixed:
            say(
                "mx-elsewhere",
                f"the MX of {shown(name)} is {', '.join(shown(one.exchange) for one in elsewhere)},"
                " so its mail goes there, not here (RFC 5321, 5.1)",
            )

    def _kind(self, exchange: dns.name.Name, host: dns.name.Name) -> str:
        """The remark that an MX to that exchange deserves."""
        if exchange == host:
            return "mx-here"
        text = shown(exchange).lower()
        if _is_address(text):
            return "mx-address"
        if text in LOCAL_NAMES or text.endswith(".localhost"):
            return "mx-localhost"
        try:
            addresses = self._resolver.addresses(exchange)
        except NoSuchName:
            return "mx-without-address"
        except NoAnswer:
            return "mx-elsewhere"
        if not set(self._addresses).isdisjoint(addresses):
            return "mx-here"
        return "mx-localhost" if all(map(_is_local, addresses)) else "mx-elsewhere"

    def _judge_parents(self, host: dns.name.Name) -> None:
        """Look at the domains above the host, because the MX of one may point to this host."""
        name = host
        for _ in range(MAX_PARENTS):
            if len(name) < 4:  # the next is a top-level domain: its label and the root's
                return
            name = name.parent()
            try:
                mx = _Mx.of(self._resolver.ask(name, "MX"))[:MAX_MX]
            except NoAnswer:
                continue
            here = [one for one in mx if self._kind(one.exchange, host) == "mx-here"]
            if here:
                self._findings.say("mx-here", _forbidden(name, here))

    def _sends(self, name: dns.name.Name) -> bool:
        """Whether mail may be sent from that name, as far as its SPF record tells."""
        policies: list[bytes] = []
        try:
            policies = _spf(self._resolver.ask(name, "TXT", share=0.5))
        except NoAnswer as error:
            text = f"whether mail is sent from @{shown(name)} is not known: SPF: {error}"
            self._findings.say("dns-no-answer", text)
        self._findings.spf = " and ".join(map(_quoted, policies))[:MAX_SPF]
        return any(policy.lower().split()[1:] != [b"-all"] for policy in policies)

    def _judge_senders(self, name: dns.name.Name, sends: bool) -> None:
        """A null MX does not go together with mail from that name.

        RFC 7505, 4.2: servers may reject mail from an address that cannot get any.
        """
        findings, say, sender = self._findings, self._findings.say, f"@{shown(name)}"
        seen = (
            f"mail may be sent from {sender}: its SPF record is {findings.spf}, not 'v=spf1 -all'"
        )
        if sends and findings.null_mx:
            say("null-mx-of-sender", f"{seen}; because of the null MX, {REJECT}")
        elif sends:
            say("sends-mail", f"{seen}; with a null MX, {REJECT}")
        elif not findings.null_mx:
            findings.record = f"{name} IN MX 0 ."
            findings.condition = (
                f"if no mail to {sender} is wanted, and none is ever sent from it (cron's "
                f"root{sender}, say; RFC 7505, 4.2)"
            )
            say("null-mx-to-publish", f"{findings.condition}, publish: {findings.record}")
        if findings.spf and not sends:
            say("spf", f"no mail is sent from {sender}, says its SPF record: {findings.spf}")

    def _judge_versions(self, host: dns.name.Name) -> None:
        """Of addresses that were not found, some may only not be known.

        If one of the two queries fails, getaddrinfo(3) says nothing of it, nor do most senders.
        """
        if not self._addresses:
            return
        found = {ipaddress.ip_address(address).version for address in self._addresses}
        for version in VERSIONS.keys() - found:
            try:
                self._resolver.ask(host, VERSIONS[version], share=0.5)
            except NoAnswer as error:
                text = f"whether {shown(host)} has IPv{version} addresses is not known: {error}"
                self._findings.say("dns-no-answer", text)

    def _tlsa(self, hosts: tuple[dns.name.Name, ...], port: int) -> TlsaRecords | None:
        """Of the first of these names that has any: RFC 7672, 2.2.2 and 2.2.3."""
        for host in dict.fromkeys(hosts):
            try:
                name = dns.name.from_text(f"_{port}._tcp", origin=host)
                answer = self._resolver.ask(name, "TLSA", share=0.5)
            except NoSuchName:
                continue
            except (NoAnswer, dns.name.NameTooLong) as error:
                self._findings.say("dns-no-answer", f"TLSA: {error}")
                return None
            if answer.records:
                found = sorted(
                    Tlsa(one.usage, one.selector, one.mtype, one.cert) for one in answer.records
                )
                return TlsaRecords(shown(name), tuple(found), answer.is_authentic)
        return None


@dataclass(frozen=True, order=True)
class _Mx:
    preference: int
    exchange: dns.name.Name

    @staticmethod
    def of(answer: Answer) -> "list[_Mx]":
        return sorted(_Mx(record.preference, record.exchange) for record in answer.records)

    def __str__(self) -> str:
        """As in a zone file."""
        return f"MX {self.preference} {self.exchange}"


def _listed(mx: Iterable[_Mx]) -> str:
    return ", ".join(map(str, mx))


def _forbidden(domain: dns.name.Name, here: list[_Mx]) -> str:
    return (
        f"the MX of {shown(domain)} is this host, "
        f"{', '.join(shown(one.exchange) for one in here)}: "
        "an MX must not point to a host that answers 521 (RFC 1846, 4.3)"
    )


def _is_address(text: str) -> bool:
    """Whether it is an IP address, with brackets or without."""
    try:
        ipaddress.ip_address(text.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True


def _is_local(address: str) -> bool:
    """Whether it leads back to the sender itself."""
    found = ipaddress.ip_address(address)
    return found.is_loopback or found.is_unspecified


def _spf(answer: Answer) -> list[bytes]:
    """The SPF records among the TXT records: RFC 7208, 4.5 and 3.3."""
    texts = [b"".join(record.strings) for record in answer.records]
    return sorted(text for text in texts if text.lower().split(b" ")[0] == b"v=spf1")


def _quoted(octets: bytes) -> str:
    """The text between quotation marks, safe to print on a terminal."""
    return ascii(octets.decode("latin-1"))
