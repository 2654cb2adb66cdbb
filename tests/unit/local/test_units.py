"""What systemctl prints, and what is made of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from null521.local import units
from null521.local.units import Pair, Unit, Units
from null521.serve.settings import ServeSettings

SHOWN = """\
Id=null521-serve.socket
LoadState=loaded
ActiveState=active
UnitFileState=enabled
Listen=192.0.2.1:25 (Stream)
Listen=[2001:db8::1]:25 (Stream)
Listen=/run/x (Stream)

Id=null521-serve.service
LoadState=loaded
Environment=NULL521_REFUSE_AT=rcpt "NULL521_TEXT=a \\"b\\" \\$c"
Other=x

Id=null521.socket
LoadState=not-found
"""


def socket(name: str, enabled: bool = False, state: str = "inactive", **more: str) -> Unit:
    properties = {"LoadState": "loaded", "ActiveState": state, **more}
    properties["UnitFileState"] = "enabled" if enabled else "disabled"
    return Unit(name, {key: [value] for key, value in properties.items()})


def pair(name: str, enabled: bool = False, state: str = "inactive", **service: str) -> Pair:
    properties = {key: [value] for key, value in {"LoadState": "loaded", **service}.items()}
    return Pair(socket(f"{name}.socket", enabled, state), Unit(f"{name}.service", properties))


def test_the_properties_of_each_unit() -> None:
    found = units.parse_show(SHOWN)
    assert list(found) == ["null521-serve.socket", "null521-serve.service", "null521.socket"]
    assert found["null521-serve.socket"]["Listen"] == [
        "192.0.2.1:25 (Stream)",
        "[2001:db8::1]:25 (Stream)",
        "/run/x (Stream)",
    ]
    assert "Other" not in found["null521-serve.service"]


def test_the_places_of_a_socket() -> None:
    found = units.parse_show(SHOWN)["null521-serve.socket"]["Listen"]
    assert units.parse_listen(found) == [("192.0.2.1", 25), ("2001:db8::1", 25)]
    assert units.parse_listen(["[::]:25 (Datagram)", "25", "", "x:y (Stream)"]) == []


@given(st.text())
def test_nothing_that_is_shown_is_an_exception(text: str) -> None:
    units.parse_show(text)
    units.parse_listen(text.splitlines())
    units.parse_environment(text)
    units.parse_command(text)
    units.parse_credentials(text)


@pytest.mark.parametrize(
    ("value", "environ"),
    [
        pytest.param("", {}, id="none"),
        pytest.param("A=1 B=", {"A": "1", "B": ""}, id="two"),
        pytest.param('"A=1 2" B=3', {"A": "1 2", "B": "3"}, id="a blank"),
        pytest.param('"A=\\"\\$\\`\\\\"', {"A": '"$`\\'}, id="escaped"),
        pytest.param('A=1 "B=2', {"A": "1", '"B': "2"}, id="cut"),
    ],
)
def test_the_environment(value: str, environ: dict[str, str]) -> None:
    assert units.parse_environment(value) == environ


def command(words: str) -> str:
    return f"{{ path=/x/null521 ; argv[]=/x/null521 {words} ; ignore_errors=no ; pid=0 }}"


def test_the_settings_of_the_environment_and_the_command_which_wins() -> None:
    service = {
        "Environment": "NULL521_REFUSE_AT=rcpt NULL521_IDLE_TIMEOUT=10",
        "ExecStart": command("--refuse-at=mail --text=two words --max-line 99"),
    }
    found = units.settings_of(pair("null521", False, "active", **service))
    assert found
    assert (found.refuse_at, found.idle_timeout, found.max_line) == ("mail", 10.0, 99)
    assert found.faults == []


def test_the_settings_of_a_server() -> None:
    service = {"Environment": "NULL521_GRACE=soon", "ExecStart": command("serve --log=json")}
    found = units.settings_of(pair("null521-serve", False, "active", **service))
    assert found
    assert found.log == "json"
    (fault,) = found.faults
    assert fault.startswith("NULL521_GRACE is 'soon'")


@pytest.mark.parametrize("words", ["/usr/bin/python3 -IS /x/null521 serve --log=json"])
def test_the_settings_of_a_server_behind_an_interpreter(words: str) -> None:
    service = {
        "Environment": "NULL521_GRACE=7 NULL521_REFUSE_AT=mail",
        "UnsetEnvironment": "NULL521_REFUSE_AT NULL521_GRACE=8",
        "ExecStart": f"{{ path=x ; argv[]={words} ; ignore_errors=no ; pid=0 }}",
    }
    found = units.settings_of(pair("null521-serve", False, "active", **service))
    assert isinstance(found, ServeSettings)
    assert (found.log, found.grace, found.refuse_at) == ("json", 7.0, "greeting")
    assert found.warnings + found.faults == []


def test_variables_to_unset_that_are_cut() -> None:
    service = {"Environment": "NULL521_GRACE=7", "UnsetEnvironment": 'NULL521_GRACE "NULL521_'}
    found = units.settings_of(pair("null521-serve", False, "active", **service))
    assert found
    assert found.faults + found.warnings == []


@pytest.mark.parametrize(
    "words", ["/usr/bin/podman run --name null521 localhost/null521:latest", "/bin/sleep 9"]
)
def test_the_settings_of_what_is_not_null521_are_not_known(words: str) -> None:
    """As by a quadlet: the container has settings of its own."""
    start = f"{{ path=x ; argv[]={words} ; ignore_errors=no ; pid=0 }}"
    assert units.settings_of(pair("null521", False, "active", ExecStart=start)) is None


def test_the_files_of_credentials_the_last_of_which_wins() -> None:
    text = (
        "# /usr/lib/systemd/system/null521@.service\n[Service]\n"
        "LoadCredential=tls-cert:/etc/null521/tls-cert.pem\nLoadCredential=tls-key:relative\n"
        "#LoadCredential=x:/y\n"
        "\n# /etc/systemd/system/null521@.service.d/x.conf\n"
        "LoadCredential=tls-cert:/etc/letsencrypt/fullchain.pem \n"
    )
    files = {"tls-cert": "/etc/letsencrypt/fullchain.pem", "tls-key": ""}
    assert units.parse_credentials(text) == files
    files["tls-cert"] = ""  # of a specifier, only systemd knows the value
    assert units.parse_credentials(text + "LoadCredential=tls-cert:/etc/%H.pem\n") == files
    assert units.parse_credentials(text + "LoadCredential=\n") == {}


def test_a_path_that_is_no_credential_is_the_file() -> None:
    assert units.credential(Unit("x.service"), "/etc/x.pem") == "/etc/x.pem"


def test_the_pair_that_counts_is_the_active_one_then_the_enabled_one() -> None:
    first, second = pair("null521-serve", enabled=True), pair("null521", state="active")
    assert Units([first, second]).chosen is second
    assert Units([first]).chosen is first
    assert Units([pair("null521")]).chosen is None


def faults(*pairs: Pair, answered: bool = True) -> list[str]:
    return units.judge(Units(list(pairs)), answered).faults


def test_one_pair_enabled_and_active_is_well() -> None:
    assert faults(pair("null521", enabled=True, state="active"), pair("null521-serve")) == []


def test_without_a_unit_something_else_has_to_answer() -> None:
    assert faults(answered=True) == []
    assert faults(pair("null521"), answered=True) == []
    assert "no unit of null521 is installed" in faults(answered=False)[0]
    assert faults(pair("null521"), answered=False) == [
        "no unit is enabled: sudo systemctl enable --now null521.socket"
    ]


def test_without_systemd_units_are_no_fault() -> None:
    part = units.judge(Units(booted=False), answered=False)
    assert (part.state, part.found) == ("ok", ["systemd does not run here"])


def test_a_systemctl_that_fails_is_told() -> None:
    part = units.judge(Units(trouble="systemctl does not answer"), answered=True)
    assert (part.state, part.unknown) == ("unknown", ["units: systemctl does not answer"])


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        pytest.param(pair("x", True), "x.socket is enabled, but inactive", id="inactive"),
        pytest.param(
            pair("x", True, "failed"), "x.socket is enabled, but failed", id="failed and enabled"
        ),
        pytest.param(pair("x", False, "failed"), "x.socket has failed", id="failed"),
        pytest.param(
            pair("x", False, "active"), "x.socket is active, but not enabled", id="not enabled"
        ),
        pytest.param(
            pair("x", True, "active", ActiveState="failed", Result="signal", ExecMainStatus="9"),
            "x.service fails (signal, exit status 9)",
            id="service failed",
        ),
        pytest.param(
            pair("x", True, "active", SubState="auto-restart", Result="exit-code"),
            "x.service fails (exit-code",
            id="service restarts",
        ),
        pytest.param(
            pair("x", True, "active", ActiveState="activating", NRestarts="3"),
            "x.service does not start, and was restarted 3 times",
            id="service starts again",
        ),
        pytest.param(
            pair("x", True, "active", NeedDaemonReload="yes"), "daemon-reload", id="changed"
        ),
        pytest.param(
            pair("x", True, "active", LoadState="bad-setting"), "cannot be loaded", id="bad setting"
        ),
    ],
)
def test_a_pair_that_is_not_well(bad: Pair, said: str) -> None:
    (fault,) = faults(bad)
    assert said in fault


def test_what_a_unit_says_cannot_steer_a_terminal() -> None:
    part = units.judge(Units([pair("x", True, "\x1b[2J")]), answered=True)
    assert "\x1b" not in "".join(part.found + part.faults)
