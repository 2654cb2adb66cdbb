"""Settings: what is taken from where, and one clear line for each invalid value."""

import posix
from types import SimpleNamespace

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

# The longest, largest and smallest valid values.
LIMITS: list[tuple[str, str, object]] = [
    ("hostname", "x", "x"),
    ("hostname", "x" * 255, "x" * 255),
    ("text", "x", "x"),
    ("text", "x" * 500, "x" * 500),
    ("text", " x ", " x "),
    ("idle-timeout", "3600.0000", 3600.0),
    ("idle-timeout", "0.00000001", 1e-8),
    ("idle-timeout", "1.", 1.0),
    ("idle-timeout", "0000000001", 1.0),
    ("idle-timeout", "0000.000001", 1e-6),
    ("max-line", "0000000001", 1),
    ("tls-cert", "x" * 4095, "x" * 4095),
    ("tls-cert", "é k", "é k"),
]

BAD = [
    ("hostname", ["", " ", "a b", "é.example", "a\r\nb", "x" * 256]),
    ("text", ["", "  ", "zu spät", "two\nlines", "\x1b[2J", "x" * 501]),
    ("refuse-at", ["", "RCPT", "data", "rcpt "]),
    (
        "idle-timeout",
        ["", "0", "-1", "3601", "nan", "inf", "1e3", "1_0", " 1", "1,5", "1.2.3", "٣"],
    ),
    (
        "session-timeout",
        ["0.0", ".", "30s", "3600.01", "00000000001", "1.0000000000", "x" * 20, "1.²"],
    ),
    (
        "max-commands",
        ["", "0", "-1", "1.5", "1e3", "1073741825", "9" * 5000, "٣", "0x10", "00000000001"],
    ),
    ("max-line", ["0"]),
    ("max-octets", ["0"]),
    ("tls-cert", ["a\0b", "a\nb", "x" * 4096]),
    ("tls-key", ["\x1b[2J"]),
    ("log", ["", "file", "Journal"]),
    ("log-addresses", ["", "yes"]),
]


def test_the_examples_cover_every_setting() -> None:
    assert [name for name, _, _ in GOOD] == [name for name, _ in BAD] == list(TABLE)


@pytest.mark.parametrize(("name", "given", "expected"), GOOD + LIMITS)
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
        expected = "rcpt" if name == "refuse-at" else value(read([], {}), name)
        assert value(settings, name) == expected
        (fault,) = settings.faults
        assert fault.startswith(f"{source} is {ascii(given)[:50]}"[: len(source) + 55])
        assert "but should be" in fault
        assert fault.isprintable()
        assert len(fault) < 250


def test_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(posix, "uname", lambda: SimpleNamespace(nodename="h.example"))
    settings = read([], {})
    assert {name: value(settings, name) for name in TABLE} == {
        "hostname": "h.example",
        "text": "h.example is configured NOT to accept any mail.",
        "refuse-at": "greeting",
        "idle-timeout": 30.0,
        "session-timeout": 60.0,
        "max-commands": 5000,
        "max-line": 2048,
        "max-octets": 1_000_000,
        "tls-cert": "",
        "tls-key": "",
        "log": "auto",
        "log-addresses": "full",
    }
    assert settings.faults == settings.warnings == []


@pytest.mark.parametrize("node", ["", "(none) ", "hôte", "x" * 256])
def test_a_host_with_an_invalid_name(node: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(posix, "uname", lambda: SimpleNamespace(nodename=node))
    assert read([], {}).hostname == "localhost"


@pytest.mark.parametrize(
    ("name", "right"),
    [
        ("hostname", "1 to 255 printable ASCII characters, none of them blank"),
        ("text", "one line of 1 to 500 printable ASCII characters"),
        ("refuse-at", "one of greeting, helo, mail, rcpt"),
        ("idle-timeout", "seconds, more than 0 and at most 3600"),
        ("max-commands", "a whole number from 1 to 1073741824"),
        ("tls-key", "the path of a PEM file, or nothing"),
        ("log-addresses", "one of full, domain, none"),
    ],
)
def test_a_fault_says_what_is_valid(name: str, right: str) -> None:
    assert read([f"--{name}=\0"], {}).faults == [f"--{name} is '\\x00', but should be {right}"]
    assert read([], {variable(name): "\0"}).faults == [
        f"{variable(name)} is '\\x00', but should be {right}"
    ]


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("a b", "'a b'"),
        ("é", r"'\xe9'"),
        ("b" * 57 + "!", "'" + "b" * 57 + "!'"),  # 60 characters with the quotes
        ("b" * 58 + "!", "'" + "b" * 56 + "..."),
        ("b" * 200, "'" + "b" * 56 + "..."),
        ("\0" * 60, "'" + r"\x00" * 14 + "..."),
    ],
)
def test_a_fault_shows_60_characters_of_the_value(given: str, shown: str) -> None:
    (fault,) = read([f"--log={given}"], {}).faults
    assert fault.startswith(f"--log is {shown}, but should be one of ")


def test_a_value_with_an_equals_sign() -> None:
    settings = read(["--text=a=b", "--hostname", "c=d"], {})
    assert (settings.text, settings.hostname, settings.faults) == ("a=b", "c=d", [])


def test_each_unknown_option_is_a_fault() -> None:
    settings = read(["-v", "--log=none", "x" * 80], {})
    assert settings.log == "none"
    assert settings.faults == [
        "'-v' is not an option; see null521 --help",
        "'" + "x" * 56 + "... is not an option; see null521 --help",
    ]


def test_a_session_has_these_settings() -> None:
    words = ["--hostname=h", "--text=t", "--refuse-at=rcpt", "--max-commands=3"]
    settings = read([*words, "--max-line=20", "--max-octets=40"], {})
    encoded: dict[object, bytes] = {}
    session = settings.session(False, encoded)
    assert session.greeting() == b"220 h ESMTP null521\r\n"
    assert len(encoded) == 1
    assert session.refusal() == b"521 t\r\n"
    assert settings.session(False).receive(b"NOOP\n" * 4) == b"250 OK\r\n" * 3 + b"521 t\r\n"
    for octets, ending in (b"x" * 19, ""), (b"x" * 20, "limit"), (b"x\n" * 3, ""):
        session = settings.session(False)
        session.receive(octets)
        assert session.ending == ending
    session = settings.session(False)
    session.receive(b"x" * 10 + b"\n" + b"x" * 15 + b"\n" + b"x" * 13)
    assert session.ending == ""
    session.receive(b"x")
    assert session.ending == "limit"
    assert b"STARTTLS" in settings.session(True).receive(b"EHLO x\n")
    assert b"STARTTLS" not in settings.session(False).receive(b"EHLO x\n")


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


def test_an_invalid_stage_becomes_the_one_that_works_with_all_senders() -> None:
    assert read([], {"NULL521_REFUSE_AT": "RCPT"}).refuse_at == "rcpt"
    assert read([], {}).refuse_at == "greeting"
    assert read(["--refuse-at=mail"], {"NULL521_REFUSE_AT": "RCPT"}).refuse_at == "mail"


def test_variables_that_kubernetes_makes_are_not_ours() -> None:
    made = {"NULL521_SERVICE_HOST": "192.0.2.1", "NULL521_PORT": "tcp://192.0.2.1:25"}
    settings = read([], made)
    assert (settings.faults, settings.warnings) == ([], [])


def test_a_variable_that_is_no_setting_is_a_warning() -> None:
    settings = read([], {"NULL521_REFUSEAT": "rcpt", "NULL521_LOG": "none", "OTHER": "x"})
    assert settings.faults == []
    assert settings.warnings == [
        "'NULL521_REFUSEAT' is not a setting; did you mean NULL521_REFUSE_AT?"
    ]


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
