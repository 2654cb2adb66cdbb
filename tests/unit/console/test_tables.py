"""Tables as text and as rich draws them."""

import pytest

from null521.console import tables
from null521.console.tables import Bar, Cell, Moment, Span, Table


@pytest.fixture(autouse=True)
def _in_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setenv("TZ", "UTC0")
    time.tzset()


@pytest.fixture(autouse=True)
def _narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        (None, "-"),
        ((), "-"),
        ("", "<>"),
        (("a", "b"), "a or b"),
        (("a",), "a"),
        (Bar(0.5), "#" * 15),
        (Bar(0), ""),
        (Moment(86400 + 3661), "1970-01-02 01:01:01"),
        (Span(90), "1min 30s"),
        (True, "yes"),
        (False, "no"),
        (7, "7"),
        ("text", "text"),
    ],
)
def test_text(cell: Cell, expected: str) -> None:
    assert tables.text(cell) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "0s"),
        (0.4, "0s"),
        (59.6, "1min"),
        (60, "1min"),
        (61, "1min 1s"),
        (3600, "1h"),
        (3661, "1h 1min"),
        (3601, "1h 1s"),
        (86400, "1d"),
        (90061, "1d 1h"),
        (8640000, "100d"),
    ],
)
def test_span(seconds: float, expected: str) -> None:
    assert tables.span(seconds) == expected


def test_heading() -> None:
    assert tables.heading("first_seen_at") == "FIRST SEEN AT"


def test_numbers_and_spans_are_aligned_to_the_right() -> None:
    right = [tables.numeric(cell) for cell in (1, Span(1))]
    left = [tables.numeric(cell) for cell in (True, Moment(1), Bar(1), "1", None, ("1",))]
    assert right == [True] * 2
    assert left == [False] * 6


ROWS: list[tuple[Cell, ...]] = [("192.0.2.1", 7, Span(90), None), ("h", 1000, Span(1), "x")]
TABLE = Table("name", "A title", "Nothing.", ("client", "records", "every", "at_most"), ROWS)
UNTITLED = TABLE._replace(title="", rows=ROWS[:1])
EMPTY = TABLE._replace(title="Another title", rows=[])

PLAIN = """\
one
two

A title

CLIENT     RECORDS     EVERY  AT MOST
192.0.2.1        7  1min 30s  -
h             1000        1s  x

Another title

Nothing.

CLIENT     RECORDS     EVERY  AT MOST
192.0.2.1        7  1min 30s  -

a note

b note
"""


def test_plain(capsys: pytest.CaptureFixture[str]) -> None:
    tables.plain("one\ntwo", [TABLE, EMPTY, UNTITLED], ["a note", "b note"])
    assert capsys.readouterr().out == PLAIN


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    said = capsys.readouterr().out
    return [line.strip() for line in said.splitlines() if line.strip(" ─-")]


def test_rich(capsys: pytest.CaptureFixture[str]) -> None:
    tables.rich("one\ntwo", [TABLE, EMPTY, UNTITLED], ["a note", "b note"])
    found = lines(capsys)
    assert [line.split("  ")[0] for line in found] == [
        *("one", "two", "A title", "CLIENT", "192.0.2.1", "h"),
        *("Another title: Nothing.", "CLIENT", "192.0.2.1", "a note", "b note"),
    ]
    header, first, second = found[3:6]
    assert header.split() == ["CLIENT", "RECORDS", "EVERY", "AT", "MOST"]
    assert first.split() == ["192.0.2.1", "7", "1min", "30s", "-"]
    # Numbers are aligned to the right: "7" below the last figure of "1000".
    assert first.index(" 7 ") + 1 == second.index("1000") + 3


def test_a_table_that_is_too_wide_is_stacked(capsys: pytest.CaptureFixture[str]) -> None:
    """Three columns below one another, if there are more than three."""
    wide: list[tuple[Cell, ...]] = [("x" * 20, "y" * 20, "z" * 20, 7)]
    tables.rich("", [TABLE._replace(rows=wide)], [])
    words = [line.split() for line in lines(capsys)]
    assert words == [
        *(["A", "title"], ["CLIENT"], ["RECORDS"], ["EVERY", "AT", "MOST"]),
        *(["x" * 20, "7"], ["y" * 20], ["z" * 20]),
    ]
    three = Table("name", "", "", ("a", "b", "c"), [("x" * 30, "y" * 30, "z" * 30)])
    tables.rich("", [three], [])
    assert lines(capsys)[0].split() == ["A", "B", "C"]


@pytest.mark.parametrize(
    ("stacked", "width", "height"),
    [
        (2, 200, 1),
        (2, 66, 2),
        (2, 53, 2),
        (2, 52, 4),
        (3, 40, 3),
        (3, 39, 4),
        (4, 30, 4),
        (5, 30, 5),
    ],
)
def test_more_columns_are_stacked_where_the_terminal_is_narrower(
    stacked: int,
    width: int,
    height: int,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As many as the table says, or half of them if only that leaves all words whole."""
    monkeypatch.setenv("COLUMNS", str(width))
    row: list[Cell] = [letter * 10 for letter in "ABCDEFG"]
    rows: list[tuple[Cell, ...]] = [(*row, "some words 10")]
    tables.rich("", [Table("name", "", "", tuple("abcdefgh"), rows, stacked)], [])
    said = [line.split() for line in lines(capsys)]
    headings = [words for words in said if words[0] in list("ABCDEFGH")]
    assert len(headings) == height
    if height > 1:
        assert [words[0] for words in headings] == list("ABCDEFGH")[:height]
        assert sorted(word for words in said for word in words if word in row) == row


def test_a_last_cell_without_a_word() -> None:
    row: tuple[Cell, ...] = (*["x" * 30] * 6, " ")
    tables.rich("", [Table("name", "", "", tuple("abcdefg"), [row], 3)], [])


def test_nothing_is_cut_off(capsys: pytest.CaptureFixture[str]) -> None:
    """A word that is too long for the terminal is continued on the next line."""
    tables.rich("", [Table("name", "", "", ("a",), [("x" * 100,)])], [])
    assert "".join(lines(capsys)[1:]) == "x" * 100


def test_bars(capsys: pytest.CaptureFixture[str]) -> None:
    bars = Table("name", "", "", ("n", "bar"), [(1, Bar(1)), (2, Bar(0.5))])
    tables.plain("", [bars], [])
    assert capsys.readouterr().out.splitlines()[-2:] == ["1  " + "#" * 30, "2  " + "#" * 15]
    tables.rich("", [bars], [])
    whole, half = (line.split()[1] for line in lines(capsys)[-2:])
    assert len(whole) == 30
    assert half == "█" * 15


def test_markup_is_not_interpreted(capsys: pytest.CaptureFixture[str]) -> None:
    hostile = "[b]x[/b] :smile:"
    tables.rich(hostile, [Table("n", hostile, "", ("c",), [(hostile,)])], [hostile])
    assert lines(capsys) == [hostile, hostile, "C", hostile, hostile]


def test_long_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """rich breaks them between words, or leaves them whole with soft_wrap."""
    long = "word " * 20 + "end"
    tables.rich(long, [], [long])
    assert len(lines(capsys)) == 4
    tables.rich(long, [], [long], soft_wrap=True)
    assert lines(capsys) == [long, long]


def test_styles(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """By the text of a cell, whole or stacked; in no style without."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    row: tuple[Cell, ...] = ("bad", "good", "x" * 60, "bad")
    for rows in [row[:2]], [row]:
        table = Table("name", "", "", ("a", "b", "c", "d")[: len(rows[0])], list(rows))
        tables.rich("", [table], [], {"bad": "red"})
        styled = capsys.readouterr().out
        assert styled.count("\x1b[31mbad\x1b[0m") == rows[0].count("bad")
        assert "mgood" not in styled
        tables.rich("", [table], [])
        assert "\x1b[31m" not in capsys.readouterr().out
    tables.rich("summary", [TABLE], ["note"])
    styled = capsys.readouterr().out
    for words in ("\x1b[1msummary", "\x1b[1mA title", "\x1b[3mnote"):
        assert words in styled
