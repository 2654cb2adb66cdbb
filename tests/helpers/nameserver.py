"""A small name server for the tests, over UDP: from a zone, or with octets made up on the spot.

It knows dnspython and sockets, and signs a zone if it gets a key. It must not know what is asked of
it, nor anything of null521. Proof that a name does not exist (NSEC) is beyond it.
"""

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from typing import Any, Self

import dns.dnssec
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.zone
from cryptography.hazmat.primitives.asymmetric import ec

LOOPBACK = "127.0.0.1"
SOA_AND_NS = "$TTL 60\n@ SOA . . 1 1 1 1 1\n@ NS .\n"
DNSSEC: Any = dns.dnssec  # without types in the version of Debian 12
VALID = 3600  # seconds that a signature is valid, before and after it is made
Answer = Callable[[bytes], bytes | None]


class NameServer:
    """Answers on an address and port for the length of a `with` block, or for ever with serve().

    answer: makes a reply to a query, or None for none at all. port: 0 for a free one.
    asked: the name and type of each query, in order.
    """

    def __init__(self, answer: Answer, address: str = LOOPBACK, port: int = 0) -> None:
        self._answer = answer
        self._socket = socket.socket(type=socket.SOCK_DGRAM)
        self._socket.bind((address, port))
        self._address: tuple[str, int] = self._socket.getsockname()
        self.port = self._address[1]
        self.asked: list[str] = []

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self.serve, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with socket.socket(type=socket.SOCK_DGRAM) as client:
            client.sendto(b"", self._address)
        self._thread.join()
        self._socket.close()

    def serve(self) -> None:
        """Answer until an empty datagram comes."""
        while True:
            query, client = self._socket.recvfrom(65536)
            if not query:
                return
            with contextlib.suppress(Exception):
                question = dns.message.from_wire(query).question[0]
                kind = dns.rdatatype.to_text(question.rdtype)
                self.asked.append(f"{question.name.to_text()} {kind}")
            reply = self._answer(query)
            if reply is not None:
                self._socket.sendto(reply, client)


def from_zone(
    records: str,
    origin: str = ".",
    is_authentic: bool = False,
    key: ec.EllipticCurvePrivateKey | None = None,
) -> Callable[[bytes], bytes]:
    """Answers from a zone file, in which SOA and NS are not needed.

    is_authentic: whether AD is set, as by a name server that validates. key: signs the records.
    """
    public: Any = None
    if key:
        public = DNSSEC.make_dnskey(key.public_key(), "ECDSAP256SHA256", flags=257)
        records += f"\n{origin} DNSKEY {public}\n"
    zone: Any = dns.zone.from_text(SOA_AND_NS + records, origin=origin, relativize=False)

    def add(reply: dns.message.Message, name: dns.name.Name, kind: int) -> Any:
        """The records of that name and kind to the answer; None if there are none."""
        found = zone.get_rdataset(name, kind)
        if not found:
            return None
        rrset: Any = reply.find_rrset(reply.answer, name, found.rdclass, found.rdtype, create=True)
        rrset.update(found)
        if key:
            # Not from now on, which for time(2) can still be to come: it lags behind by up to a
            # tick of the kernel (CLOCK_REALTIME_COARSE in clock_getres(2)).
            start, end = time.time() - VALID, time.time() + VALID
            signature = DNSSEC.sign(
                rrset, key, dns.name.from_text(origin), public, inception=start, expiration=end
            )
            signed = dns.rdatatype.RRSIG
            reply.find_rrset(
                reply.answer, name, found.rdclass, signed, found.rdtype, create=True
            ).add(signature)
        return found

    def answer(query: bytes) -> bytes:
        reply = dns.message.make_response(dns.message.from_wire(query))
        name, kind = reply.question[0].name, reply.question[0].rdtype
        for _ in range(8):
            if add(reply, name, kind):
                break
            alias = add(reply, name, dns.rdatatype.CNAME)
            if not alias:
                if not any(other.is_subdomain(name) for other in zone.nodes):
                    reply.set_rcode(dns.rcode.NXDOMAIN)
                break
            name = alias[0].target
        if is_authentic:
            reply.flags |= dns.flags.AD
        octets: bytes = reply.to_wire(max_size=65535)
        return octets

    return answer


def trust_anchor(key: ec.EllipticCurvePrivateKey, origin: str) -> str:
    """The DS record of a zone that is signed with that key, as dnsmasq(8) has it."""
    public = DNSSEC.make_dnskey(key.public_key(), "ECDSAP256SHA256", flags=257)
    record = DNSSEC.make_ds(dns.name.from_text(origin), public, "SHA256")
    return f"{origin.rstrip('.') or '.'},{','.join(str(record).split())}"
