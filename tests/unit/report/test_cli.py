"""The command line of the report, without a process."""

import pytest

from null521.console import usage
from null521.report import cli
from null521.report.findings import KEYS


def test_help_is_what_usage_prints() -> None:
    text = cli.help()
    assert text.startswith("usage: null521 report [-h] ")
    assert text.endswith("permission to read.")
    assert usage.text("report") == text


@pytest.mark.parametrize("by", KEYS)
def test_each_grouping_can_be_chosen(by: str) -> None:
    assert cli.parser().parse_args([f"--by={by}"]).by == by
    assert by in cli.help()
