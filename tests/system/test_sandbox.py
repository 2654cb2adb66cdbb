"""What a program that an attacker has taken over can do inside each unit: nothing."""

from collections.abc import Iterator

import pytest
from helpers.host import PAIRS, taken_over
from helpers.namespaces import Systemd

# What docs/operating.md says is not refused, and why.
ALLOWED = {"anything below /usr/lib"}


@pytest.fixture(scope="module")
def systemd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Systemd]:
    with Systemd(tmp_path_factory.mktemp("systemd") / "host") as host:
        host.make("install")
        yield host


@pytest.mark.parametrize("pair", PAIRS)
def test_all_that_a_hostile_program_tries_is_refused(systemd: Systemd, pair: str) -> None:
    # As docs/operating.md advises: without TCP Fast Open, nothing is left that connects.
    systemd.run(["sh", "-c", NO_FAST_OPEN])
    connections, lines = taken_over(systemd, pair)
    assert len(lines) > 100
    succeeded = {line["tried"] for line in lines if not line["refused"]}
    assert succeeded <= ALLOWED, [line for line in lines if not line["refused"]]
    assert connections == 0
    # By the sandbox, not by chance: these would otherwise work, or fail in another way.
    errors = {line["tried"]: line["refused"] for line in lines}
    for tried in (
        "connect the client's socket to AF_UNSPEC",
        "listen with the client's socket, after shutdown",
        "connect to journald by AF_UNIX",
        "fork",
        "ptrace itself",
        "memfd_create",
    ):
        assert errors[tried] == "ENOSYS", tried
    assert errors["anything below /usr/bin"] == "EACCES"


# /proc/sys is read-only in there.
NO_FAST_OPEN = "mount -t proc proc /mnt && echo 0 >/mnt/sys/net/ipv4/tcp_fastopen; umount /mnt"
