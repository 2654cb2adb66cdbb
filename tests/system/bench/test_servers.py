"""What the benchmark compares, each answering a handful of callers, so that it does not rot.

load.c is the judge of the answers: it fails unless a recipient and DATA are refused and QUIT is
answered with 221. No figure is looked at.
"""

import xml.dom.minidom
from pathlib import Path

import picture
import pytest
import servers

from null521.record import REFUSED

ROWS = [row.name for row in servers.rows(Path())]


@pytest.fixture(scope="module", autouse=True)
def programs() -> None:
    servers.build()


@pytest.mark.parametrize("name", ROWS)
def test_each_server_refuses_its_callers(name: str, launcher: Path, tmp_path: Path) -> None:
    row = next(row for row in servers.rows(launcher) if row.name == name)
    with row.start(tmp_path / "host") as host:
        figures = servers.call(host, 20)
        if isinstance(host, servers.ServerWithJournal):
            host.wait_for(20, f"MESSAGE_ID={REFUSED}")
        if "JSON" in name:
            assert (tmp_path / "host/output").read_text().count(REFUSED) == 20
    assert figures.cpu > 0
    assert 0 < figures.greeted_p50 <= figures.answered_p99


def test_a_server_answers_beside_idle_connections(tmp_path: Path) -> None:
    with servers.Server(tmp_path / "host", servers.floor()) as host:
        alone = servers.kilobytes(host)
        with servers.held(host, 500):
            servers.call(host, 20)
            assert servers.kilobytes(host) > alone


def test_the_picture_is_well_formed_and_shows_every_server() -> None:
    drawn = picture.draw({"null521 <serve>": 5e-5, "another": 0.0191}, "One 1.0, another 2.0")
    text = xml.dom.minidom.parseString(drawn).toxml()
    for shown in ("null521 &lt;serve&gt;", "another", "0.05", "19", "One 1.0, another 2.0"):
        assert shown in text
