"""The names of remarks, on which scripts rely."""

import re
from pathlib import Path

from null521.check import remarks
from null521.check.remarks import ADVICE, FAULT, LEVELS, NOTE, UNKNOWN, Remark

TREE = Path(__file__).parents[3]
SECTIONS = {"Faults": FAULT, "Advice": ADVICE, "Unknown": UNKNOWN, "Notes": NOTE}


def test_the_manual_has_each_name_with_its_level() -> None:
    page = (TREE / "docs" / "man" / "null521-check.1").read_text()
    _, _, section = page.partition("\n.Sh REMARKS\n")
    section, _, _ = section.partition("\n.Sh ")
    listed = {}
    for part in section.split("\n.Ss ")[1:]:
        title = part.splitlines()[0]
        names = re.findall(r"^\.It Sy (.*)$", part, re.MULTILINE)
        listed.update(dict.fromkeys(names, SECTIONS[title]))
    assert listed == LEVELS


def test_each_name_is_used() -> None:
    folder = Path(remarks.__file__).parent
    sources = "".join(path.read_text() for path in folder.glob("*.py") if path.stem != "remarks")
    assert [name for name in LEVELS if f'"{name}"' not in sources] == []


def test_the_level_and_the_line() -> None:
    assert Remark("spf", "DNS", "text") == ("spf", "DNS", "text", ())
    assert Remark("spf", "DNS", "text").level == NOTE == "note"
    assert Remark("mx-here", "", "text").level == FAULT == "fault"
    assert (ADVICE, UNKNOWN) == ("advice", "unknown")
    assert Remark("spf", "DNS", "text").line == "DNS: text"
    assert Remark("spf", "", "text").line == "text"
