"""The page, its JSON, and the status."""

import json

import pytest

from null521.check.verdict import DOES_NOT, REFUSES, UNDETERMINED
from null521.local import cli, output
from null521.local.parts import Part, shown

WELL = Part("units", ["x.socket: enabled"])
BAD = Part("port", ["[::]:25: exim4 (9)"], ["it is taken"])
HIDDEN = Part("journal", unknown=["journal: only root"])


@pytest.mark.parametrize(
    ("parts", "status"),
    [
        ([WELL], REFUSES),
        ([WELL, Part("answers", is_tested=False)], REFUSES),
        ([WELL, HIDDEN], UNDETERMINED),
        ([HIDDEN, BAD, WELL], DOES_NOT),
    ],
)
def test_the_worst_part_decides(parts: list[Part], status: int) -> None:
    assert cli.status_of(parts) == status


def test_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    output.show(1, "1 fault", [WELL, BAD, HIDDEN], {"kernel": "Linux", "openssl": ""}, False)
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["1", "fault"],
        [],
        ["PART", "STATE", "FOUND"],
        ["units", "ok", "x.socket:", "enabled"],
        ["port", "fault", "[::]:25:", "exim4", "(9)"],
        ["journal", "unknown", "journal:", "only", "root"],
        ["versions", "kernel", "Linux"],
        ["openssl", "none"],
        [],
        ["fault:", "it", "is", "taken"],
        [],
        ["unknown:", "journal:", "only", "root"],
    ]


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    output.show(1, "1 fault", [WELL, BAD], {"kernel": "Linux"}, True)
    found = json.loads(capsys.readouterr().out)
    assert list(found) == ["status", "answer", "faults", "unknown", "parts", "versions"]
    assert found["parts"]["port"] == {"state": "fault", "found": ["[::]:25: exim4 (9)"]}
    assert found["faults"] == ["it is taken"]


def test_text_from_elsewhere_is_one_harmless_line() -> None:
    assert shown("a\n\x1b[2Jb\udcff") == r"a\x0a\x1b[2Jb\xff".replace("\\x0a", "\\n")
    assert len(shown("x" * 9999)) == 300


def test_a_fault_of_our_own_costs_one_part() -> None:
    def judge(number: int) -> Part:
        return Part("x", [str(1 // number)])

    assert cli._guarded("x", judge, 1).found == ["1"]
    part = cli._guarded("x", judge, 0)
    assert (part.name, part.state) == ("x", "fault")
    assert part.faults[0].startswith("a fault of null521's own: ZeroDivisionError")
