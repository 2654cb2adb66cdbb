"""The documents match the program's tables, and their links have targets.

Manual pages are read as mdoc source, documents as Markdown. tests/system/test_man.py renders the
pages.
"""

import json
import re
from collections.abc import Collection, Iterator
from pathlib import Path

import pytest
from helpers.versions import covering

from null521 import __version__, cli, invalid, record, settings
from null521.check import prediction
from null521.serve import settings as serve_settings

TREE = Path(__file__).parents[2]
SOURCE = TREE / "null521"
MAN = TREE / "docs" / "man"
DOCUMENTS = sorted([*TREE.glob("*.md"), *(TREE / "docs").glob("*.md")])
CATALOG = (TREE / "units" / "null521.catalog").read_text()

MAX_README = 170  # lines
FIRST = 30  # lines at the top of the README that say who needs null521 and how to start it

# The kinds of value that a session's settings have.
KINDS = {kind for kind, _ in settings.TABLE.values()}

# The words on a page for a default that depends on the host.
HOST_DEFAULTS = {
    "hostname": "the host's own name",
    "text": "hostname is configured NOT to accept any mail",
}


def plain(lines: str) -> str:
    """The words of mdoc source, without macros, on one line."""
    words = re.sub(r"^\.\w+ ?", "", lines, flags=re.M)
    return " ".join(re.sub(r"\b(?:Ar|Cm|Ev|Ns|Pq) ", "", words).split())


def items(page: str) -> dict[str, str]:
    """The list items of a manual page, as `man` shows them, with their texts."""
    source = (MAN / page).read_text()
    found = {}
    for head, text in re.findall(r"^\.It (.*)\n((?:(?!\.(?:It|El)).*\n)*)", source, re.M):
        words = head.replace("Fl ", "-").replace(" Ns ", "")
        found[re.sub(r"\b(?:Ar|Cm|Dv|Ev|Pa) ?", "", words)] = plain(text)
    return found


def options(page: str) -> dict[str, str]:
    """The options of a manual page in their order: the text after the "=", by name."""
    heads = [head.partition("=") for head in items(page) if head.startswith("--")]
    return {name: value for name, _, value in heads}


def section(page: str, title: str) -> str:
    """The source of one section of a manual page."""
    _, found, rest = (MAN / page).read_text().partition(f"\n.Sh {title}\n")
    assert found
    return rest.partition("\n.Sh ")[0]


def rows(document: str, first: str) -> list[list[str]]:
    """The cells of a table in docs/, without the header, which begins with the cell `first`."""
    _, found, rest = (TREE / "docs" / document).read_text().partition(f"\n| {first} |")
    assert found
    lines = rest.partition("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


# The manual pages and the command line.


@pytest.mark.parametrize(
    ("page", "defaults", "elsewhere"),
    [
        pytest.param("null521.8", settings.read([], {}), (), id="null521.8"),
        pytest.param("null521-serve.8", serve_settings.read([], {}), settings.TABLE, id="serve"),
    ],
)
def test_a_page_lists_the_settings(
    page: str, defaults: settings.Settings, elsewhere: Collection[str]
) -> None:
    """All of them, in their order, with the valid values and the default."""
    names = [name for name in defaults.table if name not in elsewhere]
    assert list(options(page)) == ["--" + name for name in names]
    for name in names:
        kind = defaults.table[name][0]
        value = options(page)["--" + name]
        text = items(page)[f"--{name}={value}"]
        if isinstance(kind, str):
            assert value == kind.removesuffix(" or 0")
            # A kind that several settings share has a list of its own on null521(8).
            where = items("null521.8")[value] if kind in KINDS else text
            assert invalid.EXPECTED[kind].lower() in where.lower()
        else:
            assert value == " | ".join(kind)
        default = HOST_DEFAULTS.get(name) or shown(getattr(defaults, name.replace("-", "_")))
        assert text.endswith(f"Default: {default}.")


def shown(default: object) -> str:
    """A default as a manual page writes it."""
    if isinstance(default, float):
        return f"{default:g}"
    return str(default) if isinstance(default, int) else str(default or "none")


def help_of(subcommand: str, capsys: pytest.CaptureFixture[str]) -> str:
    """The output of --help."""
    assert cli.main([subcommand, "--help"]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("subcommand", cli.SUBCOMMANDS)
def test_a_page_has_the_options_of_its_subcommand(
    subcommand: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (page,) = (path.name for path in MAN.iterdir() if path.stem == f"null521-{subcommand}")
    listed = set(re.findall(r"^  (--[a-z-]+)", help_of(subcommand, capsys), re.M))
    common = {"--" + name for name in settings.TABLE} if subcommand == "serve" else set()
    assert listed - common == set(options(page))


def test_the_page_of_report_has_the_choices(capsys: pytest.CaptureFixture[str]) -> None:
    choices = dict(re.findall(r"^  (--\w+) {(.*?)}", help_of("report", capsys), re.M))
    assert set(choices) == {"--by", "--show"}
    for option, words in choices.items():
        assert options("null521-report.1")[option].split(" | ") == words.split(",")


def test_the_page_of_check_has_the_keys_of_its_json(capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["check", "--json", "--no-dns", "--timeout=5", "127.0.0.1:1"])
    found = json.loads(capsys.readouterr().out)
    heads = re.findall(r"^\.It Cm (.*)$", section("null521-check.1", "JSON"), re.M)
    assert " , ".join(heads).split(" , ") == list(found)
    _, _, keys = items("null521-check.1")["addresses"].partition("with the keys ")
    assert re.findall(r"\w+", keys.replace(" and ", " ")) == list(found["addresses"][0])


# The record, its endings, and the catalog.


def entry(message_id: str) -> str:
    """The entry of the catalog for a record."""
    _, found, rest = CATALOG.partition(f"\n-- {message_id}\n")
    assert found
    return rest.partition("\n-- ")[0]


def test_the_catalog_has_a_sentence_for_each_ending() -> None:
    lines = re.findall(r"^([a-z-]+): [a-z].*\.$", entry(record.REFUSED), re.M)
    assert sorted(lines) == sorted(record.ENDINGS)


def test_the_manual_has_each_ending() -> None:
    """null521(8) has all of them; null521-serve(8) repeats those of the server alone."""
    _, _, of_all = section("null521.8", "RECORDS").partition("NULL521_ENDING")
    _, _, of_the_server = of_all.partition(".Xr null521-serve 8")
    assert sorted(commands(of_all)) == sorted(record.ENDINGS)
    assert commands(section("null521-serve.8", "RECORDS")) == commands(of_the_server)


def commands(lines: str) -> list[str]:
    """The words that mdoc source marks with .Cm in lines of their own."""
    found = re.findall(r"^\.Cm (.*)$", lines, re.M)
    return [word for line in found for word in re.findall(r"[\w-]+", line)]


def test_the_table_of_endings_has_each_with_its_priority() -> None:
    priorities = {record.INFO: "info", record.NOTICE: "notice", record.WARNING: "warning"}
    table = {row[0].strip("`"): row[1] for row in rows("operating.md", "NULL521_ENDING")}
    assert table == {name: priorities[priority] for name, priority in record.ENDINGS.items()}


def test_the_catalog_has_a_text_for_each_record() -> None:
    """With a subject, its origin, a document, and whole sentences."""
    ids = set()
    for path in SOURCE.rglob("*.py"):
        ids |= set(re.findall(r'"([0-9a-f]{32})"', path.read_text()))
    assert record.REFUSED in ids
    assert set(re.findall(r"^-- (.*)$", CATALOG, re.M)) == ids
    for message_id in ids:
        header, _, text = entry(message_id).partition("\n\n")
        names = [line.partition(": ")[0] for line in header.splitlines()]
        assert names == ["Subject", "Defined-By", "Documentation"]
        for paragraph in text.strip().split("\n\n"):
            assert paragraph[0].isupper()
            assert paragraph[-1] in ".:"
        assert text.strip().endswith(".")


def test_the_manual_has_each_field_of_a_record() -> None:
    fields = set(re.findall(r'\("([A-Z][A-Z_]+)", ', (SOURCE / "record.py").read_text()))
    assert {"CLIENT", "RECIPIENT", "ENDING"} <= fields
    listed = set(re.findall(r"NULL521_([A-Z_]+)", section("null521.8", "RECORDS")))
    assert fields - listed == set()


# The tables of docs/.

MAN_METRICS = section("null521-serve.8", "METRICS")


def test_the_table_of_metrics_has_each_metric() -> None:
    names = set(re.findall(r'"(null521_\w+)"', (SOURCE / "serve" / "metrics.py").read_text()))
    cells = [row[0].strip("`").partition("{")[0] for row in rows("operating.md", "metric")]
    assert {cell.removesuffix("_total") for cell in cells} == names | {"process_*"}


def test_the_manual_has_each_metric_of_the_table() -> None:
    heads = re.findall(r"^\.It Cm (\S+)(?: Ns { Ns Ar (\w+) Ns })?$", MAN_METRICS, re.M)
    cells = [row[0].strip("`") for row in rows("operating.md", "metric")]
    assert sorted(f"{name}{{{label}}}" if label else name for name, label in heads) == sorted(cells)


@pytest.mark.parametrize("name", ["alerts.yml", "dashboard.json"])
def test_what_is_for_prometheus_uses_metrics_that_there_are(name: str) -> None:
    """As the table writes them; a histogram has three series."""
    text = (TREE / "docs" / "prometheus" / name).read_text()
    used = set(re.findall(r"\bnull521_\w+", text)) - {"null521_session_seconds_bucket"}
    assert len(used) > 5
    assert used <= {row[0].strip("`").partition("{")[0] for row in rows("operating.md", "metric")}


def test_the_matrix_of_senders_is_what_check_predicts() -> None:
    matrix = list(rows("senders.md", "sender"))
    assert len(matrix) == 2 * len(prediction.OUTCOMES)
    bounced = {
        prediction.AT_ONCE: "bounced at once",
        prediction.FIRST: "first bounced at once, second deferred",
        prediction.QUEUES: "deferred",
    }
    for row in matrix:
        [outcomes] = covering(row[0], prediction.OUTCOMES)
        assert [cell.strip("*") for cell in row[1:5]] == [bounced[each] for each in outcomes]
        [null_mx] = covering(row[0], prediction.NULL_MX)
        assert row[7].strip("*") == bounced[null_mx]


# All documents.


def test_the_readme_is_short_and_begins_with_what_a_stranger_needs() -> None:
    lines = (TREE / "README.md").read_text().splitlines()
    assert len(lines) <= MAX_README
    beginning = "\n".join(lines[:FIRST])
    for words in ("RFC 7504", "RFC 7505", "Python 3.11", "sudo apt purge null521"):
        assert words in beginning
    assert re.findall(r"^    (\d\d\d) ", beginning, re.M)[-1] == "521"
    assert {"null521.socket", "null521-serve.socket"} <= set(re.findall(r"[\w.-]+", beginning))


def links() -> Iterator[tuple[Path, str]]:
    """Each link from a document to a file or heading of the tree."""
    for path in DOCUMENTS:
        for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text()):
            if not target.startswith("https://"):
                yield path, target


@pytest.mark.parametrize(
    ("document", "target"),
    [pytest.param(*link, id=f"{link[0].name}, {link[1]}") for link in sorted(set(links()))],
)
def test_the_target_of_a_link_exists(document: Path, target: str) -> None:
    name, _, anchor = target.partition("#")
    path = document.parent / name if name else document
    assert path.exists()
    if anchor:
        headings = re.findall(r"^#+ (.*)$", path.read_text(), re.M)
        assert anchor in [re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in headings]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_the_files_that_a_document_names_exist(document: Path) -> None:
    names = re.findall(r"(?<![\w./])(?:tests|docs|scripts)/[\w./-]*\w", document.read_text())
    assert [name for name in names if not (TREE / name).exists()] == []


def test_the_changelog_has_the_version() -> None:
    headings = re.findall(r"^## .*$", (TREE / "CHANGELOG.md").read_text(), re.M)
    assert any(__version__ in heading for heading in headings)
