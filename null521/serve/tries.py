"""How many senders keep retrying, as a number for metrics; null521 report names them.

It knows what makes two sessions tries of one mail, and forgets the oldest when there are too many.
It must not know connections, nor Prometheus.
"""

from collections import OrderedDict

from null521.serve.clients import SHARES

# As in null521/report/retries.py: so many tries are retrying, not chance, and a session less than
# APART seconds after a try belongs to that try.
TRIES = 3
APART = 60.0
DAY = 86400.0  # seconds; the waits of all mail servers between two tries are shorter
KEPT = 4096  # of each number of tries: less than 3 MB in all

# Octets of an address that tell one network from another, by the length of the address.
NETWORK = {0: 0, **{size: shares[-1][0] for size, shares in SHARES.items()}}
# From these, null521 check asks for a container: MAIL FROM:<>, RCPT TO:<postmaster...>.
HERE = (b"\x7f\0\0\1", bytes(15) + b"\1")


class Tries:
    """Sessions that named a sender, compared with earlier ones by network, sender and recipient.

    sessions: how many there were. retries: how many of them came after one like them, a minute to
    a day later. now, wherever it is a parameter: time.monotonic().

    Kept is a hash of each triplet, which no client can choose. Those with as many tries are kept
    together, and the oldest are forgotten first. So a flood of senders that come once hides only
    others that have come once.
    """

    def __init__(self) -> None:
        self.sessions = self.retries = 0
        # When each was tried last, the latest last: those tried once, twice, and TRIES times or
        # more.
        self._tables: list[OrderedDict[int, float]] = [OrderedDict() for _ in range(TRIES)]

    def add(self, address: bytes, sender: bytes, recipients: list[bytes], now: float) -> None:
        """Count a session. address: 4 or 16 octets, or none for a local client."""
        recipient = recipients[0] if recipients else b""
        if address in HERE and not sender and recipient.startswith(b"postmaster"):
            return
        self.sessions += 1
        key = hash((address[: NETWORK[len(address)]], sender, recipient))
        tries = 0
        for number, table in enumerate(self._tables, 1):
            if key in table:
                last = table[key]
                if now < last + APART:
                    return
                del table[key]
                if now < last + DAY:
                    tries = number
                    self.retries += 1
                break
        table = self._tables[min(tries, TRIES - 1)]
        table[key] = now
        if len(table) > KEPT:
            table.popitem(last=False)

    def retrying(self, now: float) -> int:
        """How many triplets were tried TRIES times or more, the last time within a day."""
        table = self._tables[-1]
        while table and next(iter(table.values())) + DAY <= now:
            table.popitem(last=False)
        return len(table)
