"""What a server counts, in Prometheus's terms and over HTTP, and whether it is ready.

It knows prometheus-client, and Prometheus's rules for names. It must not know connections: it reads
counts.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate
from socket import socket
from socketserver import ThreadingMixIn
from threading import Thread, active_count
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer
from wsgiref.types import StartResponse, WSGIEnvironment

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from null521.record import ENDINGS
from null521.serve.clients import LIMITS, SECONDS
from null521.serve.server import Server

MAX_THREADS = 32  # each has one of the descriptors that cli.py keeps for other things
PAUSE = 0.2  # seconds, when there is no descriptor for a connection


class ServerCollector(Collector):
    """Reads a server's counts when asked: a scrape may come from another thread."""

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
        yield GaugeMetricFamily(
            "null521_open_connections", "Connections in session.", server.clients.open
        )
        seconds = HistogramMetricFamily(
            "null521_session_seconds", "How long sessions lasted, from accept to their end."
        )
        bounds = [*map(str, SECONDS), "+Inf"]
        cumulative = accumulate(counts.sessions_by_seconds)
        seconds.add_metric([], list(zip(bounds, cumulative, strict=True)), counts.seconds)
        yield seconds


class _Http(ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def verify_request(self, request: object, client_address: object) -> bool:
        """Each needs a thread and a descriptor; more than a few at once are no scrapers."""
        return active_count() <= MAX_THREADS

    def get_request(self) -> tuple[socket, Any]:
        """Without a pause, its loop would ask for a descriptor at once when there is none."""
        try:
            return super().get_request()
        except OSError:
            time.sleep(PAUSE)
            raise

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that disconnects or is silent is no news; this would print a traceback."""


class _Silent(WSGIRequestHandler):
    timeout = 10.0  # seconds that a client may be silent: socketserver.StreamRequestHandler

    def log_message(self, format: str, *args: object) -> None:
        """Requests are not recorded."""


def serve(server: Server, listener: socket, is_ready: Callable[[], bool]) -> None:
    """Answer /metrics, and /ready with 200 or 503, until the process ends."""
    registry = CollectorRegistry()
    registry.register(ServerCollector(server))
    ProcessCollector(registry=registry)
    metrics = make_wsgi_app(registry)

    def application(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO")
        if path == "/metrics":
            scraped: Iterable[bytes] = metrics(environ, start)
            return scraped
        status, text = "404 Not Found", b"There is /metrics and /ready.\n"
        if path == "/ready":
            status, text = ("200 OK", b"ready\n") if is_ready() else ("503 Stopping", b"stopping\n")
        start(status, [("Content-Type", "text/plain; charset=utf-8")])
        return [text]

    http = _Http(("", 0), _Silent, bind_and_activate=False)
    http.socket.close()
    http.socket = listener
    http.server_name, http.server_port = "null521", listener.getsockname()[1]
    http.setup_environ()
    http.set_app(application)
    Thread(target=http.serve_forever, daemon=True).start()
