"""The settings of `null521 serve`, besides those of a session.

It knows their names, defaults and limits. It must not know what they are used for.
"""

from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from null521.settings import TABLE, Settings, Table

MORE: Table = {
    "listen": ("places", "where to answer, if no socket is handed over; repeatable"),
    "max-connections": ("number", "connections open at once"),
    "max-per-client": ("number", "connections from one IPv4 address or one IPv6 /64"),
    "max-tls": ("number or 0", "of these, how many may use TLS; 0 is as many as memory allows"),
    "memory-limit": ("number or 0", "octets of memory allowed; 0 is what the cgroup allows"),
    "log-budget": ("number", "octets of records a second, on average; the rest is summed up"),
    "exit-idle": ("seconds or 0", "exit after so long without a connection; 0 is never"),
    "grace": ("seconds or 0", "how long sessions may still last after SIGTERM"),
    "proxy-protocol": ("networks", "addresses from which a PROXY header is required"),
    "metrics": ("place", "where to answer /metrics and /ready over HTTP"),
}


class ServeSettings(Settings):
    """The settings of a server: those of a session, and those above."""

    table = TABLE | MORE
    program = "null521 serve"

    def __init__(self) -> None:
        super().__init__()
        self.listen: tuple[str, ...] = ()
        self.max_connections = 10000
        self.max_per_client = 100
        self.max_tls = 0
        self.memory_limit = 0
        self.log_budget = 24000
        self.exit_idle = 0.0
        self.grace = 5.0
        self.proxy_protocol: tuple[IPv4Network | IPv6Network, ...] = ()
        self.metrics: tuple[str, ...] = ()
        self._listen_flags: list[str] = []

    def _set(self, name: str, source: str, given: str) -> None:
        if name == "listen" and source.startswith("--"):
            self._listen_flags.append(given)
            given = " ".join(self._listen_flags)
        super()._set(name, source, given)

    def value(self, kind: str | tuple[str, ...], given: str) -> object:
        """The value that was given, or None if it is invalid."""
        if kind in ("seconds or 0", "number or 0"):
            return 0 if given == "0" else super().value(kind.partition(" ")[0], given)
        words = given.replace(",", " ").split()
        if kind == "networks":
            try:
                return tuple(ip_network(word) for word in words)
            except ValueError:
                return None
        if kind in ("place", "places"):
            good = all(address_of(word) or _is_path(kind, word) for word in words)
            return tuple(words) if good and len(words) <= (1 if kind == "place" else 64) else None
        return super().value(kind, given)


def address_of(word: str) -> tuple[str, int] | None:
    """Address and port of ADDRESS:PORT, the address "" for "*"; None if it is neither."""
    address, colon, port = word.rpartition(":")
    # No more digits than int() reads without a limit; all of them count.
    digits = colon and port.isascii() and port.isdigit() and len(port) < 10
    if not (digits and int(port) <= 65535):
        return None
    if address == "*":
        return "", int(port)
    bare = address[1:-1] if address.startswith("[") and address.endswith("]") else address
    try:
        version = ip_address(bare).version
    except ValueError:
        return None
    # Without brackets, the port would be one more number of an IPv6 address.
    return (bare, int(port)) if (version == 6) == (bare != address) else None


def _is_path(kind: str, word: str) -> bool:
    # Octets that are not UTF-8 are not printable, and could not be encoded.
    path = kind == "places" and word.startswith("/") and word.isprintable()
    return path and len(word.encode()) < 108  # unix(7)


def read(arguments: list[str], environ: dict[str, str]) -> ServeSettings:
    """The settings of a server."""
    settings = ServeSettings()
    settings.read(arguments, environ)
    return settings
