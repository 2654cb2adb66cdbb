"""The record: what it says of a session, and what a hostile client cannot make it say."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from null521 import record
from null521.session import Session


def of(
    octets: bytes, client: tuple[str, str] = ("192.0.2.1", "4711"), **other: str
) -> record.Record:
    session = Session("h.example", "no mail", "rcpt")
    session.receive(octets)
    ending = other.get("ending", session.ending or "eof")
    return record.of_session(session, client, ending, 0.25, other.get("addresses", "full"))


MAIL = b"EHLO mx.b.c\r\nMAIL FROM:<a@b.c>\r\nRCPT TO:<x@y.z>\r\nRCPT TO:<v@w>\r\nQUIT\r\n"


def test_all_that_is_known() -> None:
    entry = of(MAIL)
    assert entry.message == (
        "Refused 192.0.2.1 (mx.b.c), mail from <a@b.c>, to <x@y.z>, <v@w>; "
        "quit after 5 commands, 0.250 s"
    )
    assert entry.fields == [
        ("CLIENT", "192.0.2.1"),
        ("CLIENT_PORT", 4711),
        ("HELO", "mx.b.c"),
        ("SENDER", "a@b.c"),
        ("RECIPIENT", "x@y.z"),
        ("RECIPIENT", "v@w"),
        ("RECIPIENTS", 2),
        ("REFUSE_AT", "rcpt"),
        ("COMMANDS", 5),
        ("OCTETS", len(MAIL)),
        ("DURATION_USEC", 250_000),
        ("ENDING", "quit"),
    ]
    assert (entry.message_id, entry.priority) == (record.REFUSED, record.NOTICE)


def test_what_is_not_known_has_no_field() -> None:
    entry = of(b"", client=("", ""))
    assert entry.message == "Refused a local client; eof after 0 commands, 0.250 s"
    assert [name for name, _ in entry.fields] == [
        "RECIPIENTS",
        "REFUSE_AT",
        "COMMANDS",
        "OCTETS",
        "DURATION_USEC",
        "ENDING",
    ]


def test_the_null_reverse_path_is_not_the_same_as_none() -> None:
    entry = of(b"MAIL FROM:<>\r\n")
    assert ("SENDER", "") in entry.fields
    assert ", mail from <>;" in entry.message


def test_recipients_beyond_the_first_are_counted() -> None:
    entry = of(b"RCPT TO:<x@y>\r\n" * 25)
    assert len([value for name, value in entry.fields if name == "RECIPIENT"]) == 10
    assert ("RECIPIENTS", 25) in entry.fields
    assert "<x@y> and 15 more; " in entry.message


@pytest.mark.parametrize(
    ("addresses", "sender", "recipient"),
    [("full", "a@b.c", "x@y.z"), ("domain", "@b.c", "@y.z"), ("none", "...", "...")],
)
def test_log_addresses(addresses: str, sender: str, recipient: str) -> None:
    entry = of(MAIL, addresses=addresses)
    fields = dict(reversed(entry.fields))
    assert (fields["SENDER"], fields["RECIPIENT"]) == (sender, recipient)
    kept = entry.message + str(entry.fields)
    assert ("a@" in kept) == ("x@" in kept) == (addresses == "full")


@pytest.mark.parametrize("addresses", ["domain", "none"])
def test_a_local_part_without_domain_is_not_kept_either(addresses: str) -> None:
    assert "secret" not in str(of(b"MAIL FROM:<secret>\r\n", addresses=addresses).fields)


@pytest.mark.parametrize("ending", sorted(set(record.ENDINGS) - {"fault"}))
def test_a_session_is_worth_notice(ending: str) -> None:
    """Under a unit with LogLevelMax=notice, too."""
    assert of(b"", ending=ending).priority == record.NOTICE == 5


def test_tls_version() -> None:
    session = Session("h.example", "no mail")
    session.secured("TLSv1.3")
    entry = record.of_session(session, ("", ""), "eof", 1.0, "full")
    assert ("TLS", "TLSv1.3") in entry.fields
    assert entry.fields[-1] == ("ENDING", "eof")


def test_a_client_that_came_through_a_proxy() -> None:
    session = Session("h.example", "no mail")
    client = "192.0.2.1", "25"
    entry = record.of_session(session, client, "eof", 1.0, "full", "198.51.100.1")
    assert entry.fields[:3] == [
        ("CLIENT", "192.0.2.1"),
        ("CLIENT_PORT", 25),
        ("PROXY", "198.51.100.1"),
    ]
    assert entry.message == "Refused 192.0.2.1; eof after 0 commands, 1.000 s"
    # Why its header was refused.
    entry = record.of_session(session, client, "proxy", 1.0, "full", "failed: no PROXY header")
    assert ("PROXY", "failed: no PROXY header") in entry.fields
    assert entry.message == ("Refused 192.0.2.1; proxy after 0 commands, 1.000 s: no PROXY header")


def test_one_command_is_singular() -> None:
    assert of(b"QUIT\r\n").message == "Refused 192.0.2.1; quit after 1 command, 0.250 s"


def test_the_maximum_of_recipients_is_shown_without_more() -> None:
    assert of(b"RCPT TO:<x@y>\r\n" * 10).message.endswith("<x@y>; eof after 10 commands, 0.250 s")


def test_a_duration_is_rounded_to_microseconds() -> None:
    session = Session("h.example", "no mail")
    for seconds, microseconds in ((0.0000016, 2), (59.9999994, 59_999_999)):
        fields = dict(record.of_session(session, ("", ""), "eof", seconds, "full").fields)
        assert fields["DURATION_USEC"] == microseconds


def test_a_fault_of_ours_is_worth_a_warning() -> None:
    assert of(b"", ending="fault").priority == record.WARNING


def test_a_fault() -> None:
    fault = record.of_fault("NULL521_LOG is 'x'")
    assert (fault.message_id, fault.priority) == (record.MISCONFIGURED, record.ERROR)
    assert (fault.message, fault.fields, record.ERROR) == ("NULL521_LOG is 'x'", [], 3)
    assert record.of_fault("x", record.WARNING).priority == record.WARNING == 4


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (b"abcdef", "abc"),  # printable
        (b"a\nbcd", "a\\n"),  # with an escape
    ],
)
def test_text_is_cut_after_escaping(octets: bytes, text: str) -> None:
    assert record.clean(octets, 3) == text


def test_helo_and_sender_are_cut_to_the_limits_of_rfc_5321() -> None:
    """4.5.3.1.2 and .3, after escaping."""
    entry = of(b"HELO " + b"\x01" * 255 + b"\nMAIL FROM:<" + b"\x01" * 320 + b">\n")
    fields = dict(entry.fields)
    assert (len(str(fields["HELO"])), len(str(fields["SENDER"]))) == (255, 320)


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (b"plain", "plain"),
        ("grün@exämple".encode(), "grün@exämple"),
        (b"a\r\nb", "a\\r\\nb"),
        ("grün\n\\".encode(), "grün\\n\\\\"),
        (b"\0\x1b[2J", "\\x00\\x1b[2J"),
        (b"\xff\xfe", "\\xff\\xfe"),
        ("\u202e".encode(), "\\u202e"),  # turns the direction of writing
        ("\u2028\u00a0".encode(), "\\u2028\\xa0"),
        # Nothing is seen of these, though they are letters, symbols and marks.
        ("a\u3164\u2800b".encode(), "a\\u3164\\u2800b"),
        ("\u115f\u1160\uffa0\u00ad".encode(), "\\u115f\\u1160\\uffa0\\xad"),
        ("\u034f\u17b5\ufe00\ufe0f".encode(), "\\u034f\\u17b5\\ufe00\\ufe0f"),
        ("\U000e0100\U000e01ef\U000e0041".encode(), "\\U000e0100\\U000e01ef\\U000e0041"),
        ("\U0001f600漢字한글".encode(), "\U0001f600漢字한글"),
    ],
)
def test_clean(octets: bytes, text: str) -> None:
    assert record.clean(octets, 100) == text


@given(st.binary(max_size=3000), st.sampled_from(["full", "domain", "none"]))
def test_any_octets_make_a_bounded_and_printable_record(octets: bytes, addresses: str) -> None:
    said = octets.replace(b"\n", b"")[:400]
    entry = of(b"EHLO %s\nMAIL FROM:<%s>\nRCPT TO:<%s>\n" % (said, said, said), addresses=addresses)
    for value in [entry.message, *(value for _, value in entry.fields)]:
        assert str(value).isprintable()
    assert len(entry.message) < 1100
    assert all(len(str(value)) <= 320 for _, value in entry.fields)


# Default_Ignorable_Code_Point in Unicode's DerivedCoreProperties.txt, which Python does not have.
IGNORABLE = (
    "AD 34F 61C 115F-1160 17B4-17B5 180B-180F 200B-200F 202A-202E 2060-206F 3164 FE00-FE0F FEFF "
    "FFA0 FFF0-FFF8 1BCA0-1BCA3 1D173-1D17A E0000-E0FFF"
)


def test_no_character_that_is_ignored_by_default_is_kept() -> None:
    for span in IGNORABLE.split():
        first, _, last = span.partition("-")
        for number in range(int(first, 16), int(last or first, 16) + 1):
            assert record.clean(chr(number).encode(), 10).isascii()


def test_a_client_cannot_speak_as_we_do_in_a_message() -> None:
    """What sets off its words from ours is escaped there, and is in the fields as it was."""
    forged = b"a@b.c, to <x@bank.example"
    entry = of(b"HELO x)(y\r\nMAIL FROM:<%s>\r\nRCPT TO:<a> and 5 more; quit>\r\n" % forged)
    assert entry.message == (
        r"Refused 192.0.2.1 (x\x29\x28y), mail from <a@b.c,\x20to\x20\x3cx@bank.example>, "
        r"to <a>; eof after 3 commands, 0.250 s"
    )
    assert ("HELO", "x)(y") in entry.fields
    assert ("SENDER", forged.decode()) in entry.fields


@given(st.text(max_size=400), st.text(max_size=400), st.text(max_size=400))
def test_a_message_has_one_reading(helo: str, sender: str, recipient: str) -> None:
    entry = of(f"EHLO {helo}\nMAIL FROM:<{sender}>\nRCPT TO:<{recipient}>\n".encode())
    assert re.fullmatch(
        r"Refused 192\.0\.2\.1( \([^ ()<>]+\))?(, mail from <[^ ()<>]*>)?(, to <[^ ()<>]*>)?"
        r"( and \d+ more)?; \w+ after \d+ commands?, 0\.250 s",
        entry.message,
    )


def test_what_is_escaped_in_a_message_is_cut_again() -> None:
    entry = of(b"MAIL FROM:<" + b" x" * 150 + b">\r\n")
    _, _, shown = entry.message.partition("<")
    assert len(shown.partition(">")[0]) == 320


def test_helo_is_one_word_and_a_backslash_is_told_from_an_escape() -> None:
    entry = of(b"HELO x), mail from <a@b>; quit after 4 commands\r\n")
    assert entry.message.startswith(r"Refused 192.0.2.1 (x\x29,); ")
    assert record.clean(b"\xff", 99) == r"\xff"
    assert record.clean(rb"\xff", 99) == r"\\xff"


def test_a_domain_is_shown_only_where_it_is_sure_to_be_one() -> None:
    assert record.mailbox(b"ann@b.c", "domain") == "@b.c"
    assert record.mailbox(b'"a@secret', "domain") == "..."
    assert record.mailbox(b"ann", "domain") == "..."
    assert record.mailbox(b"ann@relay@b.c", "domain") == "@b.c"
    assert record.mailbox(b"ann@b.c", "none") == "..."
    for addresses in ("full", "domain", "none"):
        assert record.mailbox(b"", addresses) == ""
