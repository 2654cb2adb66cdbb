"""Mutated conversations after STARTTLS, by the thousand: nothing fails, nothing grows.

    python3 tests/system/bench/fuzz_tls.py [COUNT [WAY [SEED]]]

with WAY one of: process (tls.Secured alone), handler, serve; by default COUNT is 100000, for each.
The driver of a process for each client is run in threads of this process over socket pairs, with
one TLS context for many: 100,000 interpreters would show no more and take hours. `serve` is the
program itself, over TCP. Ends with status 1 at an exception, at an ending that there is not, at
"fault", and if memory grows by more than MAX_GROWTH from the first tenth to the end.
"""

import collections
import contextlib
import functools
import os
import queue
import random
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

from helpers.certificates import make
from helpers.hostile_tls import (
    ALERT,
    CHANGE_CIPHER_SPEC,
    CLAIM,
    CLOSE_NOTIFY,
    DATA,
    HANDSHAKE,
    SHORT_RECORD,
    TLS_1_3,
    VERSIONS,
    Contexts,
    Peer,
    client_hello,
    cut,
    fragments,
    message,
    record,
)
from helpers.program import SERVE, TEST_TIMEOUT, Server

from null521 import certificate, connection, tls
from null521.record import ENDINGS
from null521.session import Session
from null521.settings import Settings

MAX_GROWTH = 20 * 2**20  # octets
CONTEXT_USES = 1000  # as in serve/server.py
WORDS = [b"EHLO x\r\n", b"MAIL FROM:<a@b>\r\n", b"RCPT TO:<c@d>\r\n" * 90, b"NOOP\r\n", b"x" * 3000]
WORDS += [b"QUIT\r\n", b"STARTTLS\r\n", b"RCPT TO:<c@d>\r\n"]

# Octets to send, and whether to wait for what the server says; what it said is sent back.
Conversation = Generator[tuple[bytes, bool], bytes, None]
Pair = tuple[str, str]


def mutated(chance: random.Random, octets: bytes) -> bytes:
    """Changed in up to three places."""
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(len(octets) + 1)
        end = min(len(octets), at + chance.randint(1, 40))
        how = chance.randrange(7)
        if how == 0 and at < len(octets):
            octets = octets[:at] + bytes([chance.randrange(256)]) + octets[at + 1 :]
        elif how == 1:
            octets = octets[:at]
        elif how == 2:
            octets = octets[:end] + octets[at:]  # repeated
        elif how == 3:
            octets = octets[:at] + octets[end:]
        elif how == 4:
            octets = octets[:at] + chance.randbytes(chance.randint(1, 40)) + octets[at:]
        elif how == 5 and octets[:1] == b"\x16":
            octets = fragments(octets[5:], chance.randint(1, 600))
        elif how == 6 and len(octets) > 9:  # of the record, or of the message in it
            at = chance.choice([3, 6, 7])
            octets = octets[:at] + chance.randbytes(2) + octets[at + 2 :]
    return octets


def said(chance: random.Random, peer: Peer) -> bytes:
    """Something that can only be said once TLS is up."""
    how = chance.randrange(13)
    if how < 5:
        return peer.says(chance.choice(WORDS))
    if how == 5:
        kind = chance.choice([ALERT, CHANGE_CIPHER_SPEC, DATA, HANDSHAKE, 24, 99])
        return peer.encrypted(kind, chance.randbytes(chance.choice([0, 1, 2, 4, 300])))
    if how == 6:
        claimed = chance.choice([None, 1, 131_396, 2**24 - 1])
        body = message(chance.randrange(30), chance.randbytes(chance.randrange(8)), claimed)
        return peer.encrypted(HANDSHAKE, body)
    if how == 7:
        return chance.choice([SHORT_RECORD, CLAIM, b"QUIT\r\n", record(DATA, b""), bytes(30)])
    if how == 8:
        return peer.encrypted(ALERT, CLOSE_NOTIFY)
    if how == 9:
        return peer.encrypted(HANDSHAKE, client_hello())
    if peer.version != TLS_1_3:
        return peer.says(b"NOOP\r\n")
    if how == 10:
        return peer.key_update(chance.random() < 0.5)
    if how == 11:
        first, second = peer.key_update_in_two()
        return first + second
    return b"".join(peer.key_update() for _ in range(60))


def conversation(chance: random.Random, contexts: Contexts) -> Conversation:
    """One client from the octet behind STARTTLS to its last."""

    def pieces(octets: bytes) -> Iterator[tuple[bytes, bool]]:
        places = [chance.randrange(len(octets) + 1) for _ in range(chance.choice([0, 0, 1, 3]))]
        for piece in cut(octets, *places):
            yield piece, False

    way = chance.random()
    if way < 0.1:
        yield fragments(client_hello(padding=chance.choice([0, 300])), chance.randint(1, 600)), True
        yield from pieces(mutated(chance, chance.choice([CLAIM, fragments(client_hello(), 99)])))
        return
    peer = contexts.peer(chance.choice(VERSIONS))
    hello = peer.hello()
    if way < 0.4:
        yield from pieces(mutated(chance, hello))
        return
    if chance.random() < 0.3:
        hello = fragments(hello[5:], chance.randint(1, 300))
    told = yield hello, True
    while told and not (rest := peer.receive(told)):
        told = yield b"", True
    if not told:
        return
    if not peer.is_up and way < 0.55:
        yield from pieces(mutated(chance, rest))
        return
    told = yield rest, not peer.is_up
    while told and not peer.is_up:
        peer.receive(told)
        if not peer.is_up:
            told = yield b"", True
    if not peer.is_up:
        return
    octets = b"".join(said(chance, peer) for _ in range(chance.randint(1, 6)))
    yield from pieces(mutated(chance, octets) if way > 0.85 else octets)


def session() -> Session:
    """After STARTTLS and its reply."""
    made = Session("h.example", "no", "rcpt", starttls=True)
    made.receive(b"STARTTLS\r\n")
    made.starttls(ready=True)
    return made


def over_socket(client: socket.socket, talk: Conversation) -> None:
    """The whole conversation, and what the server says to the end."""
    client.settimeout(TEST_TIMEOUT)
    told: bytes | None = None
    with contextlib.suppress(StopIteration, ConnectionError):
        while True:
            octets, wait = talk.send(told) if told is not None else next(talk)
            client.sendall(octets)
            told = client.recv(65536) if wait else b""
    with contextlib.suppress(OSError):
        client.shutdown(socket.SHUT_WR)
    with contextlib.suppress(ConnectionError):
        while client.recv(65536):
            pass


class InProcess:
    """tls.Secured alone."""

    def __init__(self, pair: Pair) -> None:
        self._pair = pair
        self._uses = 0
        self.pid = os.getpid()

    def hold(self, talk: Conversation, number: int) -> str:
        if self._uses % CONTEXT_USES == 0:
            self._context = tls.context(*self._pair)
        self._uses += 1
        speaker = tls.Secured(session(), self._context, 100_000)
        told: bytes | None = None
        with contextlib.suppress(StopIteration):
            while True:
                octets, _ = talk.send(told) if told is not None else next(talk)
                told = speaker.receive(octets)
                while speaker.has_more and not speaker.ending:
                    told += speaker.receive(b"")
        ending = speaker.ending or "eof"
        speaker.refusal()
        return ending

    def close(self) -> None:
        pass


class Handler:
    """The driver of a process for each client, in a thread of this one."""

    def __init__(self, pair: Pair) -> None:
        self.pid = os.getpid()
        self._settings = Settings()
        self._settings.read([f"--tls-cert={pair[0]}", f"--tls-key={pair[1]}"], {})
        self._settings.refuse_at, self._settings.max_octets = "rcpt", 100_000
        self._context = functools.cache(certificate.context)
        certificate.context = self._context
        self._uses = 0
        self._accepted: queue.SimpleQueue[socket.socket | None] = queue.SimpleQueue()
        self._endings: queue.SimpleQueue[str | Exception] = queue.SimpleQueue()
        threading.Thread(target=self._work, daemon=True).start()

    def _work(self) -> None:
        while accepted := self._accepted.get():
            with accepted:
                accepted.setblocking(False)
                fd, end = accepted.fileno(), time.monotonic() + 60
                on = self._settings.session(starttls=True)
                try:
                    self._endings.put(connection.converse(on, fd, fd, self._settings, end))
                except Exception as error:
                    self._endings.put(error)

    def hold(self, talk: Conversation, number: int) -> str:
        self._uses += 1
        if self._uses % CONTEXT_USES == 0:
            self._context.cache_clear()
        client, accepted = socket.socketpair()
        with client:
            self._accepted.put(accepted)
            starttls(client)
            over_socket(client, talk)
        ending = self._endings.get(timeout=TEST_TIMEOUT)
        if isinstance(ending, Exception):
            raise ending
        return ending

    def close(self) -> None:
        self._accepted.put(None)


class Serve:
    """`null521 serve` as it is."""

    def __init__(self, pair: Pair) -> None:
        flags = [f"--tls-cert={pair[0]}", f"--tls-key={pair[1]}", "--refuse-at=rcpt"]
        flags += ["--max-octets=100000", "--log-budget=1000000000"]
        self._server = Server(*flags, words=SERVE)
        self._server.__enter__()
        self.pid = self._server.process.pid

    def hold(self, talk: Conversation, number: int) -> str:
        with self._server.dial(f"127.0.{number % 250}.1") as client:
            starttls(client)
            over_socket(client, talk)
        entry = self._server.next()
        return str(entry.get("ending", entry["message"]))

    def close(self) -> None:
        self._server.stop()


def starttls(client: socket.socket) -> None:
    client.settimeout(TEST_TIMEOUT)
    client.sendall(b"STARTTLS\r\n")
    told = b""
    while not told.endswith(b"go ahead with TLS\r\n"):
        told += (chunk := client.recv(100))
        assert chunk, told


WAYS: dict[str, Callable[[Pair], InProcess | Handler | Serve]] = {
    "process": InProcess,
    "handler": Handler,
    "serve": Serve,
}


def memory(pid: int) -> int:
    """What it has, in octets: VmRSS of proc(5)."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) * 1024


def fuzz(way: str, count: int, seed: str) -> tuple[collections.Counter[str], int]:
    """Hold so many conversations; how they ended, and by how many octets memory grew."""
    endings: collections.Counter[str] = collections.Counter()
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as last:
        contexts = Contexts()
        last.callback(contexts.close)
        to = WAYS[way](make(Path(folder)))
        last.callback(to.close)
        before = 0
        for number in range(count):
            if number == count // 10:
                before = memory(to.pid)
            try:
                talk = conversation(random.Random(f"{seed} {number}"), contexts)
                ending = to.hold(talk, number)
                if ending not in ENDINGS or ending == "fault":
                    raise ValueError(ending)
            except Exception as error:
                error.add_note(f"{way}, conversation {number} of seed {seed}")
                raise
            endings[ending] += 1
        return endings, memory(to.pid) - before


if __name__ == "__main__":
    given = sys.argv[1:]
    count = int(given[0]) if given else 100_000
    grown = []
    for way in given[1:2] or list(WAYS):
        start = time.monotonic()
        endings, growth = fuzz(way, count, given[2] if len(given) > 2 else str(time.time()))
        grown.append(growth)
        seconds = time.monotonic() - start
        print(
            f"{way}: {count} conversations in {seconds:.0f} s, "
            f"{', '.join(f'{ending} {number}' for ending, number in endings.most_common())}; "
            f"memory {growth / 2**20:+.1f} MB",
            flush=True,
        )
    sys.exit(max(grown) > MAX_GROWTH)
