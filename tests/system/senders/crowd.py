"""Thousands of slow and hostile clients at once, in one process.

    python3 crowd.py HOST COUNT

So many are connected to port 25 of the host at any time, as many of each of the KINDS, and each
from an address of its own in 10.0.0.0/8, which has to be this network's. Who is sent away comes
again. It prints "there" once all of them are, and ends, with a traceback, only if one of them is
not let in. It must not know what answers them.
"""

import asyncio
import contextlib
import os
import resource
import socket
import sys

PORT = 25
AT_ONCE = 100  # connections that are being made
PAUSE = 8.0  # seconds between two things that one of them does

Loop = asyncio.AbstractEventLoop


async def silent(loop: Loop, client: socket.socket) -> None:
    """Read, and say nothing."""
    while await loop.sock_recv(client, 4096):
        pass


async def dripping(loop: Loop, client: socket.socket) -> None:
    """One octet of a command now and then."""
    while True:
        await loop.sock_sendall(client, b"x")
        await asyncio.sleep(PAUSE)


async def deaf(loop: Loop, client: socket.socket) -> None:
    """Commands as long as they are taken, and no reply is read."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)  # the least that there is: socket(7)
    while True:
        await loop.sock_sendall(client, b"NOOP\r\n" * 60)
        await asyncio.sleep(PAUSE)


async def resetting(loop: Loop, client: socket.socket) -> None:
    """Away in the middle of a command, with a RST: SO_LINGER in socket(7)."""
    await loop.sock_sendall(client, b"EHLO")
    await asyncio.sleep(PAUSE)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


async def babbling(loop: Loop, client: socket.socket) -> None:
    """Lines of garbage."""
    while True:
        await loop.sock_sendall(client, os.urandom(200) + b"\n")
        await asyncio.sleep(PAUSE)


KINDS = (silent, dripping, deaf, resetting, babbling)


async def come_again(number: int, host: str, connecting: asyncio.Semaphore, away: set[int]) -> None:
    """One of them, for ever."""
    loop = asyncio.get_running_loop()
    while True:
        with socket.socket() as client:
            client.setblocking(False)
            client.bind((f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", 0))
            async with connecting:
                await loop.sock_connect(client, (host, PORT))
            away.discard(number)
            with contextlib.suppress(OSError):
                await KINDS[number % len(KINDS)](loop, client)


async def main(host: str, count: str) -> None:
    """All of them, for ever."""
    away = set(range(1, int(count) + 1))
    connecting = asyncio.Semaphore(AT_ONCE)
    async with asyncio.TaskGroup() as clients:
        for number in list(away):
            clients.create_task(come_again(number, host, connecting, away))
        while away:
            await asyncio.sleep(0.1)
        print("there", flush=True)


if __name__ == "__main__":
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    asyncio.run(main(*sys.argv[1:]))
