"""Settings: what is taken from where, and one clear line for each value that is no good."""

import pytest
from helpers.settings import value, variable
from hypothesis import given
from hypothesis import strategies as st

from null521.session import Session
from null521.settings import TABLE, read

GOOD: list[tuple[str, str, object]] = [
    ("hostname", "canon.inria.fr", "canon.inria.fr"),
    ("text", "go away: write to <a@b.c>", "go away: write to <a@b.c>"),
    ("refuse-at", "rcpt", "rcpt"),
    ("idle-timeout", "0.5", 0.5),
    ("session-timeout", "3600", 3600.0),
    ("max-commands", "1", 1),
    ("max-line", "512", 512),
    ("max-octets", "1073741824", 2**30),
    ("tls-cert", "/etc/null521/tls-cert.pem", "/etc/null521/tls-cert.pem"),
    ("tls-key", "", ""),
    ("log", "none", "none"),
    ("log-addresses", "domain", "domain"),
]

BAD = [
    ("hostname", ["", " ", "a b", "é.example", "a\r\nb", "x" * 256]),
    ("text", ["", "  ", "zu spät", "two\nlines", "\x1b[2J", "x" * 501]),
    ("refuse-at", ["", "RCPT", "data", "rcpt "]),
    (
        "idle-timeout",
        ["", "0", "-1", "3601", "nan", "inf", "1e3", "1_0", " 1", "1,5", "1.2.3", "٣"],
    ),
    ("session-timeout", ["0.0", ".", "30s"]),
    ("max-commands", ["", "0", "-1", "1.5", "1e3", "1073741825", "9" * 5000, "٣", "0x10"]),
    ("max-line", ["0"]),
    ("max-octets", ["0"]),
    ("tls-cert", ["a\0b", "a\nb", "x" * 4096]),
    ("tls-key", ["\x1b[2J"]),
    ("log", ["", "file", "Journal"]),
    ("log-addresses", ["", "yes"]),
]


def test_the_examples_cover_every_setting() -> None:
    assert [name for name, _, _ in GOOD] == [name for name, _ in BAD] == list(TABLE)


@pytest.mark.parametrize(("name", "given", "expected"), GOOD)
def test_good_values(name: str, given: str, expected: object) -> None:
    for settings in (
        read([], {variable(name): given}),
        read([f"--{name}={given}"], {}),
        read([f"--{name}", given], {}),
    ):
        assert value(settings, name) == expected
        assert settings.faults == []


@pytest.mark.parametrize(
    ("name", "given"), [(name, bad) for name, all_bad in BAD for bad in all_bad]
)
def test_bad_values_are_one_line_each_and_leave_the_default(name: str, given: str) -> None:
    for settings, source in (
        (read([], {variable(name): given}), variable(name)),
        (read([f"--{name}={given}"], {}), f"--{name}"),
    ):
        assert value(settings, name) == value(read([], {}), name)
        (fault,) = settings.faults
        assert fault.startswith(f"{source} is {ascii(given)[:50]}"[: len(source) + 55])
        assert "but should be" in fault
        assert fault.isprintable()
        assert len(fault) < 250


def test_flags_win_over_the_environment() -> None:
    settings = read(["--refuse-at=mail"], {"NULL521_REFUSE_AT": "rcpt"})
    assert settings.refuse_at == "mail"


def test_one_bad_value_does_not_touch_the_others() -> None:
    settings = read([], {"NULL521_REFUSE_AT": "rcpt", "NULL521_LOG": "x", "NULL521_HOSTNAME": "h"})
    assert (settings.refuse_at, settings.hostname, settings.log) == ("rcpt", "h", "auto")
    assert settings.text == "h is configured NOT to accept any mail."
    assert len(settings.faults) == 1


@pytest.mark.parametrize("word", ["--nonsense", "--", "-x", "refuse-at=rcpt", "serv", "--log_at=x"])
def test_what_is_not_an_option(word: str) -> None:
    (fault,) = read([word], {}).faults
    assert fault == f"{word!r} is not an option; see null521 --help"


def test_a_flag_at_the_end_without_its_value() -> None:
    (fault,) = read(["--log"], {}).faults
    assert fault.startswith("--log is '', but should be one of auto, ")


def test_variables_that_kubernetes_makes_are_not_ours() -> None:
    made = {"NULL521_SERVICE_HOST": "192.0.2.1", "NULL521_PORT": "tcp://192.0.2.1:25"}
    assert read([], made).faults == []


@given(st.lists(st.text(max_size=20)), st.dictionaries(st.sampled_from(list(TABLE)), st.text()))
def test_no_setting_can_spoil_a_reply(arguments: list[str], environ: dict[str, str]) -> None:
    settings = read(arguments, {variable(name): text for name, text in environ.items()})
    assert all(fault.isprintable() and len(fault) < 250 for fault in settings.faults)
    session = Session(settings.hostname, settings.text, settings.refuse_at)
    for reply in (session.greeting(), session.refusal(), session.receive(b"EHLO x\r\nQUIT\r\n")):
        for line in reply.split(b"\r\n")[:-1]:
            assert len(line) <= 510
            assert line.isascii()
            assert line.decode().isprintable()
