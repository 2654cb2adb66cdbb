"""Timestamps as people write them, in the syntax of journalctl --since.

It knows the timestamps of systemd.time(7), and nothing else. It does not call systemd's own parser,
because JSON lines can be read on hosts without systemd.
"""

import re
import time
from datetime import datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
DAYS = {"yesterday": -1, "today": 0, "tomorrow": 1}

SPAN = re.compile(r"\s*(?>([0-9]+(?:\.[0-9]+)?|\.[0-9]+))(?!\.)\s*([a-zA-Zµμ]*)")
UNITS = {
    name: seconds
    for names, seconds in {
        "usec us µs μs": 1e-6,
        "msec ms": 1e-3,
        "seconds second sec s": 1.0,
        "minutes minute min m": 60.0,
        "hours hour hr h": 3600.0,
        "days day d": 86400.0,
        "weeks week w": 7 * 86400.0,
        "months month M": 30.4375 * 86400,
        "years year y": 365.25 * 86400,
    }.items()
    for name in names.split()
} | {"": 1.0}


def seconds_at(text: str, now: float) -> float:
    """Seconds since the epoch of "yesterday", "2 hours ago", "2026-01-31 12:00" and the like.

    now: the present, likewise. A timestamp without a time zone is local. ValueError if it is not a
    timestamp.
    """
    if text == "now":
        return now
    if text.startswith("@"):
        return _span(text[1:])
    if text.startswith("+"):
        return now + _span(text[1:])
    if text.startswith("-"):
        return now - _span(text[1:])
    if text.endswith(" left"):
        return now + _span(text.removesuffix(" left"))
    if text.endswith(" ago"):
        return now - _span(text.removesuffix(" ago"))
    words = text.split(" ")
    zone = _zone(words[-1])
    if zone and words[1:]:
        words.pop()
    weekdays = [day for day in WEEKDAYS if words[0].lower() in (day, day[:3])]
    if weekdays and words[1:]:
        words.pop(0)
    try:
        moment = _moment(" ".join(words), datetime.fromtimestamp(now, zone))
        if weekdays and weekdays[0] != WEEKDAYS[moment.weekday()]:
            raise ValueError("that date is another day of the week")
        return moment.timestamp()
    except (OverflowError, OSError):
        raise ValueError("out of range") from None


def _span(text: str) -> float:
    """Seconds of "1h 30min" and the like."""
    seconds, end = 0.0, 0
    while match := SPAN.match(text, end):
        number, unit = match.groups()
        if unit not in UNITS:
            break
        seconds += float(number) * UNITS[unit]
        end = match.end()
    if end == 0 or text[end:].strip() or seconds > 1e11:
        raise ValueError("not a time span")
    return seconds


def _zone(word: str) -> tzinfo | None:
    """The time zone of that name, or of that local abbreviation (tzset(3)); None if none has it."""
    if word in time.tzname:
        offset = -time.altzone if word != time.tzname[0] else -time.timezone
        return timezone(timedelta(seconds=offset))
    try:
        return ZoneInfo(word) if word[:1].isupper() else None
    except (KeyError, OSError, ValueError):  # no such zone; a directory; not a name
        return None


def _moment(text: str, now: datetime) -> datetime:
    """The date and time that the text names, in the time zone of now."""
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    if text in DAYS:
        # Calculated with dates, because a day on which the clocks change is not 24 hours long.
        return midnight + timedelta(days=DAYS[text])
    for date in ("%Y-%m-%d", "%y-%m-%d", ""):
        for clock in ("%H:%M:%S.%f", "%H:%M:%S", "%H:%M", ""):
            layout = f"{date} {clock}".strip()
            if layout:
                try:
                    found = datetime.strptime(text, layout)
                except ValueError:
                    continue
                if not date:
                    found = datetime.combine(midnight, found.time())
                return found.replace(tzinfo=now.tzinfo)
    raise ValueError("not a date or time")
