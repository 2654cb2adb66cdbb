"""The manifests for Kubernetes: they match its schema, and their references match each other."""

import copy
from typing import Any

import kubernetes_validate
import pytest
import yaml
from helpers.namespaces import TREE

MANIFESTS = {
    name: list(yaml.safe_load_all((TREE / "units" / name).read_text()))
    for name in ("kubernetes.yaml", "kubernetes-sidecar.yaml")
}
RESOURCES = [
    pytest.param(resource, id=f"{name}, {resource['kind']}")
    for name, resources in MANIFESTS.items()
    for resource in resources
]


# The first version in which preStop may sleep without a feature gate.
OLDEST = "1.30"


@pytest.mark.parametrize("version", [OLDEST, kubernetes_validate.latest_version()])
@pytest.mark.parametrize("resource", RESOURCES)
def test_a_resource_matches_the_schema(resource: dict[str, Any], version: str) -> None:
    kubernetes_validate.validate(resource, version, strict=True)


@pytest.mark.parametrize(
    ("key", "value"), [("readOnlyRootFileSystem", True), ("ports", [{"containerPort": "2525"}])]
)
def test_the_schema_rejects_errors(key: str, value: object) -> None:
    """An unknown key, and a value of the wrong type."""
    pod = copy.deepcopy(MANIFESTS["kubernetes-sidecar.yaml"][1])
    kubernetes_validate.validate(pod, OLDEST, strict=True)
    pod["spec"]["containers"][1][key] = value
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(pod, OLDEST, strict=True)


@pytest.mark.parametrize("name", MANIFESTS)
def test_references_exist(name: str) -> None:
    """The Service selects the Pods; the ports of Service and probes are those of a container."""
    service, workload, *others = MANIFESTS[name]
    pod = workload["spec"].get("template", workload)
    labels = pod["metadata"]["labels"]
    ports = [port for c in pod["spec"]["containers"] for port in c["ports"]]
    names = [port["name"] for port in ports]
    assert service["spec"]["selector"].items() <= labels.items()
    assert {port["targetPort"] for port in service["spec"]["ports"]} <= set(names)
    assert [port["containerPort"] for port in ports if port["name"] == "smtp"] == [2525]
    for container in pod["spec"]["containers"]:
        for probe in ("readinessProbe", "livenessProbe"):
            assert container.get(probe, {}).get("httpGet", {}).get("port", "smtp") in names
    for other in others:
        if "scaleTargetRef" in other["spec"]:
            assert other["spec"]["scaleTargetRef"]["name"] == workload["metadata"]["name"]
        else:
            assert other["spec"]["selector"] == workload["spec"]["selector"]
