"""The manifests for Kubernetes: they match its schema, and their parts match each other."""

import copy
from typing import Any

import kubernetes_validate
import pytest
import yaml
from helpers.namespaces import TREE

from null521.serve.settings import ServeSettings

MANIFESTS = {
    name: list(yaml.safe_load_all((TREE / "units" / name).read_text()))
    for name in ("kubernetes.yaml", "kubernetes-sidecar.yaml")
}
RESOURCES = [
    pytest.param(resource, id=f"{name}, {resource['kind']}")
    for name, resources in MANIFESTS.items()
    for resource in resources
]

PODS = {
    name: workload["spec"].get("template", workload)
    for name, (_, workload, *_) in MANIFESTS.items()
}

# The first version in which preStop may sleep without a feature gate.
OLDEST = "1.30"
VERSIONS = [OLDEST, kubernetes_validate.latest_version()]


def native(pod: dict[str, Any]) -> dict[str, Any]:
    """The Pod with null521 as a native sidecar, as docs/operating.md describes it."""
    pod = copy.deepcopy(pod)
    sidecar = pod["spec"]["containers"].pop()
    assert sidecar["name"] == "null521"
    pod["spec"]["initContainers"] = [sidecar | {"restartPolicy": "Always"}]
    return pod


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("resource", RESOURCES)
def test_a_resource_matches_the_schema(resource: dict[str, Any], version: str) -> None:
    kubernetes_validate.validate(resource, version, strict=True)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_native_sidecar_matches_the_schema(version: str) -> None:
    kubernetes_validate.validate(native(PODS["kubernetes-sidecar.yaml"]), version, strict=True)


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
    pod = PODS[name]
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


def violations(pod: dict[str, Any]) -> list[str]:
    """What the Pod Security Standards' level "restricted" forbids, of what a manifest could have.

    Source: https://kubernetes.io/docs/concepts/security/pod-security-standards/
    """
    spec = pod["spec"]
    volumes = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image"}
    volumes |= {"persistentVolumeClaim", "projected", "secret"}
    found = [key for key in ("hostNetwork", "hostPID", "hostIPC") if spec.get(key)]
    found += [f"volume {v['name']}" for v in spec.get("volumes", []) if not v.keys() & volumes]
    for container in spec["containers"] + spec.get("initContainers", []):
        context = spec.get("securityContext", {}) | container.get("securityContext", {})
        capabilities = context.get("capabilities", {})
        allowed = {
            "allowPrivilegeEscalation": context.get("allowPrivilegeEscalation") is False,
            "capabilities": "ALL" in capabilities.get("drop", []),
            "added capabilities": set(capabilities.get("add", [])) <= {"NET_BIND_SERVICE"},
            "hostPort": not any(port.get("hostPort") for port in container.get("ports", [])),
            "privileged": not context.get("privileged"),
            "procMount": context.get("procMount", "Default") == "Default",
            "runAsNonRoot": context.get("runAsNonRoot") is True,
            "runAsUser": context.get("runAsUser") != 0,
            "seccompProfile": context.get("seccompProfile", {}).get("type")
            in ("RuntimeDefault", "Localhost"),
            "seLinuxOptions, sysctls or AppArmor": not context.keys()
            & {"seLinuxOptions", "sysctls", "appArmorProfile"},
        }
        found += [f"{container['name']}: {key}" for key, value in allowed.items() if not value]
    return found


@pytest.mark.parametrize("name", PODS)
def test_a_pod_is_allowed_where_the_level_is_restricted(name: str) -> None:
    """The example application too, so that the manifest can be applied as it is."""
    assert violations(PODS[name]) == []
    assert violations(native(PODS[name])) == []


def test_violations_are_found() -> None:
    pod = copy.deepcopy(PODS["kubernetes-sidecar.yaml"])
    del pod["spec"]["securityContext"]["seccompProfile"]
    pod["spec"]["containers"][0]["securityContext"] = {"capabilities": {"add": ["NET_ADMIN"]}}
    pod["spec"]["volumes"] = [{"name": "logs", "hostPath": {"path": "/var/log"}}]
    assert violations(pod) == [
        "volume logs",
        "web: allowPrivilegeEscalation",
        "web: capabilities",
        "web: added capabilities",
        "web: seccompProfile",
        "null521: seccompProfile",
    ]


@pytest.mark.parametrize("name", PODS)
def test_sessions_can_end_before_the_pod_is_killed(name: str) -> None:
    """The time that the Pod has is more than that of preStop and the grace time together."""
    spec = PODS[name]["spec"]
    (container,) = (c for c in spec["containers"] if c["name"] == "null521")
    env = {variable["name"]: variable["value"] for variable in container["env"]}
    grace = float(env.get("NULL521_GRACE", ServeSettings().grace))
    sleep = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert sleep >= 15  # a balancer that checks every 5 s and needs two failures
    assert spec["terminationGracePeriodSeconds"] > sleep + grace
