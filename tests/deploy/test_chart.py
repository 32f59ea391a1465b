"""The Helm chart as Helm itself renders it: valid for Kubernetes, and true to the server."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import synaptoroute
from synaptoroute.server import ServerSettings
from tests.deploy.dockerfile import IMAGE_STAGE, ROOT, only
from tests.deploy.promised import PREFIX, is_answered, serve_options, variables

CHART = ROOT / "deploy" / "helm" / "synaptoroute"
KEYS = {"auth": {"existingSecret": "keys"}}
ROUTES = "version: 1\nroutes:\n  - name: billing\n    utterances:\n      - pay my bill\n"
#: What people would set, each with the workload that comes of it.
VALUES: dict[str, tuple[str, dict[str, Any]]] = {
    "sqlite": ("StatefulSet", KEYS),
    "sqlite-redis": (
        "StatefulSet",
        KEYS
        | {
            "replicaCount": 3,
            "redis": {"enabled": True, "existingSecret": "redis", "signingKey": "signing"},
            "store": {"kind": "sqlite", "sqlite": {"storageClass": "fast"}},
        },
    ),
    "postgres-scaled": (
        "Deployment",
        KEYS
        | {
            "store": {"kind": "postgres", "postgres": {"existingSecret": "postgres"}},
            "autoscaling": {"enabled": True},
            "metrics": {"serviceMonitor": {"enabled": True, "existingSecret": "scraper", "labels": {"team": "a"}}},
            "networkPolicy": {"egress": [{"ports": [{"port": 5432, "protocol": "TCP"}]}]},
            "settings": {"max_body_bytes": 10485760, "rate_limit": "100/second", "access_log": True},
            "env": [
                {
                    "name": "SYNAPTOROUTE_RATE_LIMIT_STORAGE",
                    "valueFrom": {"secretKeyRef": {"name": "redis", "key": "url"}},
                }
            ],
            "image": {"repository": "registry.example.org/synaptoroute", "digest": "sha256:" + "a" * 64},
        },
    ),
    "memory-watch": (
        "Deployment",
        KEYS
        | {
            "replicaCount": 2,
            "store": {"kind": "memory"},
            "routes": {"inline": ROUTES, "watch": True, "prune": True},
            "autoscaling": {"enabled": True, "metric": "cpu"},
            "nodeSelector": {"kubernetes.io/arch": "amd64"},
            "tolerations": [{"operator": "Exists"}],
            "podAnnotations": {"a": "b"},
        },
    ),
}  # fmt: skip
#: Kinds that Kubernetes itself does not know.
CUSTOM = {"ServiceMonitor"}
TMP = "/tmp"  # noqa: S108 - of the container


@pytest.fixture(scope="module")
def helm() -> Any:
    return pytest.importorskip("helm_python", reason="Helm is not installed; make test-all installs it as a package")


def rendered(helm: Any, values: dict[str, Any]) -> dict[str, str]:
    with helm.Chart.load(str(CHART)) as chart:
        texts: dict[str, str] = chart.render(values, name="demo", namespace="prod")
    return {Path(name).name: text for name, text in texts.items()}


def documents(texts: dict[str, str]) -> Iterator[dict[str, Any]]:
    for name, text in texts.items():
        if name.endswith(".yaml"):
            yield from filter(None, yaml.safe_load_all(text))


@pytest.fixture(params=VALUES, scope="module")
def case(request: pytest.FixtureRequest, helm: Any) -> tuple[str, dict[str, Any], dict[str, str]]:
    kind, values = VALUES[request.param]
    return kind, values, rendered(helm, values)


def by_kind(texts: dict[str, str]) -> dict[str, dict[str, Any]]:
    """The documents by kind; config maps by their name as well."""
    found: dict[str, dict[str, Any]] = {}
    for document in documents(texts):
        found.setdefault(document["kind"], document)
        found[f"{document['kind']}/{document['metadata']['name']}"] = document
    return found


def pod_of(kind: str, texts: dict[str, str]) -> dict[str, Any]:
    pod: dict[str, Any] = by_kind(texts)[kind]["spec"]["template"]
    return pod


# ------------------------------------------------------------------------------------- without Helm itself
def test_the_chart_is_of_this_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["appVersion"] == synaptoroute.__version__


def test_settings_that_may_be_given_are_those_of_the_server_but_for_secrets_and_the_charts_own() -> None:
    script = ROOT / "scripts" / "update_chart.py"
    done = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    schema = json.loads((CHART / "values.schema.json").read_text())
    allowed = set(schema["properties"]["settings"]["propertyNames"]["enum"])
    assert {"postgres", "redis", "redis_key", "keys", "rate_limit_storage"}.isdisjoint(allowed), "secrets stay out"


def test_every_value_is_in_the_schema() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())

    def compare(values: dict[str, Any], properties: dict[str, Any], path: str) -> None:
        for key, value in values.items():
            assert key in properties, f"{path}{key} is not in the schema"
            if isinstance(value, dict) and "properties" in properties[key]:
                compare(value, properties[key]["properties"], f"{path}{key}.")

    compare(yaml.safe_load((CHART / "values.yaml").read_text()), schema["properties"], "")


# ------------------------------------------------------------------------------------------------ with Helm
def test_its_own_linter_is_content(helm: Any) -> None:
    for _, values in VALUES.values():
        found = helm.lint(str(CHART), values)
        assert found["errors"] == []
        # 2 and more are warnings and errors.
        assert [message for message in found["messages"] if message["severity"] > 1] == []


@pytest.mark.parametrize("version", ["1.27", "1.30", "1.34"])
def test_kubernetes_takes_every_document(case: Any, version: str) -> None:
    validating = pytest.importorskip("kubernetes_validate", reason="make test-all installs kubernetes-validate")
    checked = 0
    for document in documents(case[2]):
        if document["kind"] not in CUSTOM:
            validating.validate(document, version, strict=True)
            checked += 1
    assert checked >= 5


def test_what_is_rendered_is_tidy(case: Any) -> None:
    linter = pytest.importorskip("yamllint.linter", reason="make test-all installs yamllint")
    from yamllint.config import YamlLintConfig

    loose = ("line-length: disable", "empty-lines: disable", "trailing-spaces: disable")
    rules = f"extends: relaxed\nrules: {{{', '.join(loose)}, indentation: {{indent-sequences: whatever}}}}"
    for name, text in case[2].items():
        if name.endswith(".yaml"):
            assert [str(problem) for problem in linter.run(text, YamlLintConfig(rules))] == [], name


def test_the_server_takes_its_arguments_and_variables(case: Any) -> None:
    kind, _, texts = case
    (container,) = pod_of(kind, texts)["spec"]["containers"]
    assert {argument.partition("=")[0] for argument in container["args"]} <= serve_options()
    config = by_kind(texts)["ConfigMap/demo-synaptoroute"]["data"]
    assert {*config, *(each["name"] for each in container["env"])} <= variables()
    assert container["envFrom"] == [{"configMapRef": {"name": "demo-synaptoroute"}}]


def test_the_settings_are_accepted_by_the_server(case: Any) -> None:
    config = by_kind(case[2])["ConfigMap/demo-synaptoroute"]["data"]
    given = {name.removeprefix(PREFIX).lower(): value for name, value in config.items()}
    settings = ServerSettings.model_validate(given)
    for name, value in case[1].get("settings", {}).items():
        assert getattr(settings, name) == value, "large numbers come through as they were written"


def test_a_pod_is_given_the_time_that_the_server_takes_to_end(case: Any) -> None:
    kind, _, texts = case
    config = by_kind(texts)["ConfigMap/demo-synaptoroute"]["data"]
    ends = float(config["SYNAPTOROUTE_SHUTDOWN_GRACE_S"]) + float(config["SYNAPTOROUTE_DRAIN_S"])
    assert pod_of(kind, texts)["spec"]["terminationGracePeriodSeconds"] >= ends + 5


def test_probes_ask_paths_that_are_there(case: Any) -> None:
    kind, _, texts = case
    (container,) = pod_of(kind, texts)["spec"]["containers"]
    asked = {probe: container[f"{probe}Probe"]["httpGet"] for probe in ("startup", "readiness", "liveness")}
    assert asked["readiness"]["path"] == "/readyz"
    assert asked["liveness"]["path"] == asked["startup"]["path"] == "/livez"
    assert all(is_answered(each["path"]) for each in asked.values())
    (port,) = container["ports"]
    assert {each["port"] for each in asked.values()} == {port["name"]}
    assert f"--port={port['containerPort']}" in container["args"]


def test_pods_have_no_more_rights_than_the_image_needs(case: Any) -> None:
    kind, _, texts = case
    spec = pod_of(kind, texts)["spec"]
    (container,) = spec["containers"]
    user = int(only(IMAGE_STAGE, "USER").rest.partition(":")[0])
    assert (spec["securityContext"]["runAsUser"], spec["securityContext"]["fsGroup"]) == (user, user)
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert (spec["automountServiceAccountToken"], spec["enableServiceLinks"]) == (False, False)
    for limit in ("cpu", "memory"):
        assert limit in container["resources"]["limits"]


def test_what_is_written_to_is_mounted_and_every_mount_has_its_volume(case: Any) -> None:
    kind, _, texts = case
    workload, spec = by_kind(texts)[kind]["spec"], pod_of(kind, texts)["spec"]
    (container,) = spec["containers"]
    mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
    (volume,) = only(IMAGE_STAGE, "VOLUME").words
    assert {volume, TMP} <= set(mounts)
    claims = {claim["metadata"]["name"] for claim in workload.get("volumeClaimTemplates", [])}
    names = claims | {each["name"] for each in spec["volumes"]}
    assert {mount["name"] for mount in mounts.values()} == names
    for argument in container["args"]:
        name, _, value = argument.partition("=")
        if name in {"--db", "--routes"}:
            assert str(Path(value).parent) in mounts
    assert "subPath" not in json.dumps(container["volumeMounts"])


def test_secrets_are_only_referred_to(case: Any) -> None:
    assert "Secret" not in by_kind(case[2])
    kind, _, texts = case
    (container,) = pod_of(kind, texts)["spec"]["containers"]
    for each in container["env"]:
        if each["name"] != "SYNAPTOROUTE_KEYS_FILE":
            assert "secretKeyRef" in each["valueFrom"], each["name"]


def test_selectors_find_the_pods(case: Any) -> None:
    kind, _, texts = case
    found = by_kind(texts)
    labels = pod_of(kind, texts)["metadata"]["labels"].items()
    selectors = [found[kind]["spec"]["selector"]["matchLabels"], found["Service"]["spec"]["selector"]]
    for other, place in (("NetworkPolicy", "podSelector"), ("PodDisruptionBudget", "selector")):
        if other in found:
            selectors.append(found[other]["spec"][place]["matchLabels"])
    for selector in selectors:
        assert selector.items() <= labels
    if "HorizontalPodAutoscaler" in found:
        target = found["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]
        assert (target["kind"], target["name"]) == (kind, found[kind]["metadata"]["name"])
        assert "replicas" not in found[kind]["spec"], "or every upgrade would undo the scaling"
    if "ServiceMonitor" in found:
        assert found["ServiceMonitor"]["spec"]["selector"]["matchLabels"].items() <= dict(labels).items()


def test_a_service_monitor_asks_for_what_the_server_has(helm: Any) -> None:
    (endpoint,) = by_kind(rendered(helm, VALUES["postgres-scaled"][1]))["ServiceMonitor"]["spec"]["endpoints"]
    assert endpoint["authorization"]["credentials"] == {"name": "scraper", "key": "token"}
    assert is_answered(endpoint["path"])


def test_the_routes_that_are_given_come_to_the_server(helm: Any, tmp_path: Path) -> None:
    from synaptoroute.route_files import read_routes

    found = by_kind(rendered(helm, VALUES["memory-watch"][1]))
    file = tmp_path / "routes.yaml"
    file.write_text(found["ConfigMap/demo-synaptoroute-routes"]["data"]["routes.yaml"])
    assert [route.name for route in read_routes(file)] == ["billing"]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "auth.existingSecret is not set"),
        (KEYS | {"replicaCount": 2}, "set redis.enabled, or store.kind postgres"),
        (KEYS | {"autoscaling": {"enabled": True}}, "set redis.enabled, or store.kind postgres"),
        (KEYS | {"store": {"kind": "postgres"}}, "store.postgres.existingSecret is not set"),
        (KEYS | {"redis": {"enabled": True}}, "redis.existingSecret is not set"),
        (KEYS | {"store": {"kind": "memory"}}, "there would be no routes"),
        (KEYS | {"routes": {"watch": True}}, "routes.watch needs"),
        (KEYS | {"routes": {"inline": ROUTES, "prune": True}}, "routes.prune goes with"),
        (KEYS | {"routes": {"inline": ROUTES, "existingConfigMap": "a"}}, "not both"),
        (KEYS | {"metrics": {"serviceMonitor": {"enabled": True}}}, "serviceMonitor.existingSecret is not set"),
        (KEYS | {"store": {"kind": "mysql"}}, "store"),
        (KEYS | {"settings": {"rate_limits": "1/second"}}, "rate_limits"),
        (KEYS | {"settings": {"postgres": "postgres://user:secret@host"}}, "postgres"),
        (KEYS | {"replicas": 2}, "replicas"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_installed(helm: Any, values: dict[str, Any], said: str) -> None:
    with pytest.raises(Exception, match=said):
        rendered(helm, values)
