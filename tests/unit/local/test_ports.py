"""What listens, from the kernel's tables."""

import socket
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from null521.local import ports
from null521.local.ports import Listener

HEADING = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid"


def line(address: str, state: str = "0A", uid: int = 0, inode: int = 7) -> str:
    zeros = "00000000:00000000 00:00000000 00000000"
    return f"   0: {address} 00000000:0000 {state} {zeros} {uid:5} 0 {inode} 1 x 100 0 0 10 0"


@pytest.mark.skipif(sys.byteorder != "little", reason="the samples are from such a machine")
@pytest.mark.parametrize(
    ("printed", "address"),
    [
        ("00000000:0019", "0.0.0.0"),
        ("0100007F:0019", "127.0.0.1"),
        ("00000000000000000000000000000000:0019", "::"),
        ("00000000000000000000000001000000:0019", "::1"),
        ("B80D0120000000000000000001000000:0019", "2001:db8::1"),
    ],
)
def test_an_address_of_the_table(printed: str, address: str) -> None:
    lines = [HEADING, line(printed, uid=8, inode=9)]
    assert list(ports.parse_table(lines)) == [(address, 25, 8, 9)]


def test_only_listening_sockets_count() -> None:
    assert list(ports.parse_table([line("00000000:0019", state="01")])) == []


@given(st.lists(st.text() | st.text("0123456789ABCDEF: ")))
def test_a_damaged_table_is_no_exception(lines: list[str]) -> None:
    list(ports.parse_table(lines))


def test_a_socket_of_our_own_is_found_with_its_process() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        (found,) = (one for one in ports.look([port]) if one.port == port)
    assert (found.address, found.port, found.is_ours) == ("127.0.0.1", port, False)
    assert len(found.processes) == 1
    assert found.label == f"127.0.0.1:{port}"


def listener(address: str, **more: object) -> Listener:
    made = Listener(address, 25, 7, "root")
    for name, value in more.items():
        setattr(made, name, value)
    return made


def test_who_has_a_socket() -> None:
    assert listener("::", processes=[("exim4", 9), ("x", 10)]).holder == "exim4 (9), x (10)"
    assert "only root can see" in listener("::", hidden=True).holder
    assert "no process of this host" in listener("::").holder


@pytest.mark.parametrize(
    ("address", "targets"),
    [
        ("::", ["::1", "127.0.0.1"]),
        ("0.0.0.0", ["127.0.0.1"]),
        ("192.0.2.1", ["192.0.2.1"]),
        ("fe80::1", []),
    ],
)
def test_where_to_ask(address: str, targets: list[str]) -> None:
    assert listener(address).targets == targets


def test_a_place_of_all_addresses() -> None:
    assert listener("::").is_at([("0.0.0.0", 25)])
    assert listener("192.0.2.1").is_at([("192.0.2.1", 25)])
    assert not listener("192.0.2.1").is_at([("192.0.2.1", 26), ("::", 25)])


def test_nothing_listens() -> None:
    part = ports.judge([], [], "")
    assert part.faults == ["nothing listens on port 25, so senders queue their mail for days"]
    part = ports.judge([], [], "", answered=True)  # behind a rule of the packet filter, say
    assert (part.found, part.faults) == (["nothing listens on port 25"], [])


def test_the_port_is_taken() -> None:
    part = ports.judge([listener("::", processes=[("exim4", 9)])], [("::", 25)], "start it")
    assert part.faults == ["[::]:25 is taken by exim4 (9); stop that, then start it"]
    assert ports.judge([listener("::")], [], "").faults == []
