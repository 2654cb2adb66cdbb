"""`null521 serve`: many connections in one process, from its start to its end.

It knows signals, what the system allows, and what systemd wants to be told. It must not know what
is done with a connection.
"""

import asyncio
import contextlib
import os
import resource
import signal
import time
from collections.abc import Callable, Mapping
from socket import socket

from null521 import log as journal
from null521 import record
from null521.connection import LINGER_SECONDS
from null521.serve import listening, notices
from null521.serve import settings as serving
from null521.serve.log import Outbox
from null521.serve.server import Server
from null521.serve.settings import Serving

DESCRIPTORS = 64  # that are not for connections, and more than it takes
STATUS_SECONDS = 5.0  # how often systemd is told what there is to tell
FLUSH_SECONDS = 1.0  # how long a slow log is waited for at the end
POLL_SECONDS = 0.02

METRICS = "metrics need prometheus-client, which is not installed"


def run(arguments: list[str], environ: Mapping[str, str] = os.environ) -> int:
    """Serve until a signal or exit-idle ends it; return the exit status.

    EX_CONFIG, before any client is answered, if a setting or what was handed over is no good;
    EX_OSERR if it cannot listen where it should.
    """
    _open_what_is_closed()
    settings = serving.read(arguments, environ)
    status = os.EX_CONFIG
    try:
        if settings.metrics:
            _require_metrics(settings)
        if not settings.faults:
            scraped = listening.made(settings.metrics)
            listeners = listening.sockets(settings.listen, environ)
    except listening.Unfit as error:
        settings.faults.append(str(error))
    except OSError as error:
        reason = os.strerror(error.errno or 0)  # socket.create_server() says more, and twice
        settings.faults.append(f"cannot listen on {error.filename}: {reason}")
        status = os.EX_OSERR
    for fault in settings.faults:
        journal.complain(settings.log, record.of_fault(fault))
    if settings.faults:
        return status
    _raise_limit(settings)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_serve(settings, listeners, scraped, _notifier(settings, environ), environ))
    return os.EX_OK


def _open_what_is_closed() -> None:
    """Keep the descriptors 0 to 2 from becoming sockets: libuv aborts where it has to close one."""
    with contextlib.suppress(OSError):  # a bare root directory
        while (null := os.open(os.devnull, os.O_RDWR)) <= 2:
            pass
        os.close(null)


def _require_metrics(settings: Serving) -> None:
    try:
        from null521.serve import metrics  # noqa: F401
    except ImportError:
        settings.faults.append(METRICS)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's, which takes less CPU, where that is installed."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def _raise_limit(settings: Serving) -> None:
    """Let there be as many descriptors as may be, and no more connections than these allow."""
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


def _notifier(settings: Serving, environ: Mapping[str, str]) -> Callable[[str], None]:
    """What tells systemd how things are, if it has asked to be told: sd_notify(3)."""
    if environ.get("NOTIFY_SOCKET"):
        try:
            from systemd import daemon
        except ImportError:
            settings.warnings.append("systemd-python, which Type=notify needs, is not installed")
        else:

            def notify(state: str) -> None:
                with contextlib.suppress(OSError):
                    daemon.notify(state)

            return notify
    return lambda state: None


async def _serve(
    settings: Serving,
    listeners: list[socket],
    scraped: list[socket],
    notify: Callable[[str], None],
    environ: Mapping[str, str],
) -> None:
    loop = asyncio.get_running_loop()
    outbox = Outbox(settings.log, loop)
    loop.set_exception_handler(lambda loop, context: outbox.put(notices.of_bug(context)))
    server = Server(settings, outbox, loop)
    stopping, at_once = asyncio.Event(), asyncio.Event()

    def stop() -> None:
        (at_once if stopping.is_set() else stopping).set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    server.listen(listeners)
    for listener in scraped:
        from null521.serve import metrics

        metrics.serve(server, listener, lambda: not stopping.is_set())
    for warning in settings.warnings:
        outbox.put(record.of_fault(warning, record.WARNING))
    places = ", ".join(map(listening.name, listeners))
    outbox.put(notices.of_start(f"Answering on {places}"))
    notify("READY=1")
    await _until_told(server, settings, stopping, notify, environ)

    stopping.set()
    notify("STOPPING=1")
    server.stop()
    listening.clear(listeners, settings.listen)
    await _until(lambda: not server.open, settings.grace, at_once)
    server.end()
    await _until(lambda: not server.leaving, LINGER_SECONDS, at_once)
    await _until(outbox.is_empty, FLUSH_SECONDS, at_once)


async def _until_told(
    server: Server,
    settings: Serving,
    stopping: asyncio.Event,
    notify: Callable[[str], None],
    environ: Mapping[str, str],
) -> None:
    """Wait for a signal, or until there was no connection for so long; meanwhile, tell systemd."""
    # Twice in the time in which it wants to hear of us: sd_watchdog_enabled(3).
    usec = environ.get("WATCHDOG_USEC", "")
    watchdog = int(usec) / 2e6 if usec.isdecimal() else 0.0
    every = min(STATUS_SECONDS, watchdog or STATUS_SECONDS)
    while not stopping.is_set():
        waits = [every] if environ.get("NOTIFY_SOCKET") else []
        if settings.exit_idle:
            idle = 0.0 if server.open else time.monotonic() - server.idle_since
            if idle >= settings.exit_idle:
                return
            waits.append(settings.exit_idle - idle)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), min(waits, default=None))
        over = server.counts.endings.total()
        notify(f"WATCHDOG=1\nSTATUS={len(server.open)} open, {over} over; {_troubles(server)}")


def _troubles(server: Server) -> str:
    turned_away = server.counts.limits.total()
    return f"{turned_away} turned away, {server.outbox.lost} records lost"


async def _until(done: Callable[[], bool], seconds: float, at_once: asyncio.Event) -> None:
    end = time.monotonic() + seconds
    while not done() and not at_once.is_set() and time.monotonic() < end:
        await asyncio.sleep(POLL_SECONDS)


def help() -> str:
    """What --help prints."""
    from null521.console import usage

    return HELP + usage.settings_table(serving.read([], {})) + HELP_TAIL


HELP = """\
usage: null521 serve [--SETTING=VALUE ...]

Answer connections as a host that accepts no mail does: 521 to everything, as in RFC 7504.
They come from the sockets that systemd (Accept=no), podman or inetd (wait) hands over, or
else from those of --listen.
"""

HELP_TAIL = """

SIGTERM stops it when all sessions have ended, or after the grace time; a second one, at once.
Exit status: 0; 78 if a setting or what was handed over is invalid; 71 if it cannot listen."""
