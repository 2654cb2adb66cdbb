"""The floor for Python: one epoll loop that answers what load.c says, and knows nothing else.

    python3 -I -S tests/system/bench/loop.py PORT

No limits, no deadlines, no records, no commands but those. What null521 serve takes beyond this is
the price of what it does; parts.py divides that.
"""

import select
import sys
from _socket import AF_INET, SHUT_WR, SO_REUSEADDR, SOCK_STREAM, SOL_SOCKET
from _socket import socket as Socket

REFUSAL = b"521 5.3.2 floor.example is configured NOT to accept any mail.\r\n"
REPLIES = {
    b"EHLO": b"250-floor.example\r\n250-PIPELINING\r\n250 ENHANCEDSTATUSCODES\r\n",
    b"MAIL": b"250 2.1.0 OK\r\n" + REFUSAL + REFUSAL,
    b"QUIT": b"221 2.0.0 floor.example\r\n",
}


def main(port: int) -> None:
    """Answer on that port of 127.0.0.1 until a signal ends the process."""
    listener = Socket(AF_INET, SOCK_STREAM)
    listener.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(4096)
    clients: dict[int, Socket] = {}
    epoll = select.epoll()
    epoll.register(listener.fileno(), select.EPOLLIN)
    while True:
        for fd, _ in epoll.poll(-1, 256):
            if fd not in clients:
                fd, _ = listener._accept()  # type: ignore[attr-defined]
                client = clients[fd] = Socket(AF_INET, SOCK_STREAM, 0, fd)
                epoll.register(fd, select.EPOLLIN)
                client.send(b"220 floor.example ESMTP\r\n")
                continue
            client = clients[fd]
            verb = client.recv(4096)[:4]
            if not verb:
                clients.pop(fd).close()
                continue
            client.send(REPLIES[verb])
            if verb == b"QUIT":
                client.shutdown(SHUT_WR)


main(int(sys.argv[1]))
