"""What a page of metrics is made of, without a server."""

from types import SimpleNamespace
from typing import cast

from prometheus_client import CollectorRegistry
from prometheus_client.process_collector import ProcessCollector

from null521.serve.clients import Clients
from null521.serve.metrics import OwnProcess, by_state


def test_a_connection_has_one_state() -> None:
    tls = {"handshake": 2, "secured": 3}
    clients = SimpleNamespace(open=9, lingering=1, tls_by_state=lambda: tls)
    found = by_state(cast(Clients, clients))
    assert found == {"clear": 4, "handshake": 2, "secured": 3, "lingering": 1}


def test_the_process_is_seen_without_the_time_of_the_boot_in_proc_stat() -> None:
    """The values are those of the library, which needs /proc/stat, and has nothing without it."""
    ours = OwnProcess(registry=CollectorRegistry())
    theirs = ProcessCollector(registry=CollectorRegistry())
    assert {metric.name for metric in ours.collect()} == {m.name for m in theirs.collect()}
    started = [
        sample.value
        for collector in (ours, theirs)
        for metric in collector.collect()
        for sample in metric.samples
        if sample.name == "process_start_time_seconds"
    ]
    assert len(started) == 2
    assert abs(started[0] - started[1]) < 2
