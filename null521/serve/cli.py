"""`null521 serve`: many connections in one process, from its start to its end.

It knows signals, the system's limits, and when to tell systemd what. It must not know what is done
with a connection.
"""

import asyncio
import contextlib
import errno
import os
import resource
import signal
import time
from collections.abc import Callable
from pathlib import Path
from socket import socket

from null521 import fault, misuse, peer, record
from null521.serve import listening
from null521.serve import settings as serve_settings
from null521.serve.clients import TLS_OCTETS
from null521.serve.log import LogQueue
from null521.serve.notify import Notifier
from null521.serve.server import Server
from null521.serve.settings import ServeSettings
from null521.settings import LINGER_SECONDS

DESCRIPTORS = 64  # kept for other things than connections; fewer are needed
STATUS_SECONDS = 5.0  # how often systemd is told the status
FLUSH_SECONDS = 3.0  # how long to wait for a slow log at the end
POLL_SECONDS = 0.02
STOPPING = (signal.SIGTERM, signal.SIGINT)
# Repeated with each status: if the first one is lost, systemd would end the start as failed.
READY = "READY=1"

BASE_OCTETS = 64 * 2**20  # what is needed for all else
CGROUPS = Path("/sys/fs/cgroup")

HELP = """\
usage: null521 serve [--SETTING=VALUE ...]

Answer connections as a host that accepts no mail does: 521 to everything, as in RFC 7504.
They come from the sockets that systemd (Accept=no), podman or inetd (wait) hands over, or
else from those of --listen.
"""

HELP_TAIL = """

SIGTERM stops it when all sessions have ended, or after the grace time; a second one, at once.
Exit status: 0; 78 if a setting or what was handed over is invalid; 71 if it cannot listen."""

METRICS = "metrics need prometheus-client, which is not installed"


def run(arguments: list[str]) -> int:
    """Serve until a signal or exit-idle ends it; return the exit status.

    EX_CONFIG, before any client is answered, if a setting is invalid or what was handed over is no
    listening socket; EX_OSERR if it cannot listen where it should.
    """
    environ = peer.environ()
    # What stops a server has to wait until somebody listens to it.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    _open_standard_streams()
    settings = serve_settings.read(arguments, environ)
    status = os.EX_CONFIG
    try:
        if settings.metrics:
            _require_metrics(settings)
        if not settings.faults:
            scraped = listening.bind(settings.metrics)
            listeners = listening.sockets(settings.listen, environ)
    except listening.Misuse as error:
        settings.faults.append(str(error))
    except OSError as error:
        # socket.create_server() says more, and twice; socket.if_nametoindex() has no number.
        reason = os.strerror(error.errno or errno.ENODEV)
        settings.faults.append(f"cannot listen on {error.filename}: {reason}")
        status = os.EX_OSERR
    if settings.faults:
        misuse.tell(settings)
        return status
    _raise_limit(settings)
    settings.memory_limit = settings.memory_limit or _memory_limit()
    settings.max_tls = settings.max_tls or _tls_for(settings.memory_limit)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_serve(settings, listeners, scraped, Notifier(environ)))
    return os.EX_OK


def help() -> str:
    """What --help prints."""
    from null521.console import usage

    return HELP + usage.settings_table(serve_settings.read([], {})) + HELP_TAIL


def _open_standard_streams() -> None:
    """Keep the descriptors 0 to 2 from becoming sockets: libuv aborts when it has to close one."""
    with contextlib.suppress(OSError):  # a bare root directory
        while (null := os.open(os.devnull, os.O_RDWR)) <= 2:
            pass
        os.close(null)


def _require_metrics(settings: ServeSettings) -> None:
    try:
        from null521.serve import metrics  # noqa: F401
    except ImportError:
        settings.faults.append(METRICS)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's, which needs less CPU, if it is installed."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def _raise_limit(settings: ServeSettings) -> None:
    """Ask for as many descriptors as allowed, and allow no more connections than these."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):  # a sandbox may forbid it
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    room = max(1, soft - DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and settings.max_connections > room:
        settings.warnings.append(
            f"max-connections is {settings.max_connections}, but {soft} descriptors are allowed "
            f"(RLIMIT_NOFILE), so it is {room}"
        )
        settings.max_connections = room


def _memory_limit() -> int:
    """What this process may use, in octets: its cgroup's limit, or what the machine has."""
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    with contextlib.suppress(OSError, ValueError):
        paths = [
            line.split(":", 2)[2] for line in Path("/proc/self/cgroup").read_text().splitlines()
        ]
        # Version 2, and 1; in a container, the file at the top is the container's own.
        names = [f"{path}/memory.max".lstrip("/") for path in [*paths, ""]]
        names += [f"memory{path}/memory.limit_in_bytes" for path in [*paths, ""]]
        for name in names:
            with contextlib.suppress(OSError, ValueError):
                limits.append(int((CGROUPS / name).read_text()))
    return min(limits)


def _tls_for(memory: int) -> int:
    """How many connections may use TLS: half of the memory that is left is for them."""
    return max(16, (memory - BASE_OCTETS) // 2 // TLS_OCTETS)


async def _serve(
    settings: ServeSettings,
    listeners: list[socket],
    scraped: list[socket],
    systemd: Notifier,
) -> None:
    loop = asyncio.get_running_loop()
    queue = LogQueue(settings.log, loop, settings.log_budget)
    loop.set_exception_handler(lambda loop, context: queue.put(_of_bug(context)))
    server = Server(settings, queue, loop)
    stopping, at_once = asyncio.Event(), asyncio.Event()

    def stop() -> None:
        (at_once if stopping.is_set() else stopping).set()

    for number in STOPPING:
        loop.add_signal_handler(number, stop)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)
    server.listen(listeners)
    scrapes = []
    for listener in scraped:
        from null521.serve import metrics

        scrapes.append(loop.create_task(metrics.serve(server, listener, stopping.is_set)))
    for warning in settings.warnings:
        queue.put(record.of_fault(warning, record.WARNING))
    places = ", ".join(map(listening.label, listeners))
    queue.put(record.Record(record.STARTED, record.INFO, f"Answering on {places}", []))
    if failure := systemd.send(READY):
        queue.put(record.of_fault(failure, record.WARNING))
    await _until_signalled(server, settings, stopping, systemd)

    stopping.set()
    systemd.send("STOPPING=1")
    server.stop()
    listening.close(listeners, settings.listen)
    await _until(lambda: not server.clients.open, settings.grace, at_once)
    server.clients.expire_all("stopped")
    await _until(lambda: not server.clients.lingering, LINGER_SECONDS, at_once)
    for scrape in scrapes:
        scrape.cancel()
    queue.flush()
    await _until(queue.is_empty, FLUSH_SECONDS, at_once)
    queue.close()
    # One more changes nothing, and must not end it by the signal once the handlers are removed.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)


async def _until_signalled(
    server: Server,
    settings: ServeSettings,
    stopping: asyncio.Event,
    systemd: Notifier,
) -> None:
    """Wait for a signal or for exit-idle; meanwhile, tell systemd."""
    clients = server.clients
    every = min(STATUS_SECONDS, systemd.watchdog or STATUS_SECONDS)
    while not stopping.is_set():
        waits = [every] if systemd.is_wanted else []
        if settings.exit_idle:
            idle = 0.0 if clients.open else time.monotonic() - clients.idle_since
            if idle >= settings.exit_idle:
                return
            waits.append(settings.exit_idle - idle)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), min(waits, default=None))
        over = clients.counts.endings.total()
        status = f"STATUS={clients.open} open, {over} over; {_troubles(server)}"
        systemd.send(READY, "WATCHDOG=1", status)


def _troubles(server: Server) -> str:
    turned_away = server.clients.counts.limits.total()
    return f"{turned_away} turned away, {server.log.lost} records lost"


async def _until(done: Callable[[], bool], seconds: float, at_once: asyncio.Event) -> None:
    end = time.monotonic() + seconds
    while not done() and not at_once.is_set() and time.monotonic() < end:
        await asyncio.sleep(POLL_SECONDS)


def _of_bug(context: dict[str, object]) -> record.Record:
    """The record of an exception that has reached the event loop."""
    error = context.get("exception")
    if isinstance(error, BaseException):
        return record.of_fault(fault.line(error))
    return record.of_fault(f"event loop: {context.get('message')!a:.300}")
