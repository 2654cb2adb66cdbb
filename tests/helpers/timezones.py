"""The local time zone of the tests' own process: tzset(3)."""

import contextlib
import os
import time
from collections.abc import Iterator


@contextlib.contextmanager
def in_zone(name: str) -> Iterator[None]:
    """Local time is that of the zone, as in "Europe/Berlin"."""
    before = os.environ.get("TZ")
    os.environ["TZ"] = name
    time.tzset()
    try:
        yield
    finally:
        del os.environ["TZ"]
        if before is not None:
            os.environ["TZ"] = before
        time.tzset()
