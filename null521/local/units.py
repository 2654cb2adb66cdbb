"""Which of null521's units are installed, enabled and active, and what they set.

It knows systemctl, and the pairs of units that we ship. It must not know what listens on a port.
"""

import os
import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass, field

from null521 import settings
from null521.local import programs
from null521.local.parts import Part, shown
from null521.serve import settings as serve_settings

BOOTED = "/run/systemd/system"  # sd_booted(3)
# Socket and service of each way to run null521. The instance stands for all of its template.
PAIRS = (
    ("null521-serve.socket", "null521-serve.service"),
    ("null521.socket", "null521@check.service"),
    ("null521-container.socket", "null521.service"),
)
TEMPLATE = {"null521@check.service": "null521@.service"}
PROPERTIES = (
    "Id", "LoadState", "UnitFileState", "ActiveState", "SubState", "Result", "Listen",
    "FragmentPath", "DropInPaths", "NeedDaemonReload", "Environment", "EnvironmentFiles",
    "UnsetEnvironment",
    "ExecStart", "ExecMainStatus", "RootDirectory", "NRestarts",
)  # fmt: skip
ENABLED = ("enabled", "enabled-runtime", "generated", "linked", "linked-runtime")
CREDENTIALS = "/run/credentials/"
MAX_BEFORE = 4  # words of a command, of which null521 is one: an interpreter, and its options
START = "sudo systemctl enable --now null521-serve.socket"

Properties = dict[str, list[str]]


@dataclass
class Unit:
    """A unit as systemctl shows it; its properties are lists, because some repeat."""

    name: str
    properties: Properties = field(default_factory=dict)

    def get(self, name: str) -> str:
        """The property, on one line; "" if it has no value."""
        return " ".join(self.properties.get(name, []))

    @property
    def is_installed(self) -> bool:
        """Whether systemd has found it."""
        return self.get("LoadState") not in ("", "not-found")

    @property
    def is_enabled(self) -> bool:
        """Whether it starts at boot."""
        return self.get("UnitFileState") in ENABLED

    @property
    def is_active(self) -> bool:
        """Whether it is up; a socket is, while it listens."""
        return self.get("ActiveState") == "active"


@dataclass
class Pair:
    """A socket and its service. `unit` is the one that an administrator enables."""

    socket: Unit
    service: Unit

    @property
    def unit(self) -> Unit:
        """The socket, or the service alone of a container."""
        return self.socket if self.socket.is_installed else self.service

    @property
    def is_installed(self) -> bool:
        """Whether there is any of the two."""
        return self.unit.is_installed

    @property
    def installed(self) -> list[Unit]:
        """Those of the two that are there."""
        return [unit for unit in (self.socket, self.service) if unit.is_installed]

    def places(self) -> list[tuple[str, int]]:
        """The addresses and ports on which its socket listens, by the unit."""
        return parse_listen(self.socket.properties.get("Listen", []))


@dataclass
class Units:
    """All pairs that are installed. trouble: why nothing is known, or "". booted: see BOOTED."""

    pairs: list[Pair] = field(default_factory=list)
    trouble: str = ""
    booted: bool = True

    @property
    def enabled(self) -> list[Pair]:
        """The pairs that start at boot."""
        return [pair for pair in self.pairs if pair.unit.is_enabled]

    @property
    def active(self) -> list[Pair]:
        """The pairs that are up."""
        return [pair for pair in self.pairs if pair.unit.is_active]

    @property
    def chosen(self) -> Pair | None:
        """The pair that counts: what is up, or else what should be."""
        return next(iter([*self.active, *self.enabled]), None)


def look() -> Units:
    """Ask systemctl, if systemd runs this host."""
    if not os.path.isdir(BOOTED):
        return Units(booted=False)
    names = [name for pair in PAIRS for name in pair]
    options = [f"--property={','.join(PROPERTIES)}", "--no-pager"]
    text, trouble = programs.output("systemctl", "show", *options, *names)
    if trouble:
        return Units(trouble=trouble)
    found = parse_show(text)
    pairs = [Pair(*(Unit(TEMPLATE.get(name, name), found.get(name, {})) for name in pair))
             for pair in PAIRS]  # fmt: skip
    return Units([pair for pair in pairs if pair.is_installed])


def parse_show(text: str) -> dict[str, Properties]:
    """The properties of each unit, by its Id, from `systemctl show`."""
    found: dict[str, Properties] = {}
    for block in text.split("\n\n"):
        properties: Properties = {}
        for line in block.splitlines():
            name, equals, value = line.partition("=")
            if equals and name in PROPERTIES:
                properties.setdefault(name, []).append(value)
        if "Id" in properties:
            found[properties["Id"][0]] = properties
    return found


def parse_listen(lines: Iterable[str]) -> list[tuple[str, int]]:
    """Address and port of each "[::]:25 (Stream)"; others, such as paths, are left out."""
    places = []
    for line in lines:
        if found := re.fullmatch(r"(\S+) \(Stream\)", line):
            place = serve_settings.address_of(found[1])
            if place:
                places.append(place)
    return places


def judge(units: Units, answered: bool) -> Part:
    """answered: whether something listens on a port where null521 should."""
    part = Part("units")
    if not units.booted:
        part.found.append("systemd does not run here")
        return part
    if units.trouble:
        part.unknown.append(f"units: {units.trouble}")
        return part
    part.data["units"] = [_data(unit) for pair in units.pairs for unit in pair.installed]
    for pair in units.pairs:
        if pair in units.enabled or pair in units.active or _has_failed(pair.unit):
            part.found += [_described(one) for one in pair.installed if "@" not in one.name]
            _judge_pair(part, pair, units)
    if not units.pairs:
        part.found.append("no unit of null521 is installed")
        if not answered:
            part.faults.append("no unit of null521 is installed: install the package, or run "
                               "`sudo make install`; then " + START)  # fmt: skip
    elif not (units.enabled or units.active):
        part.found.append("installed, but no socket is enabled")
        if not answered:
            name = units.pairs[0].unit.name
            part.faults.append(f"no unit is enabled: sudo systemctl enable --now {name}")
    if len(units.enabled) > 1:
        keep = units.chosen or units.enabled[0]
        others = [pair.unit.name for pair in units.enabled if pair is not keep]
        part.faults.append(
            f"{' and '.join(pair.unit.name for pair in units.enabled)} are enabled, but use the "
            f"same port; to keep {keep.unit.name}: sudo systemctl disable --now {' '.join(others)}"
        )
    return part


def _judge_pair(part: Part, pair: Pair, units: Units) -> None:
    unit, service = pair.unit, pair.service
    for one in (pair.socket, service):
        if one.get("LoadState") not in ("loaded", "not-found", "", "masked"):
            part.faults.append(f"{one.name} cannot be loaded ({shown(one.get('LoadState'))}): "
                               f"see systemctl status {one.name}")  # fmt: skip
        if one.get("NeedDaemonReload") == "yes":
            part.faults.append(f"{one.name} has changed on disk: sudo systemctl daemon-reload")
    if unit.is_enabled and not unit.is_active and not units.active:
        part.faults.append(
            f"{unit.name} is enabled, but {_state(unit)}: journalctl -u {unit.name} says why; "
            f"then sudo systemctl restart {unit.name}"
        )
    elif _has_failed(unit):
        part.faults.append(f"{unit.name} has failed ({shown(unit.get('Result'))})")
    if unit.is_active and not unit.is_enabled:
        part.faults.append(f"{unit.name} is active, but not enabled, so it is off after the next "
                           f"boot: sudo systemctl enable {unit.name}")  # fmt: skip
    restarts = service.get("NRestarts")
    if _has_failed(service) or service.get("SubState") == "auto-restart":
        result, status = service.get("Result"), service.get("ExecMainStatus")
        part.faults.append(
            f"{service.name} fails ({shown(result)}, exit status {shown(status)}): "
            f"journalctl -u {service.name} says why"
        )
    elif service.get("ActiveState") == "activating" and restarts not in ("", "0"):
        part.faults.append(
            f"{service.name} does not start, and was restarted {shown(restarts)} times: "
            f"journalctl -u {service.name} says why"
        )


def _has_failed(unit: Unit) -> bool:
    return unit.get("ActiveState") == "failed"


def _state(unit: Unit) -> str:
    state, result = unit.get("ActiveState"), unit.get("Result")
    return shown(state if result in ("", "success") else f"{state} ({result})")


def _described(unit: Unit) -> str:
    words = [_state(unit)]
    if unit.get("UnitFileState") and (unit.is_enabled or unit.name.endswith(".socket")):
        words.insert(0, shown(unit.get("UnitFileState")))
    restarts = unit.get("NRestarts")
    if restarts not in ("", "0"):
        words.append(f"restarted {shown(restarts)} times")
    if folder := os.path.dirname(unit.get("FragmentPath")):
        words.append(f"in {shown(folder)}")
    if drop_ins := unit.get("DropInPaths").split():
        words.append("with " + shown(", ".join(drop_ins)))
    return f"{unit.name}: {', '.join(words)}"


def _data(unit: Unit) -> dict[str, object]:
    return {
        "name": unit.name,
        "file": shown(unit.get("FragmentPath")),
        "drop_ins": [shown(path) for path in unit.get("DropInPaths").split()],
        "enabled": shown(unit.get("UnitFileState")),
        "active": shown(unit.get("ActiveState")),
        "sub": shown(unit.get("SubState")),
        "result": shown(unit.get("Result")),
    }


# What a service sets.


def settings_of(pair: Pair) -> settings.Settings | None:
    """The settings of null521 when the service starts it, with faults and warnings.

    None if it starts something else, such as podman, which gives null521 settings of its own.
    """
    environ = parse_environment(pair.service.get("Environment"))
    for word in _words(pair.service.get("UnsetEnvironment")):
        name, equals, value = word.partition("=")
        if not equals or environ.get(name) == value:
            environ.pop(name, None)
    words = parse_command(pair.service.get("ExecStart"))
    names = [os.path.basename(word) for word in words[:MAX_BEFORE]]
    if words and ("podman" in names[:1] or "null521" not in names):
        return None
    words = words[names.index("null521") :] if words else []
    if "serve" in words[1:2]:
        return serve_settings.read(flags(words[2:], serve_settings.ServeSettings.table), environ)
    return settings.read(flags(words[1:], settings.TABLE), environ)


def parse_environment(value: str) -> dict[str, str]:
    """The variables that systemctl shows on one line."""
    return {name: value for name, _, value in (word.partition("=") for word in _words(value))}


def _words(value: str) -> list[str]:
    """What systemctl shows on one line, quoted as for a shell."""
    try:
        words = shlex.split(value)
    except ValueError:  # cut, or quoted in a way that we do not know
        words = value.split()
    # What shlex leaves escaped in double quotes.
    return [re.sub(r"\\([$`])", r"\1", word) for word in words]


def parse_command(value: str) -> list[str]:
    """The words of ExecStart=, as far as blanks separate them: systemctl does not quote."""
    found = re.search(r"argv\[\]=(.*?) ; ignore_errors=", value)
    return found[1].split() if found else []


def flags(words: list[str], known: Iterable[str]) -> list[str]:
    """Of a command's words, the flags that are settings, each with its value in the same word.

    Not the text of --text, of which there is no telling where it ends.
    """
    found = []
    for word, after in zip(words, [*words[1:], ""], strict=False):
        flag, equals, _ = word.partition("=")
        if flag.startswith("--") and flag[2:] in known and flag != "--text":
            found.append(word if equals else f"{flag}={after}")
    return found


def credential(unit: Unit, path: str) -> str:
    """The file on disk behind the path that the service is given; "" if that is not to be found.

    A credential is a copy that systemd makes when the service starts: systemd.exec(5).
    """
    if not path.startswith(CREDENTIALS):
        return path
    text, trouble = programs.output("systemctl", "cat", "--no-pager", unit.name)
    file = "" if trouble else parse_credentials(text).get(os.path.basename(path), "")
    is_special = os.path.exists(file) and not os.path.isfile(file)  # a socket hands it out
    return "" if is_special else file


def parse_credentials(text: str) -> dict[str, str]:
    """The files of LoadCredential=, by name, from `systemctl cat`: the last drop-in wins."""
    found: dict[str, str] = {}
    for value in re.findall(r"(?m)^LoadCredential=[ \t]*(.*?)[ \t]*$", text):
        name, _, path = value.partition(":")
        if not value:
            found.clear()
        else:
            # Only systemd itself knows what a specifier such as %H stands for.
            found[name] = path if path.startswith("/") and "%" not in path else ""
    return found
