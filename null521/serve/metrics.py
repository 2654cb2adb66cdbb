"""What a server counts, in Prometheus's terms and over HTTP, and whether it is ready.

It knows prometheus-client, and Prometheus's rules for names. It must not know connections: it reads
counts.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterator
from itertools import accumulate
from socket import socket

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from null521 import certificate, fault, record
from null521.record import ENDINGS
from null521.serve.clients import LIMITS, OCTETS, SECONDS, Clients
from null521.serve.server import Server

MAX_CLIENTS = 32  # at once; each has one of the descriptors that cli.py keeps for other things
MAX_REQUEST = 8192  # octets
END = b"\r\n\r\n"  # of a header
SECONDS_IN_ALL = 5.0  # for one request
COST = 25  # how many times as long as it took to make the page SMTP has before the next
BATCH, PACE = 16, 0.05  # that many connections are taken, and then none for so many seconds
PAUSE = 0.2  # seconds, when there is no descriptor for a connection


class ServerCollector(Collector):
    """Reads a server's counts when asked."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def collect(self) -> Iterator[Metric]:
        """All metrics of the server, as they are now."""
        server, counts = self._server, self._server.clients.counts
        connections = CounterMetricFamily(
            "null521_connections",
            "Connections that are over, by how they ended.",
            labels=["ending"],
        )
        for ending in ENDINGS:
            connections.add_metric([ending], counts.endings[ending])
        yield connections
        limits = CounterMetricFamily(
            "null521_turned_away", "Connections over a limit, by the setting.", labels=["limit"]
        )
        for limit in LIMITS:
            limits.add_metric([limit], counts.limits[limit])
        yield limits
        yield CounterMetricFamily("null521_commands", "Commands answered.", counts.commands)
        yield CounterMetricFamily(
            "null521_records_dropped", "Records that no log has accepted.", server.log.lost
        )
        yield CounterMetricFamily(
            "null521_records_summed",
            "Connections without a record of their own, because of log-budget.",
            server.log.summed,
        )
        yield GaugeMetricFamily(
            "null521_records_waiting_bytes", "Records that wait for the log.", server.log.waiting
        )
        states = GaugeMetricFamily(
            "null521_open_connections", "Connections not yet closed, by state.", labels=["state"]
        )
        memory = GaugeMetricFamily(
            "null521_connection_memory_bytes",
            "The most that open connections may need, by state.",
            labels=["state"],
        )
        for state, number in by_state(server.clients).items():
            states.add_metric([state], number)
            memory.add_metric([state], number * OCTETS[state])
        yield states
        yield memory
        most = GaugeMetricFamily(
            "null521_limit_connections",
            "The limits on open connections, by the setting.",
            labels=["limit"],
        )
        for limit in LIMITS:
            most.add_metric([limit], getattr(server.settings, limit.replace("-", "_")))
        yield most
        yield GaugeMetricFamily(
            "null521_memory_limit_bytes",
            "What the process may use.",
            server.settings.memory_limit,
        )
        yield from self._tls()
        yield from self._mail()
        seconds = HistogramMetricFamily(
            "null521_session_seconds", "How long sessions lasted, from accept to their end."
        )
        bounds = [*map(str, SECONDS), "+Inf"]
        cumulative = accumulate(counts.sessions_by_seconds)
        seconds.add_metric([], list(zip(bounds, cumulative, strict=True)), counts.seconds)
        yield seconds

    def _tls(self) -> Iterator[Metric]:
        server = self._server
        handshakes = CounterMetricFamily(
            "null521_tls_handshakes", "TLS handshakes that are over.", labels=["result"]
        )
        for result, number in server.clients.handshakes_by_result().items():
            handshakes.add_metric([result], number)
        yield handshakes
        if server.settings.tls_cert or server.settings.tls_key:
            yield GaugeMetricFamily(
                "null521_certificate_usable",
                "Whether certificate and key could be used when last read.",
                not server.certificate_fault,
            )
        if (moment := certificate.seconds_of(server.certificate_end)) is not None:
            yield GaugeMetricFamily(
                "null521_certificate_expiry_timestamp_seconds",
                "When the certificate in use expires.",
                moment,
            )

    def _mail(self) -> Iterator[Metric]:
        tries = self._server.tries
        if tries is None:
            return
        yield CounterMetricFamily(
            "null521_mail_sessions", "Sessions that named a sender.", tries.sessions
        )
        yield CounterMetricFamily(
            "null521_mail_retries",
            "Of these, how many tried the same again, a minute to a day later.",
            tries.retries,
        )
        yield GaugeMetricFamily(
            "null521_retrying_senders",
            "Senders that have tried three times or more, the last time within a day.",
            tries.retrying(time.monotonic()),
        )


def by_state(clients: Clients) -> dict[str, int]:
    """How many connections there are: in clear, in a handshake, under TLS, and closing."""
    tls = clients.tls_by_state()
    return {"clear": clients.open - sum(tls.values()), **tls, "lingering": clients.lingering}


class OwnProcess(ProcessCollector):
    """The process, also where ProcSubset=pid hides /proc/stat, which has the time of the boot."""

    def _boot_time(self) -> float:
        return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)


class Page:
    """/metrics, made anew for all that wait for it, as often as its cost allows."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._registry = CollectorRegistry()
        self._registry.register(ServerCollector(server))
        OwnProcess(registry=self._registry)
        self._next: asyncio.Task[bytes] | None = None
        self._earliest = 0.0  # when it may be made again, by time.monotonic()

    async def response(self) -> bytes:
        """The whole of it, not older than the request."""
        if self._next is None:
            self._next = asyncio.create_task(self._make_when_due())
        return await asyncio.shield(self._next)

    async def _make_when_due(self) -> bytes:
        await asyncio.sleep(self._earliest - time.monotonic())
        self._next = None  # whoever asks from here on is to see what happens from here on
        start = time.monotonic()
        try:
            response = _response("200 OK", generate_latest(self._registry), CONTENT_TYPE_LATEST)
        except Exception as error:
            self._server.log.put(record.of_fault(fault.line(error)))
            response = _response("500 Internal Server Error", b"see the log\n")
        now = time.monotonic()
        self._earliest = now + COST * (now - start)
        return response


async def serve(server: Server, listener: socket, is_stopping: Callable[[], bool]) -> None:
    """Answer /metrics, and /ready with 200 or 503, until cancelled.

    In the event loop, at a bounded pace: threads would take the interpreter's lock from SMTP.
    """
    page = Page(server)

    async def response(method: str, path: str) -> bytes:
        if method not in ("GET", "HEAD"):
            return _response("405 Method Not Allowed", b"There is GET.\n")
        if path == "/metrics":
            found = await page.response()
        elif path != "/ready":
            found = _response("404 Not Found", b"There is /metrics and /ready.\n")
        elif is_stopping():
            found = _response("503 Service Unavailable", b"stopping\n")
        else:
            found = _response("200 OK", b"ready\n")
        return found.partition(END)[0] + END if method == "HEAD" else found

    loop = asyncio.get_running_loop()
    listener.setblocking(False)
    clients: dict[asyncio.Task[None], None] = {}  # the oldest first
    taken = 0
    while True:
        try:
            client, _ = await loop.sock_accept(listener)
        except OSError:  # no descriptor for it
            await asyncio.sleep(PAUSE)
            continue
        if len(clients) >= MAX_CLIENTS:
            oldest = next(iter(clients))
            del clients[oldest]
            oldest.cancel()
        task = loop.create_task(_answer(client, response))
        clients[task] = None
        task.add_done_callback(lambda task: clients.pop(task, None))
        taken += 1
        if taken % BATCH == 0:
            await asyncio.sleep(PACE)


async def _answer(client: socket, response: Callable[[str, str], Awaitable[bytes]]) -> None:
    """One request, within SECONDS_IN_ALL, whatever the client does."""
    loop = asyncio.get_running_loop()
    with client, contextlib.suppress(OSError):  # TimeoutError is one
        async with asyncio.timeout(SECONDS_IN_ALL):
            request = b""
            while END not in request and len(request) < MAX_REQUEST:
                octets = await loop.sock_recv(client, MAX_REQUEST)
                if not octets:
                    return
                request += octets
            words = request.split(b"\r\n")[0].decode("latin-1").split(" ")
            method, target = words[:2] if len(words) == 3 else ("GET", "")
            await loop.sock_sendall(client, await response(method, target.partition("?")[0]))


def _response(status: str, body: bytes, content_type: str = "text/plain; charset=utf-8") -> bytes:
    head = f"HTTP/1.0 {status}\r\nContent-Type: {content_type}\r\n"
    head += f"Content-Length: {len(body)}\r\nConnection: close"
    return head.encode() + END + body
