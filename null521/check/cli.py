"""`null521 check HOST[:PORT]`: does that host refuse mail as it should?

It knows the command line, and asks all addresses of the host, and DNS, side by side. It must not
know what a refusal is (verdict.py), how it is asked for (probe.py, zone.py), nor how the answer is
laid out (checked.py). The host may run anything.
"""

import argparse
import contextlib
import ipaddress
import queue
import re
import socket
import sys
import threading
from collections.abc import Callable
from typing import NamedTuple, NoReturn, ParamSpec, TypeVar, cast

from null521.check import output as checked
from null521.check import probe, verdict
from null521.check.output import Checked
from null521.check.verdict import Finding

EX_USAGE = 64  # sysexits(3)

PORT, DNS_PORT = 25, 53
PATIENCE = 10.0  # seconds: a refusal takes no time to think, as mail may (RFC 5321, 4.5.3.2)
MAX_PATIENCE = 600.0
MAX_ADDRESSES = 8
MAX_NAME = 253  # characters, for the 255 octets of RFC 1035, 2.3.4
NAME = re.compile(r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*\.?", re.IGNORECASE)

NO_DNSPYTHON = "needs dnspython, which is not installed (Debian's python3-dnspython)"

T = TypeVar("T")
P = ParamSpec("P")


class Place(NamedTuple):
    """A host by name or address, and a port."""

    host: str
    port: int

    @property
    def label(self) -> str:
        """How to call it."""
        if self.port == PORT:
            return self.host
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def domain(self) -> str:
        """What stands behind the @ in a mail address there (RFC 5321, 4.1.3)."""
        if not is_address(self.host):
            return self.host.rstrip(".")
        address, _, _ = self.host.partition("%")  # without the interface
        return f"[IPv6:{address}]" if ":" in address else f"[{address}]"


class Parser(argparse.ArgumentParser):
    """One whose status for bad arguments cannot be taken for an answer."""

    def error(self, message: str) -> NoReturn:
        """Say it, and exit."""
        self.exit(EX_USAGE, f"{self.format_usage()}null521 check: {message}\n")


def parser() -> argparse.ArgumentParser:
    """What the command line may hold."""
    words = Parser(
        prog="null521 check",
        allow_abbrev=False,
        # As wide everywhere, like the other help.
        formatter_class=lambda prog: argparse.HelpFormatter(prog, width=90),
        description="Ask a host as a sender would whether it refuses mail, and ask DNS what "
        "senders are told about it. No mail is sent.",
        epilog="Exit status: 0 if the host refuses as it should, 1 if it does not, 2 if there is "
        "no telling, whatever DNS says; 64 if an argument is no good.",
    )
    words.add_argument("place", metavar="HOST[:PORT]", type=place, help="name or address; port 25")
    words.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=seconds,
        default=PATIENCE,
        help="how long each connection, and DNS, may take; default %(default)g",
    )
    words.add_argument(
        "--resolver",
        metavar="ADDRESS[:PORT]",
        type=server,
        help="the name server to ask, in place of the system's",
    )
    words.add_argument("--no-dns", action="store_true", help="do not look for MX records")
    words.add_argument("--json", action="store_true", help="print all that was found, as JSON")
    words.add_argument(
        "--verbose",
        action="store_true",
        help="print all that was found, as on a terminal; elsewhere it is a line for the answer, "
        "and one for each thing that is not as it should be",
    )
    return words


def place(word: str, port: int = PORT) -> Place:
    """HOST, HOST:PORT, an IPv6 address, or [ADDRESS]:PORT."""
    host, digits = word, ""
    if word.startswith("["):
        host, _, rest = word[1:].partition("]")
        digits = rest.removeprefix(":")
    elif word.count(":") == 1:
        host, _, digits = word.partition(":")
    if not is_address(host):
        with contextlib.suppress(UnicodeError):
            host = host.encode("idna").decode()  # as it is in DNS: RFC 5890
        if not NAME.fullmatch(host) or len(host) > MAX_NAME:
            raise argparse.ArgumentTypeError(f"{word[:60]!a} is no HOST or HOST:PORT")
    if digits and not (digits.isascii() and digits.isdigit() and 0 < int(digits[:9]) <= 65535):
        raise argparse.ArgumentTypeError(f"{word[:60]!a} has no PORT")
    return Place(host, int(digits or port))


def server(word: str) -> Place:
    """A name server, by address."""
    found = place(word, DNS_PORT)
    if not is_address(found.host):
        raise argparse.ArgumentTypeError(f"{word[:60]!a} is no address")
    return found


def seconds(word: str) -> float:
    """A number of them."""
    with contextlib.suppress(ValueError):
        if 0 < float(word) <= MAX_PATIENCE:
            return float(word)
    raise argparse.ArgumentTypeError(f"{word[:60]!a} is not from 0 to {MAX_PATIENCE:g}")


def is_address(host: str) -> bool:
    """Whether there is nothing to look up."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def run(arguments: list[str]) -> int:
    """Check the host named, say what it does, and return the exit status."""
    words = parser()
    options = words.parse_args(arguments)
    if options.resolver and not has_dnspython():
        words.error(f"--resolver {NO_DNSPYTHON}")
    try:
        found = check(options)
    except KeyboardInterrupt:  # on a terminal
        return 130
    if sys.stdout:  # None where it is closed
        try:
            checked.show(found, as_json=options.json, in_full=options.verbose)
            sys.stdout.flush()
        except OSError:  # nobody reads it, but there still is the status
            with contextlib.suppress(OSError):
                sys.stdout.close()  # or it would be tried once more at the end, and be another
    return found.status


def check(options: argparse.Namespace) -> Checked:
    """Ask all there is to ask."""
    to, patience = options.place, options.timeout
    found = Checked(to.label, to.host, to.port)
    addresses: list[str] = []
    try:
        addresses = addresses_of(to, options.resolver, patience)
    except (OSError, LookupError) as error:
        found.trouble = f"no address: {probe.reason(error)}"
    found.left_out = addresses[MAX_ADDRESSES:]
    waiting = [apart(ask, address, to, patience) for address in addresses[:MAX_ADDRESSES]]
    if not (options.no_dns or is_address(to.host)):
        if has_dnspython():
            from null521.check import mx as zone

            found.zone = zone.look(to.host, addresses, options.resolver, patience)
        else:
            found.no_zone = NO_DNSPYTHON
    found.addresses = [result() for result in waiting]
    return found


def ask(address: str, to: Place, patience: float) -> Finding:
    """Whether the host refuses at that address, and so also under TLS, if it offers that."""
    answers = probe.ask(address, to.port, to.domain, patience)
    secured = None
    if answers.offers_starttls:
        secured = probe.ask(address, to.port, to.domain, patience, starttls=True)
    return verdict.judge(address, answers, secured)


def addresses_of(to: Place, resolver: Place | None, patience: float) -> list[str]:
    """In the order in which a sender would try them; OSError or LookupError if there are none."""
    if is_address(to.host):
        return [to.host]
    if resolver:
        from null521.check import mx as zone

        return zone.addresses(to.host, resolver, patience)
    # The C library goes by /etc/hosts as well, as most senders do, but it keeps no deadline.
    found = apart(socket.getaddrinfo, to.host, to.port, 0, socket.SOCK_STREAM)(patience)
    return list(dict.fromkeys(str(info[4][0]) for info in found))


def has_dnspython() -> bool:
    """Whether DNS can be asked; it takes a while to import, and an address does without."""
    try:
        from null521.check import mx as zone  # noqa: F401
    except ImportError:
        return False
    return True


def apart(call: Callable[P, T], *arguments: P.args, **more: P.kwargs) -> Callable[..., T]:
    """Call it in a thread; what is returned waits for the result, for so many seconds.

    TimeoutError if that is not enough. The thread is left behind then, and ends with the process.
    """
    results: queue.SimpleQueue[tuple[T, None] | tuple[None, Exception]] = queue.SimpleQueue()

    def work() -> None:
        try:
            results.put((call(*arguments, **more), None))
        except Exception as error:
            results.put((None, error))

    def result(patience: float | None = None) -> T:
        try:
            value, error = results.get(timeout=patience)
        except queue.Empty:
            raise TimeoutError(f"not found within {patience:g} s") from None
        if error is not None:
            raise error
        return cast(T, value)

    threading.Thread(target=work, daemon=True).start()
    return result
