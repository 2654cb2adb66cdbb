"""What can be said about a host besides the answer: each kind has a name that does not change.

It knows the names, on which scripts rely, and how much each matters. It must not know how anything
was found out (advice.py, mx.py, tlsa.py), nor how it is printed (output.py).
"""

from typing import NamedTuple

FAULT = "fault"  # senders queue mail because of it, or it breaks a standard; see --strict
ADVICE = "advice"  # what to do, or to consider
UNKNOWN = "unknown"  # what could not be found out
NOTE = "note"  # what is as it should be, or is only good to know; not printed in brief

# The manual page lists them, and a test compares.
LEVELS = {
    # What senders meet at the host.
    "refused-early": FAULT,
    "starttls-fails": FAULT,
    "tls-differs": FAULT,
    "starttls-not-offered": ADVICE,
    "self-signed": NOTE,
    "port-25-blocked": ADVICE,
    "addresses-not-asked": UNKNOWN,
    # What DNS tells them.
    "mx-here": FAULT,
    "mx-localhost": FAULT,
    "mx-address": FAULT,
    "mx-without-address": FAULT,
    "null-mx-preference": FAULT,
    "null-mx-not-alone": FAULT,
    "null-mx-of-sender": FAULT,
    "mx-elsewhere": ADVICE,
    "null-mx-missing": ADVICE,
    "null-mx-to-publish": ADVICE,
    "null-mx": NOTE,
    "no-address": ADVICE,
    "sends-mail": ADVICE,
    "spf": NOTE,
    "alias": NOTE,
    "no-such-name": UNKNOWN,
    "dns-no-answer": UNKNOWN,
    "dns-not-asked": UNKNOWN,
    # What TLSA records promise: RFC 7672.
    "tlsa-mismatch": FAULT,
    "tlsa-without-starttls": FAULT,
    "tlsa-unusable": FAULT,
    "tlsa-not-judged": UNKNOWN,
    "tlsa-matches": NOTE,
}


class Remark(NamedTuple):
    """One thing that is worth saying. The names of the fields are keys in JSON.

    name: a key of LEVELS. about: "DNS", an address, several with commas between them, or "".
    text: one line. senders: those that queue mail because of it, as far as that was measured.
    """

    name: str
    about: str
    text: str
    senders: tuple[str, ...] = ()

    @property
    def level(self) -> str:
        """FAULT, ADVICE, UNKNOWN or NOTE."""
        return LEVELS[self.name]

    @property
    def line(self) -> str:
        """The text, and before it what it is about."""
        return f"{self.about}: {self.text}" if self.about else self.text
