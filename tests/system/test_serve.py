"""`null521 serve` started by systemd-socket-activate, and in a network of IPv6."""

import json
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from helpers.namespaces import Namespaces
from helpers.program import BYE, GREETING, REFUSED, SERVE, TEST_TIMEOUT, Server
from helpers.serve import ask


def test_systemd_socket_activate(port: int) -> None:
    words = ["systemd-socket-activate", "-l", f"127.0.0.1:{port}", *SERVE]
    server = Server(words=words, listen=[])
    with ThreadPoolExecutor(1) as client:
        answer = client.submit(ask_until_it_listens, port)
        with server:  # which starts with the first client
            assert answer.result() == REFUSED + BYE
            assert server.next()["ending"] == "quit"
            server.process.terminate()
            assert server.process.wait(TEST_TIMEOUT) == 0


def ask_until_it_listens(port: int) -> bytes:
    deadline = time.monotonic() + TEST_TIMEOUT
    while True:
        try:
            return ask(socket.AF_INET, ("127.0.0.1", port))
        except ConnectionRefusedError:
            assert time.monotonic() < deadline
            time.sleep(0.02)


class Network(Namespaces):
    """A network with nothing in it but addresses of two networks of IPv6."""

    namespaces = ("--net",)
    addresses = ("2001:db8::1", "2001:db8::2", "2001:db8::ffff:3", "2001:db8:0:1::1")
    inside = "\n".join(
        ["ip link set lo up"]
        + [f"ip address add {address}/64 dev lo nodad" for address in addresses]
        + ["exec sleep infinity"]
    )

    def answers(self) -> bool:
        try:
            return self.addresses[-1] in self.output("ip", "address", "show", "dev", "lo")
        except (OSError, ValueError):
            return False


TELL = """
import json, socket, sys
clients = [socket.create_connection(("2001:db8::1", int(sys.argv[1])), 20, (source, 0))
    for source in sys.argv[2:]]
print(json.dumps([client.recv(100).decode() for client in clients]))
"""


def test_too_many_of_one_network_of_ipv6(tmp_path: Path) -> None:
    """All addresses of a /64 are one client's: RFC 6177."""
    with Network(tmp_path / "network") as network:
        command = network.command([*SERVE, "--max-per-client=2", "--refuse-at=rcpt"])
        with Server(words=command, listen=["[2001:db8::1]:0"]) as server:
            _, port = server.address()
            told = network.output(sys.executable, "-c", TELL, str(port), *network.addresses)
            greeting = GREETING.decode()
            assert json.loads(told) == [greeting, greeting, REFUSED.decode(), greeting]
            assert {server.next()["client"] for _ in range(4)} == set(network.addresses)
