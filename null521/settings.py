"""Environment and flags in, Settings out, with a line for each invalid value.

It knows the names, defaults and limits of a session's settings, and is the only place that does. It
must not know what they are used for, write anything, or end the process: a client may be waiting.
"""

import posix

from null521.log import PLACES
from null521.session import STAGES, Session

# name: (choices, or the kind of value, see invalid.py; what it is for), in the order of --help.
# Settings has the defaults.
Table = dict[str, tuple[str | tuple[str, ...], str]]
TABLE: Table = {
    "hostname": ("name", "the name in our replies"),
    "text": ("text", "what follows the 521"),
    "refuse-at": (STAGES, "the stage of the dialogue at which mail is refused"),
    "idle-timeout": ("seconds", "how long a client may be silent, or leave replies unread"),
    "session-timeout": ("seconds", "how long a session may last in all"),
    "max-commands": ("number", "commands answered in one session"),
    "max-line": ("number", "octets in one line, its end included"),
    "max-octets": ("number", "octets read in one session"),
    "tls-cert": ("path", "the certificate for STARTTLS, with its chain"),
    "tls-key": ("path", "the key of that certificate"),
    "log": (tuple(PLACES), "where records go"),
    "log-addresses": (("full", "domain", "none"), "what records show of mail addresses"),
}

MAX_NAME = 255  # RFC 5321, 4.5.3.1.2
MAX_TEXT = 500  # 512 of RFC 5321, 4.5.3.1.5, less "521 5.3.2 " and CRLF
MAX_SECONDS = 3600  # more than a sender waits for anything: RFC 5321, 4.5.3.2
MAX_NUMBER = 2**30
MAX_PATH = 4095  # PATH_MAX less the NUL: limits.h(0p)


# What both drivers go by, and nobody sets.
CHUNK = 4096  # octets asked for in one read
HANDSHAKE_SECONDS = 10.0  # for a TLS handshake in all
# A lingering close ends after so long, or so much that a client still sends.
LINGER_SECONDS, LINGER_OCTETS = 2.0, 16 * 2**20


class Settings:
    """What one run goes by: seconds are floats, sizes are octets.

    faults: a line for each invalid value, which the default replaces, or rcpt for refuse-at.
    warnings: a line for anything else that the administrator should know.
    """

    table = TABLE
    program = "null521"  # whose help has the table

    def __init__(self) -> None:
        node = posix.uname().nodename
        self.hostname = node if self.value("name", node) else "localhost"
        self.text = ""  # read() sets it, because it contains the hostname
        self.refuse_at = "greeting"  # as in the draft; what we ship sets rcpt
        self.idle_timeout = 30.0
        self.session_timeout = 60.0
        self.max_commands = 5000
        self.max_line = 2048
        self.max_octets = 1_000_000
        self.tls_cert = ""  # STARTTLS is offered only where both are set
        self.tls_key = ""
        self.log = "auto"
        self.log_addresses = "full"
        self.faults: list[str] = []
        self.warnings: list[str] = []

    def read(self, arguments: list[str], environ: dict[str, str]) -> None:
        """Read NULL521_* from the environment, then --name=value or --name value, which win.

        For a NULL521_* variable that is no setting there is a warning: it is a misspelt one.
        """
        unknown = [variable for variable in environ if variable.startswith("NULL521_")]
        for name in self.table:
            variable = "NULL521_" + name.upper().replace("-", "_")
            if variable in environ:
                unknown.remove(variable)
                self._set(name, variable, environ[variable])
        if unknown:
            from null521 import invalid

            self.warnings += invalid.variables(unknown, self.table)
        words = iter(arguments)
        for word in words:
            flag, equals, value = word.partition("=")
            name = flag.removeprefix("--")
            if name == flag or name not in self.table:
                from null521 import invalid

                self.faults.append(invalid.option(word, self.program))
            else:
                self._set(name, flag, value if equals else next(words, ""))
        if not self.text:
            self.text = f"{self.hostname} is configured NOT to accept any mail."

    def session(self, starttls: bool, encoded: dict[object, bytes] | None = None) -> Session:
        """A session by these settings. encoded: see Session."""
        limits = self.max_commands, self.max_line, self.max_octets
        return Session(self.hostname, self.text, self.refuse_at, *limits, starttls, encoded)

    def _set(self, name: str, source: str, given: str) -> None:
        kind = self.table[name][0]
        value = self.value(kind, given)
        if value is None:
            from null521 import invalid

            invalid.replace(self, name, source, given)
        else:
            setattr(self, name.replace("-", "_"), value)

    def value(self, kind: str | tuple[str, ...], given: str) -> object:
        """The value that was given, or None if it is invalid."""
        plain = given.isascii() and given.isprintable() and bool(given.strip())
        if not isinstance(kind, str):
            return given if given in kind else None
        if kind == "name":
            return given if plain and len(given) <= MAX_NAME and " " not in given else None
        if kind == "text":
            return given if plain and len(given) <= MAX_TEXT else None
        if kind == "path":
            return given if given.isprintable() and len(given) <= MAX_PATH else None
        # Digits first, and not too many: int() and float() also take "1_0", " 1", "1e9" and "nan".
        digits = given.replace(".", "", 1) if kind == "seconds" else given
        if not (plain and digits.isdigit() and len(digits) <= 10):
            return None
        number = float(given) if kind == "seconds" else int(given)
        return number if 0 < number <= (MAX_SECONDS if kind == "seconds" else MAX_NUMBER) else None


def read(arguments: list[str], environ: dict[str, str]) -> Settings:
    """The settings of one connection; serve/settings.py has those of a server."""
    settings = Settings()
    settings.read(arguments, environ)
    return settings
