"""What one connection of `null521 serve` holds, by its state, in KB.

    python3 tests/system/bench/tls_memory.py [COUNT]

COUNT clients, 200 by default, are brought into each state at once, by a server of their own; the
figure is what its memory (VmRSS of proc(5)) has grown by from the first half of them to the
second, so that what is needed once is not in it. Nothing here passes or fails.
"""

import socket
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from fuzz_tls import memory, starttls
from helpers.certificates import make
from helpers.hostile_tls import CLAIM, TLS_1_3, Contexts, Peer
from helpers.program import SERVE, Server

State = Callable[[socket.socket, Contexts], None]


def idle(client: socket.socket, _: Contexts) -> None:
    client.recv(100)


def long_recipients(client: socket.socket, _: Contexts) -> None:
    client.sendall(b"HELO x\r\nMAIL FROM:<" + b"a" * 310 + b">\r\n")
    for number in range(10):
        client.sendall(b"RCPT TO:<%d" % number + b"b" * 310 + b">\r\n")
    client.sendall(b"c" * 2000)


def after_starttls(client: socket.socket, _: Contexts) -> None:
    starttls(client)


def claim(client: socket.socket, _: Contexts) -> None:
    """It is refused, and lingers."""
    starttls(client)
    client.sendall(CLAIM)


def half_a_hello(client: socket.socket, contexts: Contexts) -> None:
    starttls(client)
    client.sendall(contexts.peer(TLS_1_3).hello()[:-1])


def hello(client: socket.socket, contexts: Contexts) -> None:
    starttls(client)
    client.sendall(contexts.peer(TLS_1_3).hello())
    client.recv(65536)


def up(client: socket.socket, contexts: Contexts) -> Peer:
    starttls(client)
    peer = contexts.peer(TLS_1_3)
    client.sendall(peer.hello())
    while not peer.is_up:
        client.sendall(peer.receive(client.recv(65536)))
    client.sendall(peer.says(b"NOOP\r\n"))
    client.recv(100)
    return peer


def up_and_idle(client: socket.socket, contexts: Contexts) -> None:
    up(client, contexts)


def half_a_record(client: socket.socket, contexts: Contexts) -> None:
    peer = up(client, contexts)
    client.sendall(peer.says(bytes(16384))[:-1])


STATES: dict[str, State] = {
    "clear, idle": idle,
    "ten long recipients and half a line": long_recipients,
    "after STARTTLS": after_starttls,
    "a claim of 131,396 octets (19 sent)": claim,
    "a ClientHello but for one octet": half_a_hello,
    "ClientHello and silence": hello,
    "TLS up, idle": up_and_idle,
    "a record of 16 KB but for one octet": half_a_record,
}


def measure(state: State, flags: list[str], count: int, contexts: Contexts) -> float:
    """KB for each connection."""
    with Server(*flags, words=SERVE) as server:
        clients: list[socket.socket] = []

        def more(half: int) -> int:
            for number in range(count // 2):
                clients.append(server.dial(f"127.0.{half * 100 + number % 100}.1"))
                state(clients[-1], contexts)
            time.sleep(0.5)
            return memory(server.process.pid)

        first = more(0)
        second = more(1)
        for client in clients:
            client.close()
        return (second - first) / 1024 / (count // 2)


if __name__ == "__main__":
    count = int(sys.argv[1]) if sys.argv[1:] else 200
    contexts = Contexts()
    with tempfile.TemporaryDirectory() as folder:
        cert, key = make(Path(folder))
        flags = [f"--tls-cert={cert}", f"--tls-key={key}", "--refuse-at=rcpt", "--max-tls=100000"]
        for name, state in STATES.items():
            kb = measure(state, flags, count, contexts)
            print(f"{name:40} {kb:7.1f} KB", flush=True)
    contexts.close()
