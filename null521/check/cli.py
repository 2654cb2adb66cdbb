"""`null521 check HOST[:PORT]`: does that host refuse mail as it should?

It knows the command line, and asks all addresses of the host, and DNS, in parallel. It must not
know what a refusal is (verdict.py), how to ask for one (probe.py, mx.py), nor how the answer is
printed (output.py). The host may run anything.
"""

import argparse
import contextlib
import ipaddress
import queue
import re
import signal
import socket
import threading
from collections.abc import Callable
from typing import NamedTuple, ParamSpec, TypeVar, cast

from null521.check import advice, output, probe, verdict
from null521.check.output import Result
from null521.check.remarks import Remark
from null521.check.verdict import Finding
from null521.console import command

PORT, DNS_PORT = 25, 53
TIMEOUT = 10.0  # seconds; a refusal needs no time, unlike mail (RFC 5321, 4.5.3.2)
MAX_TIMEOUT = 600.0
MAX_ADDRESSES = 8
MAX_LEFT_OUT = 8  # addresses named
MAX_NAME = 253  # characters, for the 255 octets of RFC 1035, 2.3.4
NAME = re.compile(r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*\.?", re.IGNORECASE)

DESCRIPTION = (
    "Ask a host as a sender would whether it refuses mail, and ask DNS what it tells senders "
    "about the host. No mail is sent."
)
EPILOG = (
    "Exit status: 0 if the host refuses as it should, 1 if it does not, 2 if undetermined; 64 for "
    "a usage error; DNS does not change it. With --strict: 3 instead of 0 if a fault is found."
)
NOT_A_URL = "give HOST[:PORT], not a URL"
NO_DNSPYTHON = "needs dnspython, which is not installed (python3-dnspython in Debian)"

T = TypeVar("T")
P = ParamSpec("P")


class Place(NamedTuple):
    """A host by name or address, and a port."""

    host: str
    port: int

    @property
    def label(self) -> str:
        """Its name in messages: without the port of SMTP."""
        if self.port == PORT:
            return self.host
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def domain(self) -> str:
        """The part after the @ in a mail address there (RFC 5321, 4.1.3)."""
        if not is_address(self.host):
            return self.host.rstrip(".")
        address, _, _ = self.host.partition("%")  # without the interface
        return f"[IPv6:{address}]" if ":" in address else f"[{address}]"


def run(arguments: list[str]) -> int:
    """Check the host that the arguments name, print what it does; return the exit status."""
    options_parser = parser()
    options = options_parser.parse_args(arguments)
    if options.local and (options.place or options.resolver):
        options_parser.error("--local takes neither HOST[:PORT] nor --resolver")
    if options.local:
        from null521.local import cli as local

        return local.run(options.timeout, options.json)
    if options.place is None:
        options_parser.error("the following arguments are required: HOST[:PORT]")
    if options.resolver and not has_dnspython():
        options_parser.error(f"--resolver {NO_DNSPYTHON}")
    try:
        result = check(options)
    except KeyboardInterrupt:  # on a terminal
        return 128 + signal.SIGINT
    # The status is an answer of its own, also if nobody reads the output.
    with contextlib.suppress(OSError), command.flushed_stdout():
        output.show(result, as_json=options.json, verbose=options.verbose)
    return result.exit_status


def help() -> str:
    """What --help prints."""
    return parser().help()


def parser() -> command.Parser:
    """The command line, and what --help says about it."""
    options = command.Parser("null521 check", DESCRIPTION, EPILOG)
    add = options.add_argument
    add(
        "place",
        metavar="HOST[:PORT]",
        type=place,
        nargs="?",
        help="name or address; port 25 by default",
    )
    add("--local", action="store_true", help="look at null521 on this host instead")
    add(
        "--timeout",
        metavar="SECONDS",
        type=seconds,
        default=TIMEOUT,
        help="limit for each connection, and for DNS; default %(default)g",
    )
    add(
        "--resolver",
        metavar="ADDRESS[:PORT]",
        type=server,
        help="the name server to ask instead of the system's",
    )
    add("--no-dns", action="store_true", help="do not look up MX, SPF and TLSA records")
    add(
        "--strict",
        action="store_true",
        help="exit with 3 in place of 0 if a fault is found, such as a refusal so early that "
        "senders queue the mail, or an invalid null MX",
    )
    add("--json", action="store_true", help="print everything that was found, as JSON")
    add(
        "--verbose",
        action="store_true",
        help="print everything that was found, as on a terminal; otherwise, print one line for "
        "the answer and one for each fault",
    )
    return options


def place(word: str, port: int = PORT) -> Place:
    """HOST, HOST:PORT, an IPv6 address, or [ADDRESS]:PORT; ArgumentTypeError for anything else."""
    if "://" in word:
        raise argparse.ArgumentTypeError(f"{word[:60]!a}: {NOT_A_URL}")
    host, digits = word, ""
    if word.startswith("["):
        host, _, rest = word[1:].partition("]")
        digits = rest.removeprefix(":")
    elif word.count(":") == 1:
        host, _, digits = word.partition(":")
    if not is_address(host):
        with contextlib.suppress(UnicodeError):
            host = host.encode("idna").decode()  # the form that DNS has: RFC 5890
        if not NAME.fullmatch(host) or len(host) > MAX_NAME:
            raise argparse.ArgumentTypeError(
                f"{word[:60]!a} is not a host name or address; {NOT_A_URL}"
            )
    number = digits.isascii() and digits.isdigit() and len(digits) < 10
    if digits and not (number and 0 < int(digits) <= 65535):
        raise argparse.ArgumentTypeError(f"the port must be 1 to 65535; {NOT_A_URL}")
    return Place(host, int(digits or port))


def server(word: str) -> Place:
    """A name server, by address; ArgumentTypeError for anything else."""
    found = place(word, DNS_PORT)
    if not is_address(found.host):
        raise argparse.ArgumentTypeError(f"{word[:60]!a} is not an address")
    return found


def seconds(word: str) -> float:
    """A timeout; ArgumentTypeError for anything else."""
    with contextlib.suppress(ValueError):
        if 0 < float(word) <= MAX_TIMEOUT:
            return float(word)
    raise argparse.ArgumentTypeError(f"must be seconds, more than 0 and at most {MAX_TIMEOUT:g}")


def is_address(host: str) -> bool:
    """Whether it is an IP address, which needs no lookup."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def check(options: argparse.Namespace) -> Result:
    """Ask all addresses and DNS."""
    to, timeout = options.place, options.timeout
    result = Result(to.label, to.host, to.port, strict=options.strict)
    addresses: list[str] = []
    try:
        addresses = addresses_of(to, options.resolver, timeout)
    except (OSError, LookupError) as error:
        result.trouble = f"no address: {probe.reason(error)}"
    result.left_out = addresses[MAX_ADDRESSES:]
    asked = [in_thread(ask, address, to, timeout) for address in addresses[:MAX_ADDRESSES]]
    if not (options.no_dns or is_address(to.host)):
        if has_dnspython():
            from null521.check import mx

            result.dns = mx.look_up(to.host, to.port, addresses, options.resolver, timeout)
        else:
            result.no_dns = NO_DNSPYTHON
    result.addresses = [finding() for finding in asked]
    result.remarks = remarks(result)
    return result


def remarks(result: Result) -> list[Remark]:
    """What is to say about everything that was found, in the order in which it is printed."""
    found = advice.judge(result.addresses, result.port)
    if result.left_out:
        some = ", ".join(result.left_out[:MAX_LEFT_OUT])
        found.append(Remark("addresses-not-asked", "", f"too many addresses; not asked: {some}"))
    if result.no_dns:
        found.append(Remark("dns-not-asked", "DNS", result.no_dns))
    if result.dns:
        from null521.check import tlsa

        found += [*result.dns.remarks, *tlsa.judge(result.dns.tlsa, result.addresses)]
    return found


def ask(address: str, to: Place, timeout: float) -> Finding:
    """Whether the host refuses at that address, and also under TLS if it offers STARTTLS."""
    answers = probe.ask(address, to.port, to.domain, timeout)
    secured = None
    if answers.offers_starttls:
        secured = probe.ask(address, to.port, to.domain, timeout, starttls=True)
    return verdict.judge(address, answers, secured)


def addresses_of(to: Place, resolver: Place | None, timeout: float) -> list[str]:
    """In the order in which a sender would try them; OSError or LookupError if there are none."""
    if is_address(to.host):
        return [to.host]
    if resolver:
        from null521.check import mx

        return mx.addresses(to.host, resolver, timeout)
    # The C library also reads /etc/hosts, as it does for most senders, but it has no timeout.
    found = in_thread(socket.getaddrinfo, to.host, to.port, 0, socket.SOCK_STREAM)(timeout)
    return list(dict.fromkeys(str(info[4][0]) for info in found))


def has_dnspython() -> bool:
    """Whether DNS can be asked. Importing it is slow, so a check of an address does not call it."""
    try:
        from null521.check import mx  # noqa: F401
    except ImportError:
        return False
    return True


def in_thread(call: Callable[P, T], *arguments: P.args, **more: P.kwargs) -> Callable[..., T]:
    """Call it in a thread. Returns a function that waits for the result, at most so many seconds.

    That function raises what the call raised, or TimeoutError if there is no result in time. The
    thread then continues, and ends with the process.
    """
    results: queue.SimpleQueue[tuple[T, None] | tuple[None, Exception]] = queue.SimpleQueue()

    def work() -> None:
        try:
            results.put((call(*arguments, **more), None))
        except Exception as error:
            results.put((None, error))

    def result(timeout: float | None = None) -> T:
        try:
            value, error = results.get(timeout=timeout)
        except queue.Empty:
            raise TimeoutError(f"not found within {timeout:g} s") from None
        if error is not None:
            raise error
        return cast(T, value)

    threading.Thread(target=work, daemon=True).start()
    return result
