"""`null521 check --local`: is null521 well on this host?

It looks at each part of the host in turn, and hands on what the next one needs to know. It must not
know how any of them is looked at. It works for any user, without systemd, and with Python alone;
what it cannot see, it says.
"""

import contextlib
import ipaddress
import signal
import time
from collections.abc import Callable
from typing import ParamSpec

from null521 import fault, log
from null521.check.advice import EARLY
from null521.check.verdict import DOES_NOT, REFUSES, UNDETERMINED
from null521.console import command
from null521.local import answers, credentials, journal, output, ports, units, versions
from null521.local.parts import FAULT, UNKNOWN, Part, shown
from null521.local.units import Pair, Units
from null521.serve.settings import ServeSettings
from null521.settings import Settings

P = ParamSpec("P")


def run(timeout: float, as_json: bool) -> int:
    """Look, print what was found; return the exit status, which is one of `null521 check`'s.

    timeout: seconds for each connection.
    """
    try:
        parts, booted = look(timeout)
        found = versions.look(booted)
    except KeyboardInterrupt:  # on a terminal
        return 128 + signal.SIGINT
    status = status_of(parts)
    with contextlib.suppress(OSError), command.flushed_stdout():
        output.show(status, summary(parts, status), parts, found, as_json)
    return status


def look(timeout: float) -> tuple[list[Part], bool]:
    """All parts, in the order in which they are shown, and whether systemd runs here."""
    found = units.look()
    settings = _settings(found)
    listeners = _listeners(found)
    since = time.time()
    needs_header = settings is not None and _needs_header(settings)
    asked = answers.Answers()
    if not needs_header:
        asked = answers.ask(_ours(found, listeners), min(_ports(found)), timeout)
        # The first client starts the resident service, or shows that it cannot start.
        found, listeners = units.look(), _listeners(found)
    pair = found.chosen
    active = pair is not None and pair.unit.is_active
    wanted = pair.places() if pair and not active else []
    starts = f"sudo systemctl start {pair.unit.name}" if pair else ""
    parts = [
        _guarded("units", units.judge, found, bool(listeners or asked.refusing)),
        _guarded("port", ports.judge, listeners, wanted, starts, bool(asked.refusing)),
        _guarded("answers", answers.judge, asked, bool(listeners), needs_header),
    ]
    # What another program answers says nothing about the unit.
    of_unit = asked if active else answers.Answers()
    if pair and settings:
        parts.append(_guarded("settings", _judge_settings, pair, settings, of_unit))
        parts.append(_guarded("certificate", _judge_files, pair, settings, of_unit))
    elif asked.not_after:
        parts.append(_guarded("certificate", credentials.judge_served, asked.not_after))
    place = settings.log if settings else journal.NOT_KNOWN if pair else ""
    addresses = answers.sources(asked.refusing)
    parts.append(_guarded("journal", journal.judge, found.booted, place, addresses, since))
    return parts, found.booted


def _guarded(name: str, judge: Callable[P, Part], *given: P.args, **more: P.kwargs) -> Part:
    """What it returns. An exception that nobody has expected must not cost the rest of the page."""
    try:
        return judge(*given, **more)
    except Exception as error:
        return Part(name, faults=[fault.line(error)])


def _settings(found: Units) -> Settings | None:
    pair = found.chosen
    return units.settings_of(pair) if pair and pair.service.is_installed else None


def _ports(found: Units) -> set[int]:
    """Where null521 should listen: on the port of SMTP, unless a unit says otherwise."""
    pair = found.chosen
    return {port for _, port in pair.places()} if pair and pair.places() else {ports.PORT}


def _ours(found: Units, listeners: list[ports.Listener]) -> list[ports.Listener]:
    """Those that are where an active unit listens, or all if none is."""
    pair = found.chosen
    places = pair.places() if pair and pair.unit.is_active else []
    return [one for one in listeners if one.is_at(places)] or listeners


def _listeners(found: Units) -> list[ports.Listener]:
    return ports.look(_ports(found))


def _needs_header(settings: Settings) -> bool:
    """Whether a connection from here counts as one of a balancer."""
    here = ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("::1")
    return isinstance(settings, ServeSettings) and any(
        address in network for network in settings.proxy_protocol for address in here
    )


def _judge_settings(pair: Pair, settings: Settings, asked: answers.Answers) -> Part:
    """What the unit sets, whether it is valid, and whether it is in effect."""
    part = Part("settings")
    unit = pair.service
    part.data |= {"refuse_at": settings.refuse_at, "log": settings.log}
    part.found.append(f"refuse-at={settings.refuse_at}, log={settings.log}, by {unit.name}")
    files = unit.get("EnvironmentFiles")
    if files:
        part.found.append(f"and by {shown(files)}, which is not read here")
    part.faults += [shown(line) for line in [*settings.faults, *settings.warnings]]
    if not files and asked.stages and asked.stages != [settings.refuse_at]:
        part.faults.append(
            f"the unit sets refuse-at={settings.refuse_at}, but mail is refused at "
            f"{', '.join(asked.stages)}: {_restart(pair)}"
        )
    return part


def _judge_files(pair: Pair, settings: Settings, asked: answers.Answers) -> Part:
    unit = pair.service
    given = settings.tls_cert, settings.tls_key
    files = units.credential(unit, given[0]), units.credential(unit, given[1])
    # Nobody gets so far as STARTTLS where the refusal comes before.
    late = asked.refusing and not set(asked.stages) & set(EARLY)
    offered = asked.offers_starttls if late else None
    rooted = bool(unit.get("RootDirectory"))
    return credentials.judge(given, files, rooted, asked.not_after, offered, _restart(pair))


def _restart(pair: Pair) -> str:
    """What makes the service read its settings and files again."""
    if "@" in pair.service.name:  # each connection does
        return f"journalctl -t {log.IDENTIFIER} -p warning may say why"
    return f"sudo systemctl restart {pair.service.name}"


def status_of(parts: list[Part]) -> int:
    """REFUSES if all is well, DOES_NOT if there is a fault, otherwise UNDETERMINED."""
    states = [part.state for part in parts]
    return DOES_NOT if FAULT in states else UNDETERMINED if UNKNOWN in states else REFUSES


def summary(parts: list[Part], status: int) -> str:
    """All in one line."""
    if status == REFUSES:
        return "this host refuses mail as it should; no fault was found"
    if status == UNDETERMINED:
        return "no fault was found, but not everything could be seen"
    count = sum(len(part.faults) for part in parts)
    return f"{count} fault{'s' * (count != 1)} found on this host"
