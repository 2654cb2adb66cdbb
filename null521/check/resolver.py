"""Questions to DNS, all within one timeout, and answers that cannot do harm.

It knows dnspython, which may be missing. It must not know what is asked, nor what the answers mean.
A name server may be hostile: whatever it sends, the outcome is an answer or NoAnswer. What is
passed on as text is in presentation format, which escapes everything that a terminal would obey
(RFC 1035, 5.1).
"""

import time
from typing import Any, NamedTuple

import dns.exception
import dns.flags
import dns.name
import dns.resolver

MAX_REASON = 60  # characters of an error
# Types of addresses, in the order in which a sender tries them, and the share of the remaining time
# for each: silence about one leaves time for the other.
ADDRESS_TYPES = (("AAAA", 0.5), ("A", 1.0))


class NoAnswer(LookupError):
    """DNS has no answer; str() says why in one line."""


class NoSuchName(NoAnswer):
    """There is no such name, or it has no address: it will not help to ask again."""


class Answer(NamedTuple):
    """Records of one kind.

    asked: the name in full. name: the one that the records belong to, after aliases. records: as
    dnspython has them. is_authentic: whether the name server says that DNSSEC secures the answer
    (RFC 6840, 5.7), which counts if it and the way to it are trusted.
    """

    asked: dns.name.Name
    name: dns.name.Name
    records: list[Any]
    is_authentic: bool


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
        except ValueError as error:  # of dnspython, and UnicodeDecodeError
            raise NoAnswer(f"/etc/resolv.conf is invalid: {_safe(error)}") from error
        if server:
            self._resolver.nameservers, self._resolver.port = [server[0]], server[1]
            self._resolver.domain = dns.name.root  # instead of this host's, which it may not know
        # AD in a query asks for AD in the answer: RFC 6840, 5.7.
        self._resolver.flags = dns.flags.RD | dns.flags.AD

    def ask(self, name: dns.name.Name, kind: str, share: float = 1.0) -> Answer:
        """The answer, without records if the name has none of that kind.

        share: the part of the remaining time that this query may use, so that one kind of query
        that is never answered leaves time for others.
        """
        left = max(0.01, (self._end - time.monotonic()) * share)
        try:
            answer = self._resolver.resolve(
                name, kind, raise_on_no_answer=False, search=True, lifetime=left
            )
            is_authentic = bool(answer.response.flags & dns.flags.AD)
            return Answer(answer.qname, answer.canonical_name, list(answer), is_authentic)
        except dns.resolver.NXDOMAIN as error:
            raise NoSuchName("there is no such name") from error
        except dns.resolver.NoNameservers as error:
            codes = {_safe(tried[3]) for tried in error.kwargs["errors"]}
            raise NoAnswer(f"no answer: {', '.join(sorted(codes))}") from error
        except dns.exception.Timeout as error:
            within = f"within {self._timeout:g} s" if share == 1.0 else "in time"
            raise NoAnswer(f"no answer {within}") from error
        except Exception as error:  # dnspython's own, and whatever else hostile octets cause there
            raise NoAnswer(f"no answer: {_safe(error)}") from error

    def addresses(self, name: dns.name.Name) -> list[str]:
        """IPv6 and IPv4 addresses; NoSuchName if it has none, NoAnswer if that is not known."""
        found: list[str] = []
        trouble: NoAnswer | None = None
        for kind, share in ADDRESS_TYPES:
            try:
                found += [str(record) for record in self.ask(name, kind, share).records]
            except NoSuchName:
                raise
            except NoAnswer as error:  # the other kind may do
                trouble = error
        if found:
            return found
        raise trouble or NoSuchName("the name has no address")


def as_given(host: str) -> dns.name.Name:
    """The name as the user typed it: without a last dot, the resolver's search list applies."""
    return dns.name.from_text(host, origin=None)


def shown(name: dns.name.Name) -> str:
    """The name as text, without its last dot."""
    return name.to_text(omit_final_dot=True)


def _safe(error: object) -> str:
    text = str(error).rstrip(".") or type(error).__name__
    return text.encode("unicode_escape").decode()[:MAX_REASON]
