"""The verdict of null521 check on answers of all kinds."""

import pytest
from helpers.conversations import FIRST, REQUIRED, TLS, answers, conversation, refusing_at
from hypothesis import given
from hypothesis import strategies as st

from null521.check.probe import Answers, Reply, script
from null521.check.verdict import Finding, Verdict, judge, verdict_on

REFUSES, DOES_NOT, UNDETERMINED = 0, 1, 2  # the exit statuses that the manual names
STAGES = list(REQUIRED)
EACH = [(stage, asked) for stage, required in REQUIRED.items() for asked in required]
# HELO is only sent after a refused EHLO.
SENT = {stage: list(refusing_at(stage).replies) for stage in STAGES}
OPTIONAL = [
    (stage, asked) for stage in STAGES for asked in SENT[stage] if asked not in REQUIRED[stage]
]


@pytest.mark.parametrize("stage", STAGES)
def test_a_refusal_at_each_stage(stage: str) -> None:
    expected = Verdict(REFUSES, stage, (), f"refuses at {stage}: '521 no'")
    assert verdict_on(refusing_at(stage)) == expected


@pytest.mark.parametrize("stage", STAGES)
def test_the_first_521_is_quoted(stage: str) -> None:
    verdict = verdict_on(refusing_at(stage, {FIRST[stage]: "521 first"}))
    assert verdict == Verdict(REFUSES, stage, (), f"refuses at {stage}: '521 first'")


def test_the_stage_is_that_of_the_first_521() -> None:
    """A sender that is refused at EHLO tries HELO."""
    verdict = verdict_on(refusing_at("helo", {"EHLO": "502 unknown", "HELO": "521 first"}))
    assert verdict == Verdict(
        DOES_NOT,
        "helo",
        ("EHLO",),
        "refuses at helo, but not EHLO: its reply to EHLO is '502 unknown'",
    )


@pytest.mark.parametrize("code", ["250", "354", "421", "450", "500", "520", "522", "550"])
@pytest.mark.parametrize(
    ("stage", "asked"), [(stage, asked) for stage, asked in EACH if asked != FIRST[stage]]
)
def test_every_required_521_is_required(stage: str, asked: str, code: str) -> None:
    talk = refusing_at(stage)
    if asked not in talk.replies:
        pytest.fail(f"{asked} is not sent")
    talk.replies[asked] = Reply(int(code), ("other",), 1.0)
    assert verdict_on(talk) == Verdict(
        DOES_NOT,
        stage,
        (asked,),
        f"refuses at {stage}, but not {asked}: its reply to {asked} is '{code} other'",
    )


@pytest.mark.parametrize("code", ["250", "450", "500", "521", "550"])
@pytest.mark.parametrize(
    ("stage", "asked"),
    [
        (stage, asked)
        for stage, asked in OPTIONAL
        # A 521 there would make it the first one.
        if asked not in ("greeting", "EHLO", "MAIL")
    ],
)
def test_other_replies_do_not_matter(stage: str, asked: str, code: str) -> None:
    talk = refusing_at(stage)
    talk.replies[asked] = Reply(int(code), ("other",), 1.0)
    assert verdict_on(talk) == Verdict(REFUSES, stage, (), f"refuses at {stage}: '521 no'")


def test_rcpt_is_the_worst_exception() -> None:
    """Mail is lost there; otherwise the first exception is quoted."""
    at_all = {"EHLO": "250 e", "MAIL": "250 m", "RCPT": "250 r", "NOOP": "250 n"}
    verdict = verdict_on(conversation({"greeting": "521 no", **at_all}, "521 no"))
    assert verdict == Verdict(
        DOES_NOT,
        "greeting",
        ("EHLO", "MAIL", "RCPT"),
        "refuses at greeting, but not EHLO, MAIL, RCPT: its reply to RCPT is '250 r'",
    )
    del at_all["RCPT"]
    verdict = verdict_on(conversation({"greeting": "521 no", **at_all}, "521 no"))
    assert verdict == Verdict(
        DOES_NOT,
        "greeting",
        ("EHLO", "MAIL", "NOOP"),
        "refuses at greeting, but not EHLO, MAIL, NOOP: its reply to EHLO is '250 e'",
    )


START = {"greeting": "220 h", "EHLO": "250 e", "MAIL": "250 m"}
HUNG_UP = "it hung up before its reply to EHLO"
CASES: dict[str, tuple[Answers, int, str, str]] = {
    "accepts": (
        answers({**START, "RCPT": "250 r", "QUIT": "221 q"}),
        *(DOES_NOT, "", "accepts mail: its reply to RCPT is '250 r'"),
    ),
    "accepts and hangs up": (
        answers({**START, "RCPT": "250 r"}, HUNG_UP, has_hung_up=True),
        *(DOES_NOT, "", "accepts mail: its reply to RCPT is '250 r'"),
    ),
    "expects more after RCPT": (
        answers({**START, "RCPT": "399 r"}),
        *(DOES_NOT, "", "accepts mail: its reply to RCPT is '399 r'"),
    ),
    "accepts mail for postmaster": (
        answers({**START, "RCPT": "554 r", "RCPT <postmaster>": "250 p", "QUIT": "221 q"}),
        *(DOES_NOT, "", "accepts mail: its reply to RCPT <postmaster> is '250 p'"),
    ),
    "busy": (
        answers({"greeting": "421 busy"}, HUNG_UP, has_hung_up=True),
        *(UNDETERMINED, "", "undetermined: its greeting is '421 busy'"),
    ),
    "busy at QUIT, after a refusal": (
        refusing_at("rcpt", {"QUIT": "421 busy"}),
        *(UNDETERMINED, "rcpt", "undetermined: its reply to QUIT is '421 busy'"),
    ),
    "busy, and then in trouble": (
        answers({"greeting": "220 h", "EHLO": "421 e", "HELO": "421 f"}, "no reply"),
        *(UNDETERMINED, "", "undetermined: its reply to EHLO is '421 e'"),
    ),
    "hangs up after 521": (
        answers({"greeting": "521 no"}, HUNG_UP, has_hung_up=True),
        *(REFUSES, "greeting", "refuses at greeting, and hangs up: '521 no'"),
    ),
    "hangs up after several": (
        answers({**START, "RCPT": "521 r", "DATA": "521 d"}, HUNG_UP, has_hung_up=True),
        *(REFUSES, "rcpt", "refuses at rcpt, and hangs up: '521 r'"),
    ),
    "hangs up after 554": (
        answers({"greeting": "554 no"}, HUNG_UP, has_hung_up=True),
        *(DOES_NOT, "", "does not refuse with 521: its greeting is '554 no', and it hangs up"),
    ),
    "hangs up after 500, the last reply": (
        answers({**START, "RCPT": "450 r", "DATA": "500 d"}, HUNG_UP, has_hung_up=True),
        *(DOES_NOT, "", "does not refuse with 521: its reply to DATA is '500 d', and it hangs up"),
    ),
    "hangs up after 499": (
        answers({"greeting": "499 no"}, HUNG_UP, has_hung_up=True),
        *(UNDETERMINED, "", f"undetermined: {HUNG_UP}"),
    ),
    "hangs up after a refusal that was not the last reply": (
        answers({"greeting": "554 no", "EHLO": "250 e"}, HUNG_UP, has_hung_up=True),
        *(UNDETERMINED, "", f"undetermined: {HUNG_UP}"),
    ),
    "hangs up before the greeting": (
        answers({}, "it hung up before its greeting", has_hung_up=True),
        *(UNDETERMINED, "", "undetermined: it hung up before its greeting"),
    ),
    "unreachable": (
        answers({}, "connection failed: no route", unreachable=True),
        *(UNDETERMINED, "", "undetermined: connection failed: no route"),
    ),
    "silent after 521": (
        answers({"greeting": "521 no"}, "no reply to EHLO within 1 s"),
        *(UNDETERMINED, "greeting", "undetermined: no reply to EHLO within 1 s"),
    ),
    "silent after 554": (
        answers({"greeting": "554 no"}, "no reply to EHLO within 1 s"),
        *(UNDETERMINED, "", "undetermined: no reply to EHLO within 1 s"),
    ),
}


@pytest.mark.parametrize("kind", CASES)
def test_other_hosts(kind: str) -> None:
    talk, status, stage, words = CASES[kind]
    assert verdict_on(talk) == Verdict(status, stage, (), words)


@pytest.mark.parametrize(
    ("replies", "stop"),
    [
        ({"greeting": "554 x"}, "its greeting"),
        ({"greeting": "400 x"}, "its greeting"),
        ({"EHLO": "502 y", "HELO": "502 x"}, "its reply to HELO"),
        ({"EHLO": "502 y", "MAIL": "550 x"}, "its reply to MAIL"),
        ({"RCPT": "450 x"}, "its reply to RCPT"),
        ({"RCPT": "450 x", "DATA": "354 go ahead"}, "its reply to RCPT"),
    ],
)
def test_the_reply_at_which_a_sender_gives_up(replies: dict[str, str], stop: str) -> None:
    [code] = [reply[:3] for reply in replies.values() if reply.endswith(" x")]
    refused = {"RCPT": "550 z", "RCPT <postmaster>": "550 z"} | replies
    verdict = verdict_on(conversation(refused))
    words = f"does not refuse with 521: {stop} is '{code} x'"
    assert verdict == Verdict(DOES_NOT, "", (), words)


@given(
    st.lists(st.sampled_from([220, 250, 354, 399, 400, 421, 450, 499, 500, 521, 554]), min_size=14),
    st.integers(0, 14),
    st.booleans(),
)
def test_any_conversation(codes: list[int], length: int, has_hung_up: bool) -> None:
    """A verdict in one line, whatever the codes are and wherever the conversation ends."""
    talk = answers({})
    for number, (asked, _) in enumerate(script(talk.replies, "h.example", starttls=False)):
        if number == length:
            talk.trouble, talk.has_hung_up = "trouble", has_hung_up
            break
        talk.replies[asked] = Reply(codes[number], ("\x1b[2J\n\udcff",), 0.0)
    verdict = verdict_on(talk)
    required = REQUIRED.get(verdict.stage, [])
    refused = [asked for asked, reply in talk.replies.items() if reply.code == 521]
    assert verdict.words.isascii()
    assert verdict.words.isprintable()
    assert verdict.not_refused == tuple(
        asked for asked in talk.replies if asked in required and asked not in refused
    )
    if verdict.status == REFUSES:
        assert FIRST[verdict.stage] in refused or "HELO" in refused
        assert not talk.trouble or talk.has_hung_up
    assert verdict.status != REFUSES or not verdict.not_refused
    stages = {asked: stage for stage, asked in FIRST.items()} | {"HELO": "helo"}
    assert verdict.stage == next((stages[asked] for asked in refused if asked in stages), "")


@pytest.mark.parametrize(
    ("status", "line"), [(0, "h words"), (1, "h words"), (UNDETERMINED, "h: words")]
)
def test_the_verdict_of_a_name(status: int, line: str) -> None:
    assert Verdict(status, "", (), "words").of("h") == line


# Under TLS.

CLEAR = refusing_at("rcpt")
AT_RCPT = "refuses at rcpt: '521 no'"
SECURED_ACCEPTS = answers({"EHLO": "250 e", "MAIL": "250 m", "RCPT": "250 r"}, tls=TLS)
SECURED_SILENT = answers({}, "no reply to EHLO within 1 s", tls=TLS)


def test_without_starttls() -> None:
    finding = judge("192.0.2.1", CLEAR, None)
    assert finding == Finding("192.0.2.1", CLEAR, None, verdict_on(CLEAR), "")
    assert finding.has_tls is False


def test_starttls_that_fails() -> None:
    """Mail is still refused."""
    secured = answers({}, "it hung up before its reply to STARTTLS", has_hung_up=True)
    fault = "STARTTLS does not work: it hung up before its reply to STARTTLS"
    finding = judge("192.0.2.1", CLEAR, secured)
    assert finding == Finding("192.0.2.1", CLEAR, secured, verdict_on(CLEAR), fault)
    assert finding.has_tls is False


@pytest.mark.parametrize("stage", ["helo", "mail", "rcpt"])
def test_a_refusal_under_tls(stage: str) -> None:
    """At any stage: the verdict is that in clear text."""
    secured = refusing_at(stage, tls=TLS)
    finding = judge("192.0.2.1", CLEAR, secured)
    assert finding == Finding("192.0.2.1", CLEAR, secured, Verdict(REFUSES, "rcpt", (), AT_RCPT))
    assert finding.has_tls is True


def test_a_host_that_refuses_only_in_clear_text() -> None:
    finding = judge("192.0.2.1", CLEAR, SECURED_ACCEPTS)
    under_tls = "under TLS it accepts mail: its reply to RCPT is '250 r'"
    assert finding.verdict == Verdict(DOES_NOT, "rcpt", (), f"{AT_RCPT}; but {under_tls}")
    assert (finding.fault, finding.secured) == ("", SECURED_ACCEPTS)


def test_a_host_that_refuses_only_under_tls() -> None:
    clear = answers({"EHLO": "250 e", "MAIL": "250 m", "RCPT": "250 r"})
    finding = judge("192.0.2.1", clear, refusing_at("rcpt", tls=TLS))
    assert finding.verdict == verdict_on(clear)
    assert finding.fault == f"under TLS it {AT_RCPT}"


def test_a_host_that_is_silent_under_tls() -> None:
    finding = judge("192.0.2.1", CLEAR, SECURED_SILENT)
    assert finding.verdict == verdict_on(CLEAR)
    assert finding.fault == "under TLS: undetermined: no reply to EHLO within 1 s"


def test_a_host_that_is_silent_in_clear_text() -> None:
    clear = answers({}, "no reply to MAIL within 1 s")
    finding = judge("192.0.2.1", clear, SECURED_ACCEPTS)
    assert finding.verdict == verdict_on(clear)
    assert finding.fault == "under TLS it accepts mail: its reply to RCPT is '250 r'"


def test_a_host_that_accepts_both_ways() -> None:
    """The verdict in clear text says it all."""
    clear = answers({"EHLO": "250 e", "MAIL": "250 m", "RCPT": "250 clear"})
    finding = judge("192.0.2.1", clear, SECURED_ACCEPTS)
    assert finding.verdict == verdict_on(clear)
    assert finding.fault == ""
