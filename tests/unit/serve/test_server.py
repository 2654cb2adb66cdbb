"""The certificate of a server as time goes by, and how many may use TLS; without sockets."""

import asyncio
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import cast

import pytest
from helpers.certificates import dates, make

from null521.record import WARNING, Record
from null521.serve import cli, server
from null521.serve.connection import Connection
from null521.serve.log import LogQueue
from null521.serve.server import Server
from null521.serve.settings import ServeSettings
from null521.session import Session


class Loop:
    """An event loop of which only the clock is used, and that by hand."""

    def __init__(self) -> None:
        self.later: list[tuple[float, Callable[[], None]]] = []

    def add_reader(self, fd: int, call: Callable[[], None]) -> None:
        pass

    def call_later(self, seconds: float, call: Callable[[], None]) -> None:
        self.later.append((seconds, call))

    def pass_time(self) -> float:
        """Call what is to be called next, and return how many seconds later that is."""
        ((seconds, call),) = self.later
        self.later = []
        call()
        return seconds


class Log:
    """What is said of the certificate."""

    def __init__(self) -> None:
        self.records: list[Record] = []

    def put(self, record: Record) -> None:
        self.records.append(record)


def started(cert: str, key: str, **values: object) -> tuple[Server, Loop, Log]:
    settings, loop, log = ServeSettings(), Loop(), Log()
    settings.tls_cert, settings.tls_key, settings.max_tls = cert, key, 100
    for name, value in values.items():
        assert hasattr(settings, name)
        setattr(settings, name, value)
    made = Server(settings, cast(LogQueue, log), cast(asyncio.AbstractEventLoop, loop))
    made.listen([])
    return made, loop, log


def session() -> Session:
    return Session("h.example", "no", "rcpt", starttls=True)


class Client:
    start = last_active = 0.0
    tick = 0
    address = b""


def client() -> Connection:
    return cast(Connection, Client())


def test_the_end_of_a_certificate_is_that_of_the_one_in_use(tmp_path: Path) -> None:
    cert, key = make(tmp_path)
    ends = [dates(cert)[1]]
    made, loop, _ = started(cert, key)
    assert (made.certificate_end, made.certificate_fault) == (ends[0], "")
    make(tmp_path, "ec", "-days", "60")
    ends.append(dates(cert)[1])
    loop.pass_time()
    assert (made.certificate_end, made.certificate_fault) == (ends[1], "")
    # Renewed, but the key is still the old one: the certificate in use has not changed.
    old = Path(key).read_text()
    make(tmp_path, "ec", "-days", "90")
    Path(key).write_text(old)
    loop.pass_time()
    assert ends[0] < made.certificate_end == ends[1] < dates(cert)[1]
    assert made.certificate_fault.startswith("STARTTLS is not available: ")
    Path(cert).write_text("")
    loop.pass_time()
    assert made.certificate_end == ends[1]
    make(tmp_path, "ec", "-days", "-1")
    loop.pass_time()
    assert made.certificate_end == ends[1]
    assert "expired" in made.certificate_fault


def test_tries_are_counted_only_for_metrics() -> None:
    assert started("", "")[0].tries is None
    assert started("", "", metrics=("127.0.0.1:9521",))[0].tries is not None


def test_a_certificate_is_read_each_hour(tmp_path: Path) -> None:
    made, loop, log = started(*make(tmp_path))
    first = made.context
    assert first is not None
    for _ in range(2):
        assert loop.pass_time() == 3600.0
    assert made.context not in (None, first)
    assert log.records == []


def test_one_that_cannot_be_used_is_read_each_minute_and_said_once(tmp_path: Path) -> None:
    cert, key = make(tmp_path)
    whole = Path(key).read_text()
    Path(key).write_text(whole[: len(whole) // 2])
    made, loop, log = started(cert, key)
    assert made.context is None
    assert made.start_tls(client(), session()) is None
    for _ in range(3):
        assert loop.pass_time() == 60.0
    (warning,) = log.records
    assert warning.priority == WARNING
    assert warning.message == f"STARTTLS is not available: {key} has no PRIVATE KEY in PEM"
    Path(key).write_text(whole)
    assert loop.pass_time() == 60.0
    assert made.context is not None
    assert made.start_tls(client(), session()) is not None
    # Damaged again, it stays in use, and this is said again; another fault is, too.
    context = made.context
    for text, count in (("", 2), ("", 2), (whole.replace(" PRIVATE", " ENCRYPTED PRIVATE"), 3)):
        Path(key).write_text(text)
        loop.pass_time()
        assert (made.context, len(log.records)) == (context, count)
    assert made.start_tls(client(), session()) is not None


def test_without_a_certificate_nothing_is_read() -> None:
    made, loop, log = started("", "")
    assert (made.context, loop.later, log.records) == (None, [], [])
    assert (made.certificate_end, made.certificate_fault) == ("", "")


def test_a_context_is_replaced_because_openssl_remembers_sessions_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert server.CONTEXT_USES == 1000
    monkeypatch.setattr(server, "CONTEXT_USES", 3)
    made, _, _ = started(*make(tmp_path))
    seen = []
    for _ in range(7):
        assert made.start_tls(client(), session()) is not None
        seen.append(made.context)
    changes = [one is not other for one, other in pairwise(seen)]
    assert changes == [False, True, False, False, True, False]


def test_no_more_clients_use_tls_than_may(tmp_path: Path) -> None:
    made, _, _ = started(*make(tmp_path), max_tls=2)
    ready = [made.start_tls(client(), session()) for _ in range(4)]
    assert [secured is not None for secured in ready] == [True, True, False, False]
    assert dict(made.clients.counts.limits) == {"max-tls": 2}


# The memory that there is.

MB = 2**20


@pytest.mark.parametrize(
    ("memory", "connections"),
    [(64 * MB, 16), (0, 16), (256 * MB, 2048), (2**30, 10240)],
)
def test_half_of_the_memory_is_for_tls(memory: int, connections: int) -> None:
    assert cli._tls_for(memory) == connections


@pytest.mark.parametrize("name", ["memory.max", "memory/memory.limit_in_bytes"])
@pytest.mark.parametrize("text", ["1000000\n", "max\n", "", "9223372036854771712\n", None])
def test_the_memory_that_a_cgroup_allows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str | None
) -> None:
    monkeypatch.setattr(cli, "CGROUPS", tmp_path)
    everything = cli._memory_limit()
    assert everything > 64 * MB
    if text is not None:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert cli._memory_limit() == (1_000_000 if text == "1000000\n" else everything)
