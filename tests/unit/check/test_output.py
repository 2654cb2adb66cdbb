"""What null521 check prints about a result."""

import json
import sys
from typing import Any

import pytest
from helpers.conversations import TLS, answers, conversation, refusing_at

from null521.check import output
from null521.check.cli import remarks
from null521.check.mx import MxFindings
from null521.check.output import Result
from null521.check.probe import Answers, Tls
from null521.check.remarks import Remark
from null521.check.tlsa import Tlsa, TlsaRecords
from null521.check.verdict import Finding, judge

AT_RCPT = "refuses at rcpt: '521 no'"
ACCEPTS = conversation({"RCPT": "250 yes"})
NO_ROUTE = answers({}, "connection failed: network is unreachable", unreachable=True)
SILENT = answers({}, "no greeting within 1 s")
NO_TLS = answers({}, "no reply to STARTTLS within 1 s")
NO_STARTTLS = (
    "STARTTLS is not offered, so senders that require TLS queue the mail; offer it "
    "(null521: tls-cert and tls-key)"
)
A, B, C = "192.0.2.1", "2001:db8::1", "192.0.2.3"


def found(**talks: Answers | tuple[Answers, Answers]) -> list[Finding]:
    """The findings at addresses a, b and c: answers in clear text, and perhaps those under TLS."""
    at = {"a": A, "b": B, "c": C}
    pairs = {
        at[name]: talk if isinstance(talk, tuple) else (talk, None) for name, talk in talks.items()
    }
    return [judge(address, clear, secured) for address, (clear, secured) in pairs.items()]


def result(**talks: Answers | tuple[Answers, Answers]) -> Result:
    return Result("h.example", "h.example", 25, found(**talks))


def dns(*names: str, null_mx: bool = False) -> MxFindings:
    """With a remark of each name."""
    return MxFindings(null_mx=null_mx, remarks=[Remark(name, "DNS", f"{name}!") for name in names])


def printed(capsys: pytest.CaptureFixture[str], found: Result, **how: bool) -> str:
    found.remarks = remarks(found)
    output.show(found, **{"as_json": False, "verbose": False} | how)
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out


# The exit status.


@pytest.mark.parametrize(
    ("talks", "status"),
    [
        ({"a": refusing_at("rcpt")}, 0),
        ({"a": refusing_at("rcpt"), "b": ACCEPTS}, 1),
        ({"a": ACCEPTS, "b": SILENT}, 1),
        ({"a": SILENT, "b": refusing_at("rcpt")}, 2),
        ({"a": refusing_at("rcpt"), "b": NO_ROUTE}, 0),
        ({"a": NO_ROUTE, "b": ACCEPTS}, 1),
        ({"a": NO_ROUTE, "b": NO_ROUTE}, 2),
        ({}, 2),
    ],
)
def test_the_status_is_the_worst_of_the_reachable_addresses(
    talks: dict[str, Answers], status: int
) -> None:
    assert result(**talks).status == status


# In brief.


def test_one_line_if_all_addresses_agree(capsys: pytest.CaptureFixture[str]) -> None:
    """Even if their texts differ."""
    other = refusing_at("rcpt", {"RCPT": "521 never"})
    said = printed(capsys, result(a=refusing_at("rcpt"), b=other))
    assert said == f"h.example {AT_RCPT}\n{A}, {B}: {NO_STARTTLS}\n"


@pytest.mark.parametrize("worst_is_last", [True, False])
def test_a_line_for_each_address_if_they_differ(
    capsys: pytest.CaptureFixture[str], worst_is_last: bool
) -> None:
    talks = {"a": ACCEPTS, "b": refusing_at("rcpt"), "c": refusing_at("rcpt")}
    if worst_is_last:
        talks = dict(reversed(talks.items()))
    first, *others, last = printed(capsys, result(**talks)).splitlines()
    assert last == f"{', '.join(sorted((B, C), reverse=not worst_is_last))}: {NO_STARTTLS}"
    assert first == f"h.example at {A} accepts mail: its reply to RCPT is '250 yes'"
    assert sorted(others) == [f"h.example at {C} {AT_RCPT}", f"h.example at {B} {AT_RCPT}"]


@pytest.mark.parametrize(
    "other",
    [
        refusing_at("mail"),
        refusing_at("rcpt", {"VRFY": "252 yes"}),
        answers({}, "no greeting within 1 s"),
    ],
)
def test_what_counts_as_a_difference(other: Answers) -> None:
    assert len(output.answers(result(a=refusing_at("rcpt"), b=other))) == 2


def test_no_address(capsys: pytest.CaptureFixture[str]) -> None:
    gone = Result("gone.example:2525", "gone.example", 2525, trouble="no address: no such name")
    line = "gone.example:2525: undetermined: no address: no such name\n"
    assert printed(capsys, gone) == line
    assert printed(capsys, gone, verbose=True) == line


def test_all_faults(capsys: pytest.CaptureFixture[str]) -> None:
    full = result(a=(refusing_at("rcpt"), NO_TLS))
    full.left_out = [f"192.0.2.{number}" for number in range(10, 20)]
    full.no_dns = "why not"
    full.dns = dns("mx-here", "null-mx", "sends-mail", "dns-no-answer")
    full.dns.tlsa = TlsaRecords("t", (Tlsa(3, 1, 1, bytes(32)),), False)
    assert printed(capsys, full).splitlines() == [
        f"h.example {AT_RCPT}",
        f"{A}: STARTTLS does not work: no reply to STARTTLS within 1 s",
        "too many addresses; not asked: "
        + ", ".join(f"192.0.2.{number}" for number in range(10, 18)),
        "DNS: why not",
        "DNS: mx-here!",
        "DNS: sends-mail!",
        "DNS: dns-no-answer!",
        f"{A}: t IN TLSA 3 1 1 0000000000000000... promises STARTTLS, so senders that use DANE "
        "queue the mail (by RFC 7672; not measured); the record counts only with DNSSEC, which the "
        "name server does not confirm (no AD)",
    ]


def test_no_faults() -> None:
    fine = result(a=(refusing_at("rcpt"), refusing_at("rcpt", tls=TLS)))
    fine.dns = dns("null-mx", "spf", null_mx=True)
    fine.remarks = remarks(fine)
    assert output.faults(fine) == []


@pytest.mark.parametrize(
    ("talk", "name", "lax", "strict"),
    [
        (refusing_at("rcpt"), "mx-here", 0, 3),
        (refusing_at("greeting"), "null-mx", 0, 3),
        (refusing_at("rcpt"), "null-mx-missing", 0, 0),
        (refusing_at("rcpt"), "dns-no-answer", 0, 0),
        (refusing_at("rcpt"), "null-mx", 0, 0),
        (ACCEPTS, "mx-here", 1, 1),
        (SILENT, "mx-here", 2, 2),
    ],
)
def test_strict(talk: Answers, name: str, lax: int, strict: int) -> None:
    """Only faults count, and only at a host that refuses."""
    found = result(a=talk)
    found.dns = dns(name)
    found.remarks = remarks(found)
    assert found.exit_status == lax
    found.strict = True
    assert found.exit_status == strict
    assert output.as_object(found)["status"] == strict


# In full.

FULL = """\
h.example refuses at greeting: '521 no'

ADDRESS      REFUSES AT  THEN        GREETING  REFUSAL  STARTTLS
192.0.2.1    greeting    always 521  1 ms      1 ms     not offered
2001:db8::1  greeting    always 521  1 ms      1 ms     fails

What senders do if refused at greeting, without STARTTLS

SENDER                 BY DEFAULT                IF IT REQUIRES TLS
Postfix 3.7 to 3.10    queues the mail for days  queues the mail for days
Exim 4.96 to 4.98      bounces one, then queues  bounces one, then queues
OpenSMTPD 6.8 to 7.6   queues the mail for days  queues the mail for days
sendmail 8.17 to 8.18  bounces at once           bounces at once

DNS: null-mx!
2001:db8::1: STARTTLS does not work: no reply to STARTTLS within 1 s
192.0.2.1, 2001:db8::1: some senders queue mail that is refused at greeting: Postfix 3.7 to 3.10, \
OpenSMTPD 6.8 to 7.6 (queues the mail for days), Exim 4.96 to 4.98 (bounces one, then queues); \
by their source code also chasquid, KumoMTA, notqmail; refuse at rcpt
DNS: mx-here!
"""


def test_in_full(capsys: pytest.CaptureFixture[str]) -> None:
    full = result(a=refusing_at("greeting"), b=(refusing_at("greeting"), NO_TLS))
    full.dns = dns("null-mx", "mx-here")
    assert printed(capsys, full, verbose=True) == FULL


def test_several_lines_above_the_tables(capsys: pytest.CaptureFixture[str]) -> None:
    several = result(a=ACCEPTS, b=refusing_at("rcpt"))
    said = printed(capsys, several, verbose=True)
    assert said.startswith("\n".join(output.answers(several)) + "\n\nADDRESS ")


def test_nothing_below_the_tables(capsys: pytest.CaptureFixture[str]) -> None:
    fine = result(a=(refusing_at("rcpt"), refusing_at("rcpt", tls=TLS)))
    said = printed(capsys, fine, verbose=True)
    assert said.splitlines()[-1].startswith("sendmail 8.17 to 8.18 ")
    assert said.endswith("bounces at once\n")


def test_on_a_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """It is printed in full, without rich as text, and long lines are left to the terminal."""
    full = result(a=refusing_at("greeting", {"greeting": "521 " + "no " * 60}))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("COLUMNS", "90")
    drawn = printed(capsys, full).splitlines()
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    coloured = printed(capsys, result(a=refusing_at("greeting"), b=ACCEPTS))
    for text, colour in (("does not", 31), (QUEUES, 31), (FIRST, 33), (AT_ONCE, 32)):
        assert f"\x1b[{colour}m{text}\x1b[0m" in coloured
    monkeypatch.setitem(sys.modules, "rich.bar", None)
    plain = printed(capsys, full)
    monkeypatch.undo()
    assert plain == printed(capsys, full, verbose=True)
    assert drawn[0].rstrip() == plain.splitlines()[0].rstrip() == output.answers(full)[0]
    assert any("─" in line or "---" in line for line in drawn)
    words = [line.split() for line in plain.splitlines() if line]
    assert [line.split() for line in drawn if line.strip(" ─-")] == words


def test_a_closed_standard_output(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    output.show(result(a=ACCEPTS), as_json=False, verbose=False)


def row(clear: Answers, secured: Answers | None = None) -> list[object]:
    [cells] = output.addresses(Result("h", "h", 25, [judge(A, clear, secured)])).rows
    assert cells[0] == A
    return list(cells[1:])


def test_the_table_of_addresses() -> None:
    refused = ["rcpt", "always 521", "1 ms", "4 ms"]
    assert row(refusing_at("rcpt")) == [*refused, "not offered"]
    assert row(refusing_at("rcpt"), refusing_at("rcpt", tls=TLS)) == [
        *refused,
        "TLSv1.3, 2026-01-01 to 2027-01-01",
    ]
    assert row(refusing_at("rcpt"), NO_TLS) == [*refused, "fails"]
    exceptions = refusing_at("rcpt", {"DATA": "354 go", "VRFY": "252 yes"})
    assert row(exceptions) == ["rcpt", "not to DATA", "1 ms", "4 ms", "not offered"]
    exceptions = refusing_at("rcpt", {"VRFY": "252 yes", "XNULL521": "500 no"})
    assert row(exceptions)[1] == "not to VRFY, XNULL521"
    hanging_up = answers({"greeting": "521 no"}, "it hung up", has_hung_up=True)
    assert row(hanging_up) == ["greeting", "hangs up", "1 ms", "1 ms", None]
    silent = answers({"greeting": "521 no"}, "no reply to EHLO within 1 s")
    assert row(silent) == ["greeting", "no answer", "1 ms", "1 ms", None]
    assert row(ACCEPTS) == ["does not", None, "1 ms", None, "not offered"]
    assert row(SILENT) == [None, None, None, None, None]
    slow = answers({"greeting": "220 h", "EHLO": "421 h"}, "trouble")
    slow.replies["greeting"] = slow.replies["greeting"]._replace(seconds=1.2345)
    assert row(slow)[2:4] == ["1234 ms", None]


def test_both_tables() -> None:
    """Their names and columns."""
    found = result(a=refusing_at("rcpt"))
    table = output.addresses(found)
    columns: tuple[str, ...] = ("address", "refuses_at", "then", "greeting", "refusal", "starttls")
    assert (table.name, table.title, table.without, table.columns) == ("addresses", "", "", columns)
    [group] = output.predictions(found)
    table = output.senders(group, several=False)
    columns = ("sender", "by_default", "if_it_requires_tls")
    title = "What senders do if refused at rcpt, without STARTTLS"
    assert (table.name, table.title, table.without, table.columns) == (
        "senders",
        title,
        "",
        columns,
    )


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("20260131235959Z", "2026-01-31"),
        ("", "?"),
        ("2026013123595Z", "?"),
        ("202601312359590Z", "?"),
        ("2026013x235959Z", "?"),
        ("2026013123595xZ", "?"),
        ("\u0662\u0660\u0662\u0666\u0660\u0661\u0663\u0661235959Z", "?"),
        ("20260131\x1b[2JxxxZ"[:14] + "\xe9", "?"),
    ],
)
def test_the_dates_of_a_certificate(text: str, day: str) -> None:
    under_tls = refusing_at("rcpt", tls=Tls("TLSv1.2", text, "20270101000000Z"))
    assert row(refusing_at("rcpt"), under_tls)[-1] == f"TLSv1.2, {day} to 2027-01-01"


# Predictions.

QUEUES, FIRST, AT_ONCE = "queues the mail for days", "bounces one, then queues", "bounces at once"
SENDERS = (
    "Postfix 3.7 to 3.10",
    "Exim 4.96 to 4.98",
    "OpenSMTPD 6.8 to 7.6",
    "sendmail 8.17 to 8.18",
)
PREDICTED = {
    "greeting": (QUEUES, FIRST, QUEUES, AT_ONCE),
    "helo": (AT_ONCE, FIRST, QUEUES, AT_ONCE),
    "mail": (AT_ONCE,) * 4,
    "rcpt": (AT_ONCE,) * 4,
}


@pytest.mark.parametrize("secured", [None, refusing_at("rcpt", tls=TLS), NO_TLS])
@pytest.mark.parametrize("stage", PREDICTED)
def test_predictions(stage: str, secured: Answers | None) -> None:
    """A sender that requires TLS queues the mail if it must wait for MAIL and cannot start TLS."""
    talk = refusing_at(stage)
    [group] = output.predictions(result(a=(talk, secured) if secured else talk))
    has_tls = secured is not None and secured.tls is not None
    assert group.because == f"refused at {stage}, {'with' if has_tls else 'without'} STARTTLS"
    assert group.addresses == [A]
    outcomes = PREDICTED[stage]
    requiring = (QUEUES,) * 4 if stage in ("mail", "rcpt") and not has_tls else outcomes
    assert [tuple(one) for one in group.senders] == list(
        zip(SENDERS, outcomes, requiring, strict=True)
    )


def test_predictions_with_a_null_mx() -> None:
    """Wherever the host refuses, or if it does not."""
    accepting = result(a=ACCEPTS)
    accepting.dns = dns(null_mx=True)
    [group] = output.predictions(accepting)
    assert (group.because, group.addresses) == ("they see the null MX", [])
    senders = (*SENDERS[:2], "OpenSMTPD before 7.5", "OpenSMTPD 7.5 or later", SENDERS[3])
    outcomes = (AT_ONCE, AT_ONCE, QUEUES, AT_ONCE, AT_ONCE)
    expected = list(zip(senders, outcomes, outcomes, strict=True))
    assert [tuple(one) for one in group.senders] == expected


def test_predictions_for_each_way_of_refusing(capsys: pytest.CaptureFixture[str]) -> None:
    several = result(a=refusing_at("rcpt"), b=refusing_at("greeting"), c=refusing_at("rcpt"))
    groups = [(group.because, group.addresses) for group in output.predictions(several)]
    assert groups == [
        ("refused at rcpt, without STARTTLS", [A, C]),
        ("refused at greeting, without STARTTLS", [B]),
    ]
    titles = printed(capsys, several, verbose=True).splitlines()
    assert f"What senders do if {groups[0][0]}, at {A}, {C}" in titles
    assert f"What senders do if {groups[1][0]}, at {B}" in titles


NOT_MEASURED = "no prediction: senders were not measured with a host that hangs up like that"


def test_no_prediction(capsys: pytest.CaptureFixture[str]) -> None:
    """For hosts that do not refuse, or in a way that was not measured."""
    at_rcpt = {"greeting": "220 h", "EHLO": "250 h", "MAIL": "250 ok", "RCPT": "521 no"}
    late = result(a=answers(at_rcpt, "it hung up", has_hung_up=True))
    assert output.predictions(late) == []
    said = printed(capsys, late, verbose=True)
    assert said.endswith(f"\n\n{NOT_MEASURED}\n{A}: {NO_STARTTLS}\n")
    early = result(a=answers({"greeting": "521 no"}, "it hung up", has_hung_up=True))
    [group] = output.predictions(early)
    assert group.because == "refused at greeting, without STARTTLS"
    assert NOT_MEASURED not in printed(capsys, early, verbose=True)
    for talk in (ACCEPTS, SILENT):
        assert output.predictions(result(a=talk)) == []
        assert NOT_MEASURED not in printed(capsys, result(a=talk), verbose=True)


# As JSON.


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    greeting = answers({"greeting": "521 no\nnever\x1b", "EHLO": "250 h"}, "trouble")
    full = result(a=(greeting, NO_TLS), b=(refusing_at("rcpt"), refusing_at("rcpt", tls=TLS)))
    full.left_out = [C]
    tlsa = TlsaRecords("t.example", (Tlsa(3, 1, 1, bytes(32)),), True)
    said = dns("mx-here", "sends-mail", "dns-no-answer", "null-mx").remarks
    full.dns = MxFindings("h.example", [(0, ".")], True, "'s'", tlsa, said, "r", "c", "u")
    text = printed(capsys, full, as_json=True)
    assert text.startswith('{\n  "host": "h.example",\n')
    document: dict[str, Any] = json.loads(text)
    assert text.isascii()
    first, second = document.pop("addresses")
    [group] = document.pop("senders")
    found = document.pop("remarks")
    assert document == {
        "host": "h.example",
        "port": 25,
        "status": 1,
        "answer": output.answers(full),
        "not_asked": [C],
        "dns": {
            "name": "h.example",
            "mx": [[0, "."]],
            "null_mx": True,
            "spf": "'s'",
            "tlsa": {
                "name": "t.example",
                "records": ["3 1 1 0000000000000000..."],
                "ad": True,
            },
            "faults": ["mx-here!", "sends-mail!"],
            "notes": ["null-mx!"],
            "record": "r",
            "condition": "c",
            "trouble": "u",
        },
        "faults": output.faults(full),
    }
    by_name = {remark.pop("name"): remark for remark in found}
    assert list(by_name) == [
        *("starttls-fails", "addresses-not-asked", "mx-here", "sends-mail", "dns-no-answer"),
        *("null-mx", "tlsa-mismatch"),
    ]
    assert by_name["mx-here"] == {
        "level": "fault",
        "about": "DNS",
        "text": "mx-here!",
        "senders": [],
    }
    assert (group["because"], group["addresses"]) == ("they see the null MX", [])
    assert group["senders"][2] == {
        "sender": "OpenSMTPD before 7.5",
        "outcome": QUEUES,
        "insisting": QUEUES,
    }
    assert first == {
        "address": A,
        "status": 1,
        "stage": "greeting",
        "not_refused": ["EHLO"],
        "hangs_up": False,
        "trouble": "trouble",
        "seconds": {"greeting": 0.001, "refusal": 0.001},
        "replies": {
            "greeting": {"code": 521, "text": "no\nnever\x1b", "seconds": 0.001},
            "EHLO": {"code": 250, "text": "h", "seconds": 0.002},
        },
        "starttls": {
            "tls": None,
            "self_signed": False,
            "trouble": "no reply to STARTTLS within 1 s",
            "replies": {},
        },
    }
    assert (second["status"], second["stage"], second["not_refused"]) == (0, "rcpt", [])
    starttls = second["starttls"]
    assert starttls["tls"] == {
        "version": "TLSv1.3",
        "not_before": "20260101000000Z",
        "not_after": "20270101000000Z",
    }
    assert (starttls["trouble"], starttls["replies"]["RCPT"]["code"]) == ("", 521)


def test_json_of_little(capsys: pytest.CaptureFixture[str]) -> None:
    """What is not known is null; the keys are the same."""
    hanging_up = answers({}, "it hung up before its greeting", has_hung_up=True)
    document = json.loads(printed(capsys, result(a=hanging_up), as_json=True))
    [at] = document["addresses"]
    assert (document["dns"], document["senders"], document["not_asked"]) == (None, [], [])
    assert (at["stage"], at["starttls"], at["hangs_up"]) == (None, None, True)
    assert at["seconds"] == {"greeting": None, "refusal": None}


def test_json_is_bounded(capsys: pytest.CaptureFixture[str]) -> None:
    long = answers({"greeting": "521 " + "x" * 511 + "yz"}, "trouble")
    document = json.loads(printed(capsys, result(a=long), as_json=True))
    assert document["addresses"][0]["replies"]["greeting"]["text"] == "x" * 511 + "y"
