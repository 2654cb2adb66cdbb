"""The settings that only a server has; the others are in test_settings.py."""

from ipaddress import ip_network

import pytest
from helpers.settings import value, variable
from hypothesis import given
from hypothesis import strategies as st

from null521.serve.settings import MORE, address_of, read
from null521.settings import TABLE

GOOD: list[tuple[str, str, object]] = [
    ("listen", "127.0.0.1:25", ("127.0.0.1:25",)),
    ("max-connections", "1", 1),
    ("max-per-client", "100", 100),
    ("max-tls", "0", 0),
    ("memory-limit", "0", 0),
    ("log-budget", "1", 1),
    ("exit-idle", "0", 0.0),
    ("grace", "2.5", 2.5),
    ("proxy-protocol", "192.0.2.1", (ip_network("192.0.2.1/32"),)),
    ("metrics", "[::1]:9521", ("[::1]:9521",)),
]
MORE_GOOD: list[tuple[str, str, object]] = [
    ("listen", "*:25", ("*:25",)),
    ("listen", "/run/null521/socket", ("/run/null521/socket",)),
    ("listen", "[::1]:25, 127.0.0.1:0 ,/s", ("[::1]:25", "127.0.0.1:0", "/s")),
    ("listen", "", ()),
    ("listen", "255.255.255.255:65535", ("255.255.255.255:65535",)),
    ("listen", "/" + "x" * 106, ("/" + "x" * 106,)),  # 107 octets: unix(7)
    ("listen", " ".join(["/s"] * 64), ("/s",) * 64),
    ("listen", "*:25\t*:26\n", ("*:25", "*:26")),
    ("max-tls", "500", 500),
    ("memory-limit", "268435456", 2**28),
    ("log-budget", "1073741824", 2**30),
    ("exit-idle", "3600", 3600.0),
    ("grace", "0", 0.0),
    ("proxy-protocol", "", ()),
    (
        "proxy-protocol",
        "10.0.0.0/8,2001:db8::/32 ::1",
        (ip_network("10.0.0.0/8"), ip_network("2001:db8::/32"), ip_network("::1/128")),
    ),
    ("metrics", "", ()),
    ("metrics", "*:9521", ("*:9521",)),
]

PLACES = ["25", ":25", "localhost:25", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "::1:25"]
PLACES += ["[127.0.0.1]:25", "[::1]", "127.0.0.1:-1", "127.0.0.1:٣", "127.0.0.1:2_5", "[*]:25"]
BAD = [
    (
        "listen",
        [
            *PLACES,
            "/" + "é" * 54,
            "socket",
            "/" + "x" * 107,
            "/\udcff",
            "/\x1b",
            "/s nowhere",
            "/s " * 65,
        ],
    ),
    ("max-connections", ["", "0", "many"]),
    ("max-per-client", ["0", "-1"]),
    ("max-tls", ["", "-1", "00", "1.5", "1073741825"]),
    ("memory-limit", ["", "-1", "00", "256M", "1073741825"]),
    ("log-budget", ["", "0", "-1", "1.5", "1073741825"]),
    ("exit-idle", ["", "-1", "3601", "never", "00", "1e3"]),
    ("grace", ["", "nan", "3601"]),
    ("proxy-protocol", ["yes", "192.0.2.1/24", "192.0.2.256", "192.0.2.1:25", "2001:db8::/129"]),
    ("metrics", [*PLACES, "/run/metrics", "127.0.0.1:1 127.0.0.1:2"]),
]


def test_the_examples_cover_every_setting() -> None:
    assert [name for name, _, _ in GOOD] == [name for name, _ in BAD] == list(MORE)
    assert list(read([], {}).table) == [*TABLE, *MORE]


@pytest.mark.parametrize(("name", "given", "expected"), GOOD + MORE_GOOD)
def test_good_values(name: str, given: str, expected: object) -> None:
    for settings in (read([], {variable(name): given}), read([f"--{name}={given}"], {})):
        assert value(settings, name) == expected
        assert settings.faults == []


@pytest.mark.parametrize(
    ("name", "given"), [(name, bad) for name, all_bad in BAD for bad in all_bad]
)
def test_bad_values_are_one_line_each_and_leave_the_default(name: str, given: str) -> None:
    for settings in (read([], {variable(name): given}), read([f"--{name}={given}"], {})):
        assert value(settings, name) == value(read([], {}), name)
        (fault,) = settings.faults
        assert "but should be" in fault
        assert fault.isprintable()
        assert len(fault) < 250


def test_defaults() -> None:
    settings = read([], {})
    assert {name: value(settings, name) for name in MORE} == {
        "listen": (),
        "max-connections": 10000,
        "max-per-client": 100,
        "max-tls": 0,
        "memory-limit": 0,
        "log-budget": 24000,
        "exit-idle": 0.0,
        "grace": 5.0,
        "proxy-protocol": (),
        "metrics": (),
    }


@pytest.mark.parametrize(
    ("name", "right"),
    [
        (
            "listen",
            "ADDRESS:PORT, [ADDRESS]:PORT, *:PORT for all addresses, or /PATH; or several",
        ),
        ("metrics", "ADDRESS:PORT, [ADDRESS]:PORT, *:PORT for all addresses, or nothing"),
        ("grace", "seconds, at most 3600"),
        ("proxy-protocol", "IP addresses or networks, as 192.0.2.1 or 2001:db8::/32, or nothing"),
        ("max-connections", "a whole number from 1 to 1073741824"),
        ("max-tls", "a whole number, at most 1073741824"),
    ],
)
def test_a_fault_says_what_is_valid(name: str, right: str) -> None:
    assert read([f"--{name}=x"], {}).faults == [f"--{name} is 'x', but should be {right}"]


@pytest.mark.parametrize(
    ("word", "place"),
    [
        ("192.0.2.1:25", ("192.0.2.1", 25)),
        ("[2001:db8::1]:0", ("2001:db8::1", 0)),
        ("*:65535", ("", 65535)),
        ("0.0.0.0:000000025", ("0.0.0.0", 25)),
        # A single bracket, and ports that int() would accept.
        ("[::1:25", None),
        ("::1]:25", None),
        ("[]:25", None),
        ("*:", None),
        ("*", None),
        ("*:+1", None),
        ("*:²", None),
        ("*:65536", None),
        # Nine digits are read as a number, ten are not.
        ("*:000070000", None),
        ("*:0000000025", None),
        ("*:0000070000", None),
        ("", None),
        (":", None),
    ],
)
def test_address_and_port(word: str, place: tuple[str, int] | None) -> None:
    assert address_of(word) == place


def test_one_of_several_places_is_invalid() -> None:
    settings = read(["--listen=*:25", "--listen=nowhere"], {})
    assert settings.listen == ("*:25",)
    (fault,) = settings.faults
    assert fault.startswith("--listen is '*:25 nowhere', but should be ADDRESS:PORT")


def test_listen_may_be_repeated_and_wins_over_the_environment() -> None:
    environ = {"NULL521_LISTEN": "127.0.0.9:25"}
    assert read([], environ).listen == ("127.0.0.9:25",)
    settings = read(["--listen=127.0.0.1:25", "--listen", "[::1]:25 /s"], environ)
    assert settings.listen == ("127.0.0.1:25", "[::1]:25", "/s")
    assert settings.faults == []


def test_the_settings_of_one_connection_are_taken_as_well() -> None:
    settings = read(["--refuse-at=rcpt", "--idle-timeout=0"], {"NULL521_HOSTNAME": "h.example"})
    assert (settings.refuse_at, settings.hostname) == ("rcpt", "h.example")
    assert settings.text == "h.example is configured NOT to accept any mail."
    (fault,) = settings.faults
    assert fault.startswith("--idle-timeout is '0', but should be seconds, more than 0 ")


@given(st.text(max_size=300), st.sampled_from(list(MORE)))
def test_any_text_is_a_value_or_a_fault(given: str, name: str) -> None:
    settings = read([f"--{name}={given}"], {})
    assert all(fault.isprintable() for fault in settings.faults)


@given(st.text("0123456789.:[]*/abcdef", max_size=40))
def test_any_text_is_an_address_or_none(text: str) -> None:
    found = address_of(text)
    assert found is None or (0 <= found[1] <= 65535)
