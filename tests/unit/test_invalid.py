"""What is said of invalid settings and of variables that are none."""

import pytest

from null521 import invalid
from null521.serve.settings import ServeSettings
from null521.settings import TABLE


def test_each_kind_has_its_words() -> None:
    kinds = {kind for kind, _ in ServeSettings.table.values() if isinstance(kind, str)}
    assert set(invalid.EXPECTED) == kinds


def test_expected() -> None:
    assert invalid.expected("path") == "the path of a PEM file, or nothing"
    assert invalid.expected(("a", "b")) == "one of a, b"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "NULL521_REFUSE-AT",
            "'NULL521_REFUSE-AT' is not a setting; did you mean NULL521_REFUSE_AT?",
        ),
        ("NULL521_REFUSEAT", "did you mean NULL521_REFUSE_AT?"),
        ("NULL521_refuse_at", "did you mean NULL521_REFUSE_AT?"),
        ("NULL521_GRACE", "'NULL521_GRACE' is a setting of null521 serve only"),
        ("NULL521_HOST_NAME", "did you mean NULL521_HOSTNAME?"),
        ("NULL521_TLS_CRT", "did you mean NULL521_TLS_CERT?"),
        ("NULL521_COLOUR", "'NULL521_COLOUR' is not a setting; see null521 --help"),
        ("NULL521_\x1b[2J", "'NULL521_\\x1b[2J' is not a setting; see null521 --help"),
        ("NULL521_", "'NULL521_' is not a setting; see null521 --help"),
        ("NULL521_SERVICE", "'NULL521_SERVICE' is not a setting"),
        ("NULL521_PORTS", "'NULL521_PORTS' is not a setting"),
    ],
)
def test_a_variable_that_is_no_setting(name: str, said: str) -> None:
    (line,) = invalid.variables([name], TABLE)
    assert said in line
    assert line.isprintable()


@pytest.mark.parametrize(
    "name",
    [
        "SERVICE_HOST", "SERVICE_PORT", "SERVICE_PORT_SMTP", "PORT", "PORT_25_TCP",
        "PORT_25_TCP_ADDR", "PORT_25_TCP_PORT", "PORT_25_TCP_PROTO", "PORT_53_UDP",
        "MX_SERVICE_HOST", "MX_PORT_25_TCP_ADDR", "MX_PORT",
    ],
)  # fmt: skip
def test_the_variables_of_kubernetes(name: str) -> None:
    assert invalid.variables([f"NULL521_{name}"], TABLE) == []


def test_no_more_than_some_are_named() -> None:
    assert len(invalid.variables([f"NULL521_X{n}" for n in range(99)], TABLE)) == 8


def test_the_settings_of_a_server_are_known_to_it() -> None:
    (line,) = invalid.variables(["NULL521_MAX_PERCLIENT"], ServeSettings.table)
    assert line.endswith("did you mean NULL521_MAX_PER_CLIENT?")


def test_an_option_names_the_help_of_its_program() -> None:
    assert invalid.option("extra", "null521 serve") == (
        "'extra' is not an option; see null521 serve --help"
    )


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("sevre", "serve"), ("servers", "serve"), ("chekc", "check"), ("repot", "report"),
        ("rest", ""), ("sort", ""), ("quit", ""), ("", ""),
    ],
)  # fmt: skip
def test_a_word_that_is_like_another(word: str, meant: str) -> None:
    assert invalid.nearest(word, ("serve", "report", "check")) == meant


def test_a_long_word_is_not_compared_whole() -> None:
    assert invalid.nearest("x" * 60 + "y" * 10**6, ["x" * 60]) == "x" * 60
