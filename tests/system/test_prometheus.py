"""Debian's Prometheus scrapes the resident unit while senders and scanners call.

All of docs/prometheus is used as it is: the rules, their test, and each query of the dashboard. The
job and the unit's drop-in are those of docs/operating.md. scripts/prepare unpacks prometheus and
promtool. They run beside the unit, in the network of that host alone.
"""

import contextlib
import json
import math
import re
import subprocess
import textwrap
import time
import urllib.parse
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from helpers.host import dial, settings, shown
from helpers.namespaces import TEST_TIMEOUT, TREE, Systemd

INSIDE = "/srv/null521"  # where the tree is
BINARIES = "build/superservers/prometheus/usr/bin"
FOLDER = TREE / "docs" / "prometheus"
DASHBOARD = json.loads((FOLDER / "dashboard.json").read_text())
RULES = yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"][0]["rules"]
_, _, MANUAL = (TREE / "docs/operating.md").read_text().partition("\n## Metrics\n")
MANUAL = MANUAL.partition("\n## ")[0]

SERVICE = "null521-serve.service"
JOB = "127.0.0.1:9521"
API, READY = "http://127.0.0.1:9090/api/v1", "http://127.0.0.1:9090/-/ready"

SILENT = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}

# Grafana's variables, as for a dashboard that shows the last minute of a host scraped each second.
VARIABLES = {"$__rate_interval": "10s", "$__range": "60s", "$instance": ".*"}

# Scanners: one that says no TLS after STARTTLS, and more connections from one address than may be.
MOST = 8
BREAKING_OFF = r"""
import socket
client = socket.create_connection(("127.0.0.1", 25), 20)
client.sendall(b"STARTTLS\r\n")
while not client.recv(100).endswith(b"TLS\r\n"): pass
client.sendall(b"GET / HTTP/1.0\r\n\r\n")
client.recv(100)
"""
CROWD = f"""
import socket
source = "127.0.0.9", 0
ends = [socket.create_connection(("127.0.0.1", 25), 20, source) for _ in range({2 * MOST})]
for end in ends: end.recv(100)
"""

# Each of these calls again and again.
MAIL = "curl --silent --mail-from ann@example.net --mail-rcpt bob@canon.example"
CALLERS = (
    "swaks --server 127.0.0.1 --from ann@example.net --to bob@canon.example",
    f"{MAIL} --upload-file /etc/hostname smtp://127.0.0.1/example.net",
    f"{MAIL} --ssl-reqd --insecure --upload-file /etc/hostname smtp://127.0.0.1/example.net",
    "curl --silent http://127.0.0.1:25/",
    f"{Systemd.python} -c '{BREAKING_OFF}'",
    f"{Systemd.python} -c '{CROWD}'",
)


def command(name: str) -> str:
    """The path inside of prometheus or promtool."""
    return f"{INSIDE}/{BINARIES}/{name}"


def job() -> str:
    """What docs/operating.md adds to prometheus.yml."""
    found = re.search(r"^    rule_files:.*\n(?:    .*\n)+", MANUAL, re.M)
    assert found
    return textwrap.dedent(found[0])


Series = list[tuple[dict[str, str], float]]  # labels and value of each


class Prometheus:
    """One that has scraped a host for a while, and is asked by the API that Grafana uses."""

    def __init__(self, host: Systemd) -> None:
        self.host = host

    def ask(self, path: str, **parameters: Any) -> Any:
        """The data of a response."""
        url = f"{API}/{path}?{urllib.parse.urlencode(parameters)}"
        said = self.host.output("curl", "--silent", url)
        answer = json.loads(said)
        assert answer["status"] == "success", answer
        return answer["data"]

    def query(self, expression: str) -> Series:
        """What the expression has now."""
        found = self.ask("query", query=expression)["result"]
        return [(series["metric"], float(series["value"][1])) for series in found]

    def until(self, expression: str) -> Series:
        """What it has, once it has a value; it has none after a scrape that took too long."""
        deadline = time.monotonic() + 3 * TEST_TIMEOUT  # a busy machine, and ten scrapes
        while not (found := self.query(expression)):
            assert time.monotonic() < deadline, expression
            time.sleep(0.2)
        return found


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """It has scraped a host ten times on which senders and scanners call."""
    with Systemd(tmp_path_factory.mktemp("prometheus") / "host") as host:
        host.make("install")
        host.run(["systemctl", "enable", "--quiet", "--now", "null521-serve.socket"])
        drop_in = re.findall(r"^    (\w+=.*)$", MANUAL, re.M)
        settings(host, SERVICE, *drop_in, f"Environment=NULL521_MAX_PER_CLIENT={MOST}")
        dial(host)
        conf = f"global: {{scrape_interval: 1s, evaluation_interval: 1s}}\n{job()}"
        host.run(["mkdir", "/run/prometheus"])
        host.run(["cp", f"{INSIDE}/docs/prometheus/alerts.yml", "/run/prometheus"])
        host.run(["tee", "/run/prometheus/prometheus.yml"], input=conf.encode(), **SILENT)
        checked = [command("promtool"), "check", "config", "/run/prometheus/prometheus.yml"]
        host.run(checked, **SILENT)
        words = [command("prometheus"), "--config.file=/run/prometheus/prometheus.yml"]
        words += ["--storage.tsdb.path=/run/prometheus/data", "--log.level=warn"]
        words += ["--web.listen-address=127.0.0.1:9090"]
        with contextlib.ExitStack() as running:
            process = running.enter_context(host.popen(words))
            running.callback(process.kill)
            # It takes a moment to listen, and then answers 503 for another.
            ready = ["--retry", "20", "--retry-delay", "1", "--retry-connrefused", READY]
            host.run(["curl", "--silent", "--fail", *ready], **SILENT)
            for line in CALLERS:
                again = ["bash", "-c", f"while :; do {line}; sleep 0.5; done"]
                caller = running.enter_context(host.popen(again, **SILENT))
                running.callback(caller.kill)
            found = Prometheus(host)
            found.until(f'sum_over_time(up{{job="null521", instance="{JOB}"}}[2m]) >= 10')
            found.until('null521_turned_away_total{limit="max-per-client"} > 0')
            yield found


def promtool(prometheus: Prometheus, *words: str, **options: Any) -> tuple[int, str]:
    """Exit status and output."""
    done = prometheus.host.run(
        [command("promtool"), *words],
        **{"check": False, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, **options},
    )
    return done.returncode, done.stdout.decode()


def test_promtool_has_nothing_to_say_of_the_metrics(prometheus: Prometheus) -> None:
    page = prometheus.host.output("curl", "--silent", "--fail", f"http://{JOB}/metrics").encode()
    assert promtool(prometheus, "check", "metrics", input=page) == (0, "")
    bad = page.replace(b"# HELP null521_commands_total", b"# HELP null521_other_total")
    assert promtool(prometheus, "check", "metrics", input=bad)[0] != 0


def test_the_rules_are_valid_and_fire_when_they_should(prometheus: Prometheus) -> None:
    """alerts.test.yml has a case for each rule."""
    places = [f"{INSIDE}/docs/prometheus/{name}" for name in ("alerts.yml", "alerts.test.yml")]
    status, said = promtool(prometheus, "check", "rules", places[0])
    assert (status, f"SUCCESS: {len(RULES)} rules found" in said) == (0, True), said
    status, said = promtool(prometheus, "test", "rules", places[1])
    assert (status, "SUCCESS" in said) == (0, True), said


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_each_metric_of_a_rule_is_scraped(prometheus: Prometheus, rule: dict[str, Any]) -> None:
    """Otherwise it could never fire, whatever its own test says."""
    selectors = re.findall(r"\b(?:null521|process)_\w+(?:{.*?})?|\bup{.*?}", rule["expr"])
    assert selectors
    for selector in selectors:
        prometheus.until(selector)
    groups = prometheus.ask("rules")["groups"]
    (loaded,) = (each for each in groups[0]["rules"] if each["name"] == rule["alert"])
    assert loaded["health"] == "ok", loaded


QUERIES = [
    pytest.param(target["expr"], id=f"{panel['title']} {target['refId']}")
    for panel in DASHBOARD["panels"]
    for target in panel["targets"]
]


def shown_in(expression: str) -> str:
    """The query that Grafana makes of it."""
    for variable, value in VARIABLES.items():
        expression = expression.replace(variable, value)
    assert "$" not in expression
    return expression


@pytest.mark.parametrize("expression", QUERIES)
def test_each_query_of_the_dashboard_has_data(prometheus: Prometheus, expression: str) -> None:
    found = prometheus.until(shown_in(expression))
    for labels, value in found:
        print(f"{value:14.6g} {', '.join(labels.values())}")
    assert all(math.isfinite(value) for _, value in found)


def test_the_dashboard_offers_each_instance(prometheus: Prometheus) -> None:
    (variable,) = (v for v in DASHBOARD["templating"]["list"] if v["name"] == "instance")
    asked = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["definition"])
    assert asked
    metric, label = asked.groups()
    assert variable["query"]["query"] == variable["definition"]
    assert prometheus.ask(f"label/{label}/values", **{"match[]": metric}) == [JOB]


def test_the_dashboard_can_be_imported() -> None:
    """The user picks the source of data, and no panel overlaps another."""
    assert DASHBOARD["schemaVersion"] >= 36
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        for part in (panel, *panel["targets"]):
            assert part["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        place = panel["gridPos"]
        columns = range(place["x"], place["x"] + place["w"])
        cells = {(x, place["y"] + y) for x in columns for y in range(place["h"])}
        assert max(columns) < 24
        assert not taken & cells
        taken |= cells
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))


def test_what_was_seen(prometheus: Prometheus) -> None:
    """Of each kind of client something, and the limits are those of the unit."""
    for expression in (
        'null521_connections_total{ending="quit"} > 5',
        'null521_connections_total{ending="tls"} > 0',
        "null521_mail_sessions_total > 5",
        "sum(null521_connections_total) > 2 * sum(null521_mail_sessions_total)",
        'null521_tls_handshakes_total{result="done"} > 0',
        'null521_tls_handshakes_total{result="failed"} > 0',
        'null521_turned_away_total{limit="max-per-client"} > 0',
        f'null521_limit_connections{{limit="max-per-client"}} == {MOST}',
        "null521_certificate_usable == 1",
        "process_resident_memory_bytes > 1e7",
        "process_resident_memory_bytes / null521_memory_limit_bytes < 0.5",
        "abs(process_start_time_seconds - time()) < 300",
        "null521_records_dropped_total == 0",
    ):
        prometheus.until(expression)
    ((_, limit),) = prometheus.until("null521_memory_limit_bytes")
    assert limit == int(shown(prometheus.host, SERVICE, "MemoryMax"))
    words = ["openssl", "x509", "-noout", "-enddate", "-in", "/etc/null521/tls-cert.pem"]
    _, _, end = prometheus.host.output(*words).strip().partition("=")
    ((_, moment),) = prometheus.until("null521_certificate_expiry_timestamp_seconds")
    assert time.strftime("%b %e %H:%M:%S %Y GMT", time.gmtime(moment)) == end


def test_a_server_that_is_down_is_noticed(prometheus: Prometheus) -> None:
    prometheus.until('absent(ALERTS{alertname="Null521Down"})')
    prometheus.host.run(["systemctl", "stop", "null521-serve.socket", SERVICE])
    prometheus.until('ALERTS{alertname="Null521Down", alertstate="pending"}')
    prometheus.host.run(["systemctl", "start", "null521-serve.socket"])
    dial(prometheus.host)
    prometheus.until("up == 1")
