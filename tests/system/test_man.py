"""The manual pages: nothing is wrong with them, and they say what the program says."""

import re
import subprocess
import sys

import pytest
from helpers.namespaces import TREE

from null521.serve.settings import MORE, ServeSettings
from null521.settings import TABLE, Settings

MAN = TREE / "units" / "man"
PAGES = sorted(path.name for path in MAN.iterdir())

# What a page says in place of a default that depends on the host.
OF_THE_HOST = {
    "hostname": "the host's own name",
    "text": "hostname is configured NOT to accept any mail.",
}


def rendered(page: str) -> str:
    """The page as text, each paragraph on one line."""
    words = ["groff", "-mandoc", "-Tascii", "-P-cbou", "-rLL=10000n", str(MAN / page)]
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


def listed(page: str) -> dict[str, str]:
    """Each option that is an item of the page's lists, with its text."""
    return dict(re.findall(r"^     (--\S.*?)(?:\n {13}|  )(\S.*)$", rendered(page), re.M))


@pytest.mark.parametrize("page", PAGES)
def test_nothing_is_wrong_with_a_page(page: str) -> None:
    path = str(MAN / page)
    for words in (
        ["man", "--warnings", "--encoding=UTF-8", "--troff-device=utf8", "--local-file", path],
        ["groff", "-mandoc", "-ww", "-Tutf8", path],
        ["mandoc", "-Tlint", "-Wwarning", path],
    ):
        done = subprocess.run(words, check=True, capture_output=True, text=True)
        assert done.stderr == ""
        assert words[0] != "mandoc" or done.stdout == ""


@pytest.mark.parametrize("page", PAGES)
def test_a_page_refers_to_those_beside_it(page: str) -> None:
    assert rendered(page).startswith(page.upper().replace(".", "(") + ")")
    for name, section in re.findall(r"^\.Xr (null521\S*) (\d)", (MAN / page).read_text(), re.M):
        assert f"{name}.{section}" in PAGES


@pytest.mark.parametrize(
    ("page", "names", "defaults"),
    [("null521.8", list(TABLE), Settings()), ("null521-serve.8", list(MORE), ServeSettings())],
)
def test_a_page_lists_the_settings(page: str, names: list[str], defaults: Settings) -> None:
    """All of them, in their order, with what is expected and the default."""
    items = listed(page)
    assert [head.partition("=")[0] for head in items] == ["--" + name for name in names]
    for name, (head, said) in zip(names, items.items(), strict=True):
        kind = defaults.table[name][0]
        if isinstance(kind, str):
            assert head == f"--{name}={kind.removesuffix(' or 0')}"
            # What several settings have in common is in a list of its own, on the first page.
            where = rendered("null521.8") if kind in Settings.expected else said
            assert defaults.expected[kind].lower() in where.lower()
        else:
            assert head == f"--{name}={' | '.join(kind)}"
        default = OF_THE_HOST.get(name) or shown(getattr(defaults, name.replace("-", "_")))
        assert said.removesuffix(".").endswith(f"Default: {default}".removesuffix("."))


def shown(default: object) -> str:
    return f"{default:g}" if isinstance(default, float) else str(default or "none")


@pytest.mark.parametrize("subcommand", ["serve", "check", "report"])
def test_a_page_has_the_options_of_its_subcommand(subcommand: str) -> None:
    (page,) = (page for page in PAGES if page.startswith(f"null521-{subcommand}."))
    words = [sys.executable, "-m", "null521", subcommand, "--help"]
    said = subprocess.run(words, check=True, capture_output=True, text=True, cwd=TREE).stdout
    options = set(re.findall(r"^  (--[a-z-]+)", said, re.M))
    common = {"--" + name for name in TABLE} if subcommand == "serve" else set()
    assert options - common == {re.split("[= ]", head)[0] for head in listed(page)}
