"""The dialogue: transcripts of each stage, and what holds for any octets cut in any way."""

import re
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from null521.session import DIALOGUE, ENOUGH, MAX_MAILBOX, MAX_RECIPIENTS, STAGES, Session

HOST = "canon.inria.fr"
TEXT = f"{HOST} is configured NOT to accept any mail."
TRANSCRIPTS = sorted(Path(__file__).parent.glob("transcripts/*.txt"))

# RFC 5321, 4.2: three digits, "-" on all lines but the last, text, CRLF; 4.5.3.1.5: 512 octets.
LINE = rb"(?P<code>[2-5][0-5][0-9])%s[\x20-\x7e]{1,506}\r\n"
REPLY = re.compile(rb"(?:" + LINE.replace(b"?P<code>", b"") % b"-" + rb")*" + LINE % b" ")

VERBS = [b"EHLO x", b"HELO x", b"MAIL FROM:<a@b>", b"RCPT TO:<c@d>", b"DATA", b"RSET", b"NOOP"]
VERBS += [b"VRFY x", b"AUTH PLAIN", b"STARTTLS", b"BDAT 3", b"quit now", b"QUIT", b"", b"\0\xff"]
lines = st.one_of(st.sampled_from(VERBS), st.binary(max_size=80).filter(lambda b: b"\n" not in b))
dialogues = st.one_of(
    st.binary(max_size=600),
    st.lists(st.tuples(lines, st.sampled_from([b"\r\n", b"\n"])), max_size=30).map(
        lambda pairs: b"".join(line + end for line, end in pairs)
    ),
)
stages = st.sampled_from(STAGES)


def small(stage: str) -> Session:
    """A session whose bounds are near enough to be hit."""
    return Session(HOST, TEXT, stage, max_commands=20, max_line=64, max_octets=400)


def everything(session: Session, octets: bytes) -> bytes:
    """All replies to these octets, of which one call gives no more than are enough for it."""
    replies = session.receive(octets)
    while session.has_more:
        replies += session.receive(b"")
    return replies


def codes(octets: bytes) -> list[int]:
    """The codes of a run of well-formed replies; fails if there is anything else in it."""
    found, end = [], 0
    for match in REPLY.finditer(octets):
        assert match.start() == end, octets
        found.append(int(match["code"]))
        end = match.end()
    assert end == len(octets), octets
    return found


def talk(session: Session, chunks: list[bytes]) -> bytes:
    return session.greeting() + b"".join(session.receive(chunk) for chunk in chunks)


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)
@pytest.mark.parametrize("end", ["\r\n", "\n"], ids=["CRLF", "LF"])
def test_transcript(path: Path, end: str) -> None:
    session = Session(HOST, TEXT, path.stem.partition("-")[0])
    said, expected = session.greeting().decode(), ""
    for line in path.read_text().splitlines():
        who, text = line[:3], line[3:]
        if who == "S: ":
            expected += text + "\r\n"
        else:
            assert said == expected
            said, expected = session.receive((text + end).encode()).decode(), ""
    assert said == expected
    assert session.ending == "quit"


def test_all_stages_have_a_transcript() -> None:
    assert {path.stem.partition("-")[0] for path in TRANSCRIPTS} == set(STAGES)


def test_no_row_of_the_table_accepts_a_message() -> None:
    for event in ("RCPT", "DATA", "all else"):
        assert {code for code, _, _ in DIALOGUE[event]} == {521}
    assert all(code != 354 for row in DIALOGUE.values() for code, _, _ in row)


@given(stages, dialogues)
def test_replies_are_well_formed_and_one_a_command(stage: str, octets: bytes) -> None:
    session = small(stage)
    assert codes(session.greeting()) == [521 if stage == "greeting" else 220]
    replies = codes(session.receive(octets))
    # Over a bound, the last 521 is the answer to what was over it.
    assert len(replies) == session.commands + (session.ending == "limit")
    assert set(replies) <= {221, 250, 521}
    assert (session.ending == "quit") == (221 in replies)


@given(stages, dialogues, st.data())
def test_replies_do_not_depend_on_how_octets_are_cut(
    stage: str, octets: bytes, data: st.DataObject
) -> None:
    cuts = data.draw(st.lists(st.integers(0, len(octets)), max_size=12).map(sorted))
    edges = [0, *cuts, len(octets)]
    pieces = [octets[a:b] for a, b in pairwise(edges)]
    singles = [octets[i : i + 1] for i in range(len(octets))]
    whole, cut, dripped = small(stage), small(stage), small(stage)
    assert talk(cut, pieces) == talk(whole, [octets]) == talk(dripped, singles)
    for other in (cut, dripped):
        assert other.ending == whole.ending
        assert (other.helo, other.sender, other.recipients, other.commands) == (
            whole.helo,
            whole.sender,
            whole.recipients,
            whole.commands,
        )


@given(stages, st.sampled_from([b"RCPT", b"rcpt", b"DATA", b"dAtA", b"BDAT"]), dialogues, lines)
def test_never_a_2xx_to_rcpt_or_data(stage: str, verb: bytes, before: bytes, rest: bytes) -> None:
    session = Session(HOST, TEXT, stage)
    session.receive(before + b"\n")
    if not session.ending:
        assert codes(session.receive(verb + b" " + rest + b"\r\n"))[0] == 521


@given(stages, dialogues)
def test_enhanced_codes_only_after_ehlo_offered_them(stage: str, octets: bytes) -> None:
    session = small(stage)
    replies = talk(session, [octets])
    offered = replies.find(b"ENHANCEDSTATUSCODES")
    before = replies if offered < 0 else replies[:offered]
    assert b"5.3.2" not in before
    assert b"2.0.0" not in before


@settings(max_examples=20)
@given(st.integers(0, 3 * MAX_RECIPIENTS))
def test_what_is_remembered_is_bounded(count: int) -> None:
    session = Session(HOST, TEXT, "rcpt")
    session.receive(b"EHLO " + b"h" * 2000 + b"\nMAIL FROM:<" + b"s" * 2000 + b">\n")
    session.receive(b"".join(b"RCPT TO:<%d@x>\n" % i for i in range(count)))
    assert len(session.helo) == 255
    assert session.sender == b"s" * 320
    assert session.recipient_count == count
    assert session.recipients == [b"%d@x" % i for i in range(min(count, MAX_RECIPIENTS))]


@pytest.mark.parametrize(
    ("argument", "path"),
    [
        (b"FROM:<a@b.c>", b"a@b.c"),
        (b"FROM: <a@b.c> SIZE=3", b"a@b.c"),
        (b"FROM:<>", b""),
        (b"FROM:a@b.c SIZE=3", b"a@b.c"),
        (b"FROM:<a@b.c", b"a@b.c"),
        (b"FROM <a@b.c> SIZE=3", b"a@b.c"),
        (b"FROM a@b.c", b"a@b.c"),
        (b"FROM <>", b""),
        (b"FROM:<a<b@c>", b"a<b@c"),
        (b"FROM:" + b"x" * 400, b"x" * MAX_MAILBOX),
        (b"a@b.c", b"a@b.c"),
        (b"FROM:", None),
        (b"", None),
    ],
)
def test_reverse_path(argument: bytes, path: bytes | None) -> None:
    session = Session(HOST, TEXT, "rcpt")
    session.receive(b"MAIL " + argument + b"\r\n")
    assert session.sender == path


@pytest.mark.parametrize("quit", [b"QUIT", b"quit", b"QuIt  ", b"QUIT\t", b"quit and go away"])
def test_quit_in_any_case_with_words_after_it(quit: bytes) -> None:
    session = Session(HOST, TEXT)
    assert codes(session.receive(quit + b"\r\nNOOP\r\n")) == [221]
    assert session.receive(b"NOOP\r\n") == b""


@pytest.mark.parametrize("word", [b" QUIT", b"QUITS", b"QUIT\0", b"Q\rUIT", b"\xefQUIT", b"QUIT,"])
def test_what_is_not_quit(word: bytes) -> None:
    session = Session(HOST, TEXT)
    assert codes(session.receive(word + b"\r\n")) == [521]
    assert not session.ending


def test_commands_are_bounded() -> None:
    session = Session(HOST, TEXT, "rcpt", max_commands=3)
    assert codes(session.receive(b"NOOP\n" * 3)) == [250] * 3
    assert not session.ending
    assert codes(session.receive(b"NOOP\n" * 10_000)) == [521]
    assert (session.ending, session.commands) == ("limit", 3)


@pytest.mark.parametrize("verb", [b"EHLO", b"HELO"])
def test_no_enhanced_code_in_a_reply_to_ehlo_even_over_a_bound(verb: bytes) -> None:
    """RFC 2034, 3."""
    session = Session(HOST, TEXT, "rcpt", max_commands=1)
    session.receive(b"EHLO x\r\n")
    assert session.receive(verb + b" y\r\n") == f"521 {TEXT}\r\n".encode()


def test_a_line_is_bounded_with_its_end() -> None:
    session = Session(HOST, TEXT, "rcpt", max_line=64)
    assert codes(session.receive(b"NOOP " + b"x" * 57 + b"\r\n")) == [250]
    assert codes(session.receive(b"NOOP " + b"x" * 58 + b"\r\n")) == [521]
    assert session.ending == "limit"


def test_a_line_without_end_is_not_waited_for() -> None:
    session = Session(HOST, TEXT, "rcpt", max_line=64)
    assert session.receive(b"x" * 63) == b""
    assert codes(session.receive(b"x")) == [521]
    assert session.ending == "limit"


def test_octets_are_bounded() -> None:
    session = Session(HOST, TEXT, "rcpt", max_octets=30)
    assert codes(session.receive(b"NOOP\r\n" * 5)) == [250] * 5
    assert (session.ending, session.octets) == ("", 30)
    assert codes(session.receive(b"N")) == [521]
    assert (session.ending, session.octets) == ("limit", 31)


def test_octets_over_the_limit_are_not_processed() -> None:
    """Even if all come at once. Commands before them get their replies, before the last 521."""
    session = Session(HOST, TEXT, "rcpt", max_octets=14)
    assert codes(session.receive(b"NOOP\r\n")) == [250]
    assert codes(session.receive(b"NOOP\r\n" + b"NOOP\r\nQUIT\r\n")) == [250, 521]
    assert (session.ending, session.commands, session.octets) == ("limit", 2, 24)


def test_octets_after_starttls_count_under_tls() -> None:
    session = Session(HOST, TEXT, "rcpt", max_octets=10, starttls=True)
    assert session.receive(b"STARTTLS\r\n" + b"x" * 10) == b""
    session.starttls(ready=True)
    session.secured("TLSv1.3")
    assert codes(session.receive(b"\n" * 20)) == [521]
    assert (session.ending, session.commands) == ("limit", 1)


def test_default_limits() -> None:
    for stage, code in ("greeting", 521), ("rcpt", 250):
        session = Session(HOST, TEXT, stage)
        assert codes(everything(session, b"NOOP\n" * 5000)) == [code] * 5000
        assert (session.commands, session.ending) == (5000, "")
        assert codes(session.receive(b"NOOP\n")) == [521]
        assert session.ending == "limit"
    for length, ending in (2047, ""), (2048, "limit"):
        session = Session(HOST, TEXT, "rcpt")
        session.receive(b"x" * length)
        assert session.ending == ending
    for octets, ending in (1_000_000, ""), (1_000_001, "limit"):
        session = Session(HOST, TEXT, "rcpt")
        everything(session, b"\n".join([b"x" * 1023] * 977)[:octets])
        assert (session.octets, session.ending) == (octets, ending)


@pytest.mark.parametrize("argument", [b"", b"TO:", b"TO:<>", b"TO: \t"])
def test_a_rcpt_without_an_address_counts_as_a_recipient(argument: bytes) -> None:
    session = Session(HOST, TEXT, "rcpt")
    session.receive(b"RCPT " + argument + b"\r\n")
    assert session.recipients == [b""]
    assert session.recipient_count == 1


def test_a_line_ends_in_carriage_returns_and_a_line_feed() -> None:
    session = Session(HOST, TEXT, "rcpt")
    assert codes(session.receive(b"NOOP\r\r\n")) == [250]
    assert codes(session.receive(b"NOOP\f\r\n")) == [521]
    assert codes(session.receive(b"NOOPX\r\n")) == [521]


def test_sessions_with_the_same_settings_share_replies() -> None:
    encoded: dict[object, bytes] = {}
    first, second = (Session(HOST, TEXT, "rcpt", encoded=encoded) for _ in range(2))
    reply = first.receive(b"EHLO x\r\n")
    assert list(encoded.values()) == [reply]
    for key in encoded:
        encoded[key] = b"250 encoded before\r\n"
    assert second.receive(b"EHLO x\r\n") == b"250 encoded before\r\n"
    # The reply differs before and after EHLO.
    assert second.receive(b"NOOP\r\n") == b"250 2.0.0 OK\r\n"
    assert Session(HOST, TEXT, "rcpt", encoded=encoded).receive(b"NOOP\r\n") == b"250 OK\r\n"
    assert len(encoded) == 3


def test_equal_replies_are_encoded_once() -> None:
    encoded: dict[object, bytes] = {}
    session = Session(HOST, TEXT, "rcpt", encoded=encoded)
    session.receive(b"NOOP\nHELO x\nNOOP\nHELO x\n")
    assert len(encoded) == 2


def offering(stage: str = "rcpt", max_commands: int = 100) -> Session:
    """A session that offers STARTTLS."""
    return Session(HOST, TEXT, stage, max_commands, starttls=True)


def test_only_the_reply_to_ehlo_offers_starttls() -> None:
    assert offering().receive(b"EHLO x\r\n").splitlines()[-2:] == [b"250-SMTPUTF8", b"250 STARTTLS"]
    assert b"STARTTLS" not in Session(HOST, TEXT, "rcpt").receive(b"EHLO x\r\n")
    assert b"STARTTLS" not in offering().receive(b"HELO x\r\n")


@pytest.mark.parametrize("stage", ["greeting", "helo"])
def test_starttls_is_refused_at_the_early_stages(stage: str) -> None:
    session = offering(stage)
    assert codes(session.receive(b"STARTTLS\r\n")) == [521]
    assert session.asked_for_tls is False


def test_tls_forgets_what_was_said_but_not_the_limits() -> None:
    session = offering()
    assert (session.asked_for_tls, session.tls) == (False, "")
    session.receive(b"EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n")
    assert session.receive(b"STARTTLS\r\n") == b""
    assert session.asked_for_tls is True
    assert session.starttls(ready=True) == b"220 2.0.0 go ahead with TLS\r\n"
    assert session.asked_for_tls is False

    session.secured("TLSv1.3")
    assert session.tls == "TLSv1.3"
    assert (session.helo, session.sender, session.recipients) == (b"", None, [])
    assert (session.recipient_count, session.commands) == (0, 4)
    assert session.receive(b"NOOP\r\n") == b"250 OK\r\n"
    assert b"STARTTLS" not in session.receive(b"EHLO x\r\n")
    assert session.receive(b"STARTTLS\r\n") == f"521 5.3.2 {TEXT}\r\n".encode()
    assert session.asked_for_tls is False


def test_octets_after_starttls_are_discarded_if_the_driver_is_ready() -> None:
    """RFC 3207, 4.2; CVE-2011-0411."""
    session = offering()
    assert session.receive(b"EHLO x\r\n") != b""
    assert session.receive(b"STARTTLS\r\nMAIL FROM:<a@b>\r\nRSET\r\nNO") == b""
    assert session.starttls(ready=True) == b"220 2.0.0 go ahead with TLS\r\n"
    session.secured("TLSv1.3")
    assert session.receive(b"OP\r\n") == f"521 {TEXT}\r\n".encode()
    assert (session.sender, session.commands) == (None, 3)


def test_commands_after_starttls_are_processed_if_tls_is_not_available() -> None:
    session = offering()
    assert codes(session.receive(b"EHLO x\r\nRSET\r\nSTARTTLS\r\nMAIL FROM:<a@b>\r\nNO")) == [
        250,
        250,
    ]
    assert session.asked_for_tls
    assert session.starttls(ready=False) == (b"454 4.7.0 TLS is not available\r\n250 2.1.0 OK\r\n")
    assert (session.asked_for_tls, session.sender, session.commands) == (False, b"a@b", 4)
    assert session.receive(b"OP\r\n") == b"250 2.0.0 OK\r\n"
    # STARTTLS is no longer on offer.
    assert session.receive(b"STARTTLS\r\n") == f"521 5.3.2 {TEXT}\r\n".encode()
    assert b"STARTTLS" not in session.receive(b"EHLO x\r\n")


def test_starttls_counts_as_a_command() -> None:
    session = offering(max_commands=1)
    assert session.receive(b"STARTTLS\r\nNOOP\r\n") == b""
    assert codes(session.starttls(ready=False)) == [454, 521]
    assert session.ending == "limit"


@given(st.integers(1, 400), st.lists(st.integers(0, 4000), max_size=4))
def test_replies_in_steps_are_the_same_replies(count: int, cuts: list[int]) -> None:
    """However much a client pipelines, one call gives little more than ENOUGH octets."""
    said = b"EHLO x\r\nMAIL FROM:<a@b>\r\n" + b"RCPT TO:<c@d>\r\n" * count + b"QUIT\r\nNOOP\r\n"
    session, replies = Session(HOST, TEXT, "rcpt"), b""
    edges = [0, *sorted(min(cut, len(said)) for cut in cuts), len(said)]
    for start, end in pairwise(edges):
        step = session.receive(said[start:end])
        while True:
            assert len(step) < ENOUGH + 600
            assert not (session.has_more and session.ending)
            replies += step
            if not session.has_more:
                break
            assert len(step) >= ENOUGH
            step = session.receive(b"")
    assert codes(replies) == [250, 250, *[521] * count, 221]
    assert (session.recipient_count, session.ending) == (count, "quit")


def test_the_bound_of_octets_holds_for_what_is_answered_in_steps() -> None:
    session = Session(HOST, TEXT, "rcpt", max_octets=600)
    replies = everything(session, b"NOOP\r\n" * 101)
    assert codes(replies) == [250] * 100 + [521]
    assert session.ending == "limit"


@pytest.mark.parametrize("stage", ["mail", "rcpt"])
def test_starttls_has_no_parameters(stage: str) -> None:
    session = Session(HOST, TEXT, stage, starttls=True)
    assert session.receive(b"STARTTLS x\r\n") == b"501 STARTTLS has no parameters\r\n"
    assert not session.asked_for_tls
    session.receive(b"EHLO x\r\n")
    assert session.receive(b"starttls  x y\r\n") == b"501 5.5.4 STARTTLS has no parameters\r\n"
    assert session.receive(b"STARTTLS \t\r\n") == b""
    assert session.asked_for_tls
