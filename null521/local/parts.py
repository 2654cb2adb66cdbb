"""What was found about one part of the host: facts, faults, and what could not be seen.

It knows how the three make up a state, and what text from elsewhere may be shown. It must not know
what the parts are.
"""

from dataclasses import dataclass, field
from typing import Any

from null521 import record

OK, FAULT, UNKNOWN, UNTESTED = "ok", "fault", "unknown", "not tested"
MAX_TEXT = 300  # characters of anything that another program says


@dataclass
class Part:
    """One part of the host.

    found: a line for each fact. faults: a line for each thing that is wrong, with what to do.
    unknown: a line for each thing that could not be seen, with what it needs. data: for JSON.
    is_tested: whether what the part is for was seen to work or not.
    """

    name: str
    found: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=dict)
    is_tested: bool = True

    @property
    def state(self) -> str:
        """The worst of what was found."""
        if self.faults or self.unknown:
            return FAULT if self.faults else UNKNOWN
        return OK if self.is_tested else UNTESTED


def shown(text: str) -> str:
    """Text from elsewhere, on one line, with everything escaped that a terminal would obey."""
    return record.clean(text.encode("utf-8", "surrogateescape"), MAX_TEXT)
