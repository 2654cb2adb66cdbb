"""What listens on a port of this host, and which process that is, where /proc shows it.

It knows proc(5). It must not know units, nor what is answered on a port. `ss` and psutil read the
same files, but neither is always there, and what is needed of them is little.
"""

import contextlib
import os
import pwd
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from itertools import islice
from pathlib import Path

from null521.local.parts import Part, shown

PROC = Path("/proc")
TABLES = ("net/tcp", "net/tcp6")
LISTEN = "0A"  # TCP_LISTEN in the kernel's net/tcp_states.h
MAX_LINES = 100_000  # of each table; listening sockets come first
MAX_PROCESSES = 8  # of one socket, named
PORT = 25


@dataclass
class Listener:
    """A listening socket.

    user: whose it is. processes: name and id of each process that has it. is_ours: whether one of
    them is `null521 serve`. hidden: whether there may be others, which only root can see.
    """

    address: str
    port: int
    inode: int
    user: str
    processes: list[tuple[str, int]] = field(default_factory=list)
    is_ours: bool = False
    hidden: bool = False

    @property
    def label(self) -> str:
        """Address and port, as units write them."""
        return f"[{self.address}]:{self.port}" if ":" in self.address else (
            f"{self.address}:{self.port}")  # fmt: skip

    @property
    def holder(self) -> str:
        """Who has it, as far as that can be seen."""
        if self.processes:
            names = [f"{name} ({pid})" for name, pid in self.processes[:MAX_PROCESSES]]
            return ", ".join(names)
        if self.hidden:
            return f"a process of {self.user}, whose name only root can see"
        return "no process of this host: a container's or the kernel's"

    @property
    def targets(self) -> list[str]:
        """The addresses at which to ask what answers there."""
        if self.address == "::":
            return ["::1", "127.0.0.1"]  # IPv4 too, unless the socket is for IPv6 alone
        if self.address.startswith("fe80:"):
            return []  # /proc does not say on which interface: RFC 4007
        return ["127.0.0.1"] if self.address == "0.0.0.0" else [self.address]

    def is_at(self, places: Iterable[tuple[str, int]]) -> bool:
        """Whether that is one of the places; an address of "" or "::" means all."""
        mine = ("" if self.address in ("::", "0.0.0.0") else self.address, self.port)
        return mine in [("" if host in ("::", "0.0.0.0") else host, port) for host, port in places]


def look(ports: Iterable[int]) -> list[Listener]:
    """What listens on these ports, and on all others where `null521 serve` does."""
    found = list(_listeners())
    _name(found)
    wanted = set(ports)
    return [one for one in found if one.port in wanted or one.is_ours]


def parse_table(lines: Iterable[str]) -> Iterator[tuple[str, int, int, int]]:
    """Address, port, user id and inode of each listening socket, from /proc/net/tcp or tcp6."""
    for line in islice(lines, MAX_LINES):
        words = line.split()
        if len(words) > 9 and words[3] == LISTEN:
            host, _, port = words[1].partition(":")
            with contextlib.suppress(ValueError):
                yield _address(host), int(port, 16), int(words[7]), int(words[9])


def _address(digits: str) -> str:
    """The kernel prints each 32 bits as a number of the machine's own byte order."""
    parts = [digits[at : at + 8] for at in range(0, len(digits), 8)]
    packed = b"".join(int(part, 16).to_bytes(4, sys.byteorder) for part in parts)
    return str(IPv4Address(packed) if len(packed) == 4 else IPv6Address(packed))


def _listeners() -> Iterator[Listener]:
    for name in TABLES:
        with contextlib.suppress(OSError), open(PROC / name, encoding="ascii") as lines:
            for address, port, uid, inode in parse_table(lines):
                yield Listener(address, port, inode, _user(uid))


def _user(uid: int) -> str:
    try:
        return shown(pwd.getpwuid(uid).pw_name)
    except KeyError:
        return f"the user {uid}"


def _name(listeners: list[Listener]) -> None:
    """Fill in the processes; as root, of all users."""
    by_link = {f"socket:[{one.inode}]": one for one in listeners}
    some_hidden = False
    for folder in PROC.glob("[0-9]*"):
        try:
            descriptors = os.listdir(folder / "fd")
        except PermissionError:
            some_hidden = True
            continue
        except OSError:  # it has ended
            continue
        for number in descriptors:
            with contextlib.suppress(OSError):
                one = by_link.get(os.readlink(folder / "fd" / number))
                if one is None:
                    continue
                process = _process(folder), int(folder.name)
                if process not in one.processes:
                    one.processes.append(process)
                    one.is_ours = one.is_ours or _is_ours(folder)
    for one in listeners:
        one.hidden = some_hidden and not one.processes
        one.processes.sort(key=lambda process: process[1])


def _process(folder: Path) -> str:
    with contextlib.suppress(OSError):
        return shown((folder / "comm").read_bytes().decode("utf-8", "replace").rstrip("\n"))
    return "?"


def _is_ours(folder: Path) -> bool:
    """Whether it is `null521 serve` by its first words, which are not shown: they may be secret."""
    with contextlib.suppress(OSError), open(folder / "cmdline", "rb") as file:
        words = file.read(4096).split(b"\0")[:6]
        return b"serve" in words and b"null521" in [os.path.basename(word) for word in words]
    return False


def judge(
    listeners: list[Listener], wanted: list[tuple[str, int]], starts: str, answered: bool = False
) -> Part:
    """wanted: where a unit of ours should listen but does not, or []. starts: what starts it.

    answered: whether mail was refused, whoever listens.
    """
    part = Part("port")
    part.data["listeners"] = [
        {
            "address": one.address,
            "port": one.port,
            "user": one.user,
            "processes": [{"name": name, "pid": pid} for name, pid in one.processes],
        }
        for one in listeners
    ]
    part.found += [f"{one.label}: {one.holder}" for one in listeners]
    if not listeners:
        ports = sorted({port for _, port in wanted}) or [PORT]
        nothing = f"nothing listens on port {', '.join(map(str, ports))}"
        part.found.append(nothing)
        if not answered:
            part.faults.append(f"{nothing}, so senders queue their mail for days")
    elif wanted:
        ports_wanted = {port for _, port in wanted}
        others = [one for one in listeners if one.port in ports_wanted]
        for one in others:
            part.faults.append(f"{one.label} is taken by {one.holder}; stop that, then {starts}")
    return part
