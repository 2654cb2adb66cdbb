"""Which of the senders that `null521 check` names a version belongs to."""

import re
from collections.abc import Mapping
from typing import TypeVar

Value = TypeVar("Value")


def covering(sender: str, named: Mapping[str, Value]) -> list[Value]:
    """The values of all names that cover a sender, such as "Exim 4.96-15+deb12u10".

    A name is "Exim 4.96 to 4.98", "OpenSMTPD before 7.5" or "OpenSMTPD 7.5 or later".
    """
    program, version = _parse(sender)
    found = []
    for name, value in named.items():
        wanted, bound = _parse(name.replace(" before", ""))
        if wanted != program:
            continue
        if " before " in name:
            covers = version < bound
        elif name.endswith(" or later"):
            covers = version >= bound
        else:
            _, last = _parse(f"{wanted} {name.rpartition(' to ')[2]}")
            covers = bound <= version <= last
        if covers:
            found.append(value)
    return found


def _parse(text: str) -> tuple[str, tuple[int, int]]:
    """The name, and the first two numbers of the version."""
    found = re.match(r"(\w+) (\d+)\.(\d+)", text)
    assert found, text
    return found[1], (int(found[2]), int(found[3]))
