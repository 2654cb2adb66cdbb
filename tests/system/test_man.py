"""The manual pages as groff, mandoc and man see them: no warnings, and references that exist.

Whether they say what the program says is for tests/unit/test_documents.py to test.
"""

import re
import subprocess
from pathlib import Path

import pytest

MAN = Path(__file__).parents[2] / "docs" / "man"
PAGES = sorted(path.name for path in MAN.iterdir())


@pytest.mark.parametrize("page", PAGES)
def test_a_page_has_no_warnings(page: str) -> None:
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
    words = ["groff", "-mandoc", "-Tascii", "-P-cbou", str(MAN / page)]
    rendered = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    assert rendered.startswith(page.upper().replace(".", "(") + ")")
    for name, section in re.findall(r"^\.Xr (null521\S*) (\d)", (MAN / page).read_text(), re.M):
        assert f"{name}.{section}" in PAGES
