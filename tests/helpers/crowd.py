"""Clients of every kind for port 25, run on the host that the units serve.

    crowd.py honest [COUNT [PAUSE]]
    crowd.py silent|quick|claim|part|tls COUNT SOURCE...

honest is one client after the other, with PAUSE seconds between them, COUNT in all, or until
standard input ends and there were more than 20, and then prints what they got as one JSON object.
The others are COUNT clients at once, from the sources in turn. They print a line when all have
tried, with how many of them are where they wanted to be, and come back when they are disconnected,
until standard input ends. A source is an IP address, or a network of IPv6, of which each client
uses another /64, or another address.

silent  is greeted, and says nothing.
quick   is greeted, says QUIT, and comes back at once.
claim   begins TLS, with 19 octets that announce a ClientHello of 131,396.
part    begins TLS, with the first 19 octets of a ClientHello of 768.
tls     shakes hands, and says nothing.
"""

import asyncio
import ipaddress
import itertools
import json
import os
import resource
import select
import socket
import ssl
import statistics
import sys
import time
from collections import Counter
from collections.abc import Iterator

PORT = 25
SECONDS = 30.0  # for anything
IPV6_FREEBIND = 78
# A record of 14 octets with a handshake message that claims 0x020144 of them.
CLAIM = bytes.fromhex("160301000e01020144") + bytes(10)
PART = bytes.fromhex("160301030401000300") + bytes(10)
DIALOGUE = (b"EHLO a.example\r\n", b"MAIL FROM:<a@a.b>\r\n", b"RCPT TO:<b@c>\r\n", b"QUIT\r\n")
CODES = (b"220", b"250", b"250", b"521", b"221")


def sources(words: list[str]) -> Iterator[str]:
    """Addresses to call from, in turn and without end."""
    networks = [ipaddress.ip_network(word) for word in words]
    for number in itertools.count(1):
        network = networks[number % len(networks)]
        step = number // len(networks) << (64 if network.prefixlen < 64 else 0)
        offset = step % network.num_addresses + 1 if network.num_addresses > 1 else 0
        yield str(network.network_address + offset)


def socket_from(source: str) -> socket.socket:
    """Bound to that address, which need not be one of the host's if it is IPv6."""
    client = socket.socket(socket.AF_INET6 if ":" in source else socket.AF_INET)
    if ":" in source:
        client.setsockopt(socket.IPPROTO_IPV6, IPV6_FREEBIND, 1)
    client.bind((source, 0))
    return client


def destination(source: str) -> tuple[str, int]:
    return ("::1" if ":" in source else "127.0.0.1"), PORT


def honest(count: int, pause: float, source: str = "127.0.0.1") -> dict[str, float]:
    """As a sender: how many got all replies, and milliseconds to the greeting."""
    greeted: list[float] = []
    refused = tried = 0
    endings: Counter[str] = Counter()
    while tried < count:
        if count == MANY and tried > ENOUGH and select.select([sys.stdin], [], [], 0)[0]:
            break
        tried += 1
        start = time.monotonic()
        try:
            with socket_from(source) as client:
                client.settimeout(SECONDS)
                client.connect(destination(source))
                replies = client.makefile("rb")
                line = replies.readline()
                greeted.append((time.monotonic() - start) * 1e3)
                codes = [line[:3]]
                for command in DIALOGUE:
                    client.sendall(command)
                    while (line := replies.readline())[3:4] == b"-":
                        pass
                    codes.append(line[:3])
                refused += tuple(codes) == CODES
                endings[b" ".join(codes).decode()] += 1
        except OSError as error:
            endings[type(error).__name__] += 1
        time.sleep(pause)
    ordered = sorted(greeted) or [float("inf")]
    return {
        "tried": tried,
        "refused": refused,
        "p50": round(statistics.median(ordered), 1),
        "p99": round(ordered[int(len(ordered) * 0.99)], 1),
        "max": round(ordered[-1], 1),
        "endings": dict(endings),  # type: ignore[dict-item]
    }


class Crowd:
    """Many at once of one kind."""

    def __init__(self, kind: str, count: int, words: list[str]) -> None:
        self._tasks: list[asyncio.Task[None]] = []
        self._kind, self._count, self._sources = kind, count, sources(words)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._context.check_hostname = False
        self._context.verify_mode = ssl.CERT_NONE
        self._tried: set[int] = set()
        self.in_place: set[int] = set()
        self._busy = asyncio.Semaphore(64)

    async def run(self) -> None:
        """Until standard input ends."""
        loop = asyncio.get_running_loop()
        ended = loop.run_in_executor(None, sys.stdin.read)
        self._tasks = [loop.create_task(self._member(number)) for number in range(self._count)]
        while len(self._tried) < self._count:
            await asyncio.sleep(0.05)
        print(len(self.in_place), flush=True)
        await ended
        os._exit(0)  # the kernel closes them faster than 10,000 tasks can be cancelled

    async def _member(self, number: int) -> None:
        loop = asyncio.get_running_loop()
        while True:
            source = next(self._sources)
            client = socket_from(source)
            client.setblocking(False)
            try:
                async with self._busy:
                    await asyncio.wait_for(loop.sock_connect(client, destination(source)), SECONDS)
                    is_in = await asyncio.wait_for(self._gets_in(client), SECONDS)
                if is_in:
                    self.in_place.add(number)
                self._tried.add(number)
                while await loop.sock_recv(client, 4096):
                    pass
            except (OSError, TimeoutError):
                self._tried.add(number)
            finally:
                self.in_place.discard(number)
                client.close()
            await asyncio.sleep(0 if self._kind == "quick" else 0.5)

    async def _gets_in(self, client: socket.socket) -> bool:
        loop = asyncio.get_running_loop()
        if not (await loop.sock_recv(client, 4096)).startswith(b"220 "):
            return False
        if self._kind == "silent":
            return True
        if self._kind == "quick":
            await loop.sock_sendall(client, b"QUIT\r\n")
            return True
        await loop.sock_sendall(client, b"EHLO x\r\nSTARTTLS\r\n")
        replies = b""
        while b"\r\n220 " not in replies:
            octets = await loop.sock_recv(client, 4096)
            replies += octets
            if not octets or b"\r\n454 " in replies:
                return False
        if self._kind in ("claim", "part"):
            await loop.sock_sendall(client, CLAIM if self._kind == "claim" else PART)
            return True
        arrived, leaving = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = self._context.wrap_bio(arrived, leaving)
        while True:
            wanted = False
            try:
                tls.do_handshake()
            except ssl.SSLWantReadError:
                wanted = True
            await loop.sock_sendall(client, leaving.read())
            if not wanted:
                return True
            octets = await loop.sock_recv(client, 16384)
            if not octets:
                return False
            arrived.write(octets)


MANY, ENOUGH = 10**9, 20

if __name__ == "__main__":
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    kind, *words = sys.argv[1:]
    if kind == "honest":
        count, pause = (*words, *[str(MANY), "0.05"][len(words) :])
        print(json.dumps(honest(int(count), float(pause))))
    else:
        asyncio.run(Crowd(kind, int(words[0]), words[1:]).run())
