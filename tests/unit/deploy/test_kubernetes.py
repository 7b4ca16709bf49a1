"""The chart and the plain manifests: valid, alike, and of settings that the product knows."""

from __future__ import annotations

import functools
import importlib.util
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import helm_python
import kubernetes_validate
import pytest
import typer
import yaml

from mishards.api.health import Health
from mishards.api.http.config import DEFAULT_PORT
from mishards.api.http.health import health_routes
from mishards.cli.main import app
from mishards.core.errors import ConfigError
from mishards.discovery.kubernetes_pods import CLUSTER_LABEL, NAME_LABEL
from mishards.discovery.kubernetes_url import parse_kubernetes_url
from mishards.server.config import Config, load_config
from mishards.testing.stepped import SteppedRuntime

DEPLOY = Path(__file__).resolve().parents[3] / "deploy"
OWN_KINDS = {"ServiceMonitor", "PrometheusRule"}
SECRETS = {
    "MISHARDS_CLUSTER_METADATA": "postgresql://user:password@host/mishards",
    "MISHARDS_CLUSTER_SECRET": "shared",
}
PLAIN: dict[str, Any] = {"secret": {"values": SECRETS}}
VARIANTS = {
    "plain": PLAIN,
    "s3": {"secret": {"existing": "mine"}, "data": {"url": "s3://bucket/prefix"}},
    "tls": {**PLAIN, "tls": {"clients": "for-clients", "nodes": "for-nodes", "http": "for-http"}},
    "all": {
        **PLAIN,
        "image": {"tag": "1", "pullSecrets": ["registry"]},
        "data": {"claim": {"existing": "theirs"}},
        "serviceAccount": {"create": False, "name": "theirs"},
        "ingress": {"enabled": True},
        "tls": {"http": "for-http"},
        "serviceMonitor": {
            "enabled": True,
            "serverName": "mishards",
            "tokenKey": "MISHARDS_HTTP_METRICS_TOKEN",
        },
        "prometheusRule": {"enabled": True, "labels": {"release": "prometheus"}},
        "networkPolicy": {"enabled": False},
        "proxy": {
            "autoscaling": {"enabled": False},
            "service": {"type": "LoadBalancer", "annotations": {"a": "b"}},
            "nodeSelector": {"disk": "fast"},
            "tolerations": [{"key": "k", "operator": "Exists"}],
        },
        "reader": {"cache": {"storageClass": "local"}},
        "writer": {"spread": "required", "replicas": 3},
        "settings": {"writer.lease_s": "5", "cluster.logs": "4"},
    },
}
Object = dict[str, Any]
COMMANDS = set(typer.main.get_group(app).commands)


def _module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("render", DEPLOY / "helm" / "render.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


RENDER = _module()


def objects(text: str) -> list[Object]:
    return [found for found in yaml.safe_load_all(text) if found]


@pytest.fixture(scope="module", params=VARIANTS)
def variant(request: pytest.FixtureRequest) -> list[Object]:
    files = RENDER.rendered(VARIANTS[request.param])
    return [found for text in files.values() for found in objects(text)]


def pods(found: list[Object]) -> Iterator[tuple[Object, Object]]:
    """The templates of Pods, with the objects they are in."""
    for one in found:
        if one["kind"] in ("Deployment", "StatefulSet"):
            yield one, one["spec"]["template"]


def settings(pod: Object, all_objects: list[Object]) -> dict[str, str]:
    """The environment of a Pod's container, as Kubernetes makes it."""
    (container,) = pod["spec"]["containers"]
    made = {"POD_NAME": "pod-0", "POD_IP": "10.0.0.1"}
    for source in container["envFrom"]:
        ((kind, reference),) = source.items()
        wanted = {"configMapRef": "ConfigMap", "secretRef": "Secret"}[kind]
        for found in all_objects:
            if (found["kind"], found["metadata"]["name"]) == (wanted, reference["name"]):
                made |= found.get("data") or found.get("stringData") or {}
    for variable in container["env"]:
        if "value" in variable:
            made[variable["name"]] = re.sub(
                r"\$\((\w+)\)", lambda match: made[match[1]], variable["value"]
            )
    return made


def config(environ: Mapping[str, str]) -> Config:
    return load_config(environ=environ).config


@pytest.fixture
def _schemas_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    read = functools.cache(kubernetes_validate.utils.schema_contents)
    monkeypatch.setattr(kubernetes_validate.utils, "schema_contents", read)


@pytest.mark.usefixtures("_schemas_read_once")
@pytest.mark.parametrize(("release", "variants"), [("1.29", ["plain"]), ("1.37", VARIANTS)])
def test_every_object_is_valid(release: str, variants: Iterable[str]) -> None:
    texts = {text for name in variants for text in RENDER.rendered(VARIANTS[name]).values()}
    for found in {json.dumps(one): one for text in texts for one in objects(text)}.values():
        if found["kind"] not in OWN_KINDS:
            kubernetes_validate.validate(found, release, strict=True)


def test_a_mistake_would_be_found() -> None:
    (found,) = objects(RENDER.rendered(PLAIN)["settings.yaml"])
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate({**found, "dta": {}}, "1.37", strict=True)


def test_the_chart_passes_helms_lint() -> None:
    report = helm_python.lint(DEPLOY / "helm" / "mishards", PLAIN)
    assert report["errors"] == []
    assert [message for message in report["messages"] if message["severity"] > 1] == []


def test_the_plain_manifests_are_those_of_the_chart() -> None:
    folder = DEPLOY / "kubernetes"
    lying = {
        str(file.relative_to(folder)): file.read_text(encoding="utf-8")
        for file in folder.rglob("*.yaml")
    }
    assert lying == RENDER.plain(), "run: python deploy/helm/render.py"


def test_settings_are_those_of_the_product(variant: list[Object]) -> None:
    roles = set()
    for owner, pod in pods(variant):
        (container,) = pod["spec"]["containers"]
        (role,) = container["args"]
        roles.add(role)
        assert role in {
            command.name or command.callback.__name__ for command in app.registered_commands
        }
        environ = settings(pod, variant)
        loaded = config(environ)
        assert loaded.node.listen == "tcp://10.0.0.1:19540"
        assert loaded.node.id == "pod-0"
        url = parse_kubernetes_url(loaded.cluster.discovery)
        labels = pod["metadata"]["labels"]
        assert (labels[NAME_LABEL], labels[CLUSTER_LABEL]) == ("mishards", url.cluster)
        assert url.pod == "pod-0"
        assert parse_kubernetes_url(loaded.cluster.election).cluster == url.cluster
        assert pod["spec"]["enableServiceLinks"] is False, owner["metadata"]["name"]
        if role == "proxy":
            longest_s = loaded.proxy.linger_s + loaded.proxy.drain_s
            assert pod["spec"]["terminationGracePeriodSeconds"] > longest_s
    assert roles == {"proxy", "reader", "writer"}


def test_an_unknown_setting_would_be_found() -> None:
    found = [
        one
        for text in RENDER.rendered({**PLAIN, "settings": {"cluster.lgs": "4"}}).values()
        for one in objects(text)
    ]
    with pytest.raises(ConfigError, match="MISHARDS_CLUSTER_LGS"):
        config(settings(next(pods(found))[1], found))


def test_probes_and_ports_are_those_of_the_product(variant: list[Object]) -> None:
    paths = {route.path for route in health_routes(Health(SteppedRuntime()), "node", ())}
    for _, pod in pods(variant):
        (container,) = pod["spec"]["containers"]
        loaded = config(settings(pod, variant))
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        assert ports["http"] == loaded.http.port == DEFAULT_PORT
        assert f":{ports['nodes']}" in loaded.node.listen
        asked = {"port": "http"} | ({"scheme": "HTTPS"} if loaded.http.tls_certificate else {})
        assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", **asked}
        assert container["livenessProbe"]["httpGet"] == {"path": "/healthz", **asked}
        assert {"/readyz", "/healthz"} <= paths
        if "milvus" in ports:
            assert ports["milvus"] == loaded.proxy.port


def test_what_is_referred_to_is_there_or_is_named_by_the_values(variant: list[Object]) -> None:
    there = {(found["kind"], found["metadata"]["name"]) for found in variant}
    outside = {"mine", "theirs", "for-clients", "for-nodes", "for-http", "mishards-tls"}
    for _, pod in pods(variant):
        spec = pod["spec"]
        (container,) = spec["containers"]
        wanted = {("ServiceAccount", spec["serviceAccountName"])}
        wanted |= {("ConfigMap", e["configMapRef"]["name"]) for e in container["envFrom"][:1]}
        wanted |= {("Secret", e["secretRef"]["name"]) for e in container["envFrom"][1:]}
        for volume in spec["volumes"]:
            if "secret" in volume:
                wanted.add(("Secret", volume["secret"]["secretName"]))
            if "persistentVolumeClaim" in volume:
                claim = volume["persistentVolumeClaim"]["claimName"]
                wanted.add(("PersistentVolumeClaim", claim))
        assert {one for one in wanted - there if one[1] not in outside} == set()


def test_the_operator_of_prometheus_is_given_what_the_rules_select_by() -> None:
    files = RENDER.rendered(VARIANTS["all"])
    service, monitor = objects(files["monitor.yaml"])
    assert (
        monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    )
    assert service["metadata"]["labels"][monitor["spec"]["jobLabel"]] == "mishards"
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}
    assert endpoint["honorLabels"] is True
    made = {one["targetLabel"] for one in endpoint["relabelings"]}
    assert made == {"cluster", "node", "roles"}
    token = endpoint["authorization"]["credentials"]
    assert token == {"name": "mishards", "key": "MISHARDS_HTTP_METRICS_TOKEN"}
    (rules,) = objects(files["rules.yaml"])
    assert rules["metadata"]["labels"]["release"] == "prometheus"
    lying = (DEPLOY / "prometheus" / "rules.yml").read_text(encoding="utf-8")
    assert rules["spec"] == yaml.safe_load(lying)


def test_every_selector_selects_pods(variant: list[Object]) -> None:
    labels = [pod["metadata"]["labels"] for _, pod in pods(variant)]
    for found in variant:
        spec = found.get("spec", {})
        if found["kind"] in ("Service", "PodDisruptionBudget", "NetworkPolicy", "Deployment"):
            selector = spec.get("selector") or spec.get("podSelector")
            wanted = selector.get("matchLabels", selector)
            assert any(wanted.items() <= one.items() for one in labels), found["metadata"]["name"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "MISHARDS_CLUSTER_METADATA is missing"),
        ({**PLAIN, "reader": {"replicaz": 2}}, "replicaz"),
        ({**PLAIN, "settings": {"cluster.logs": 4}}, "string"),
        ({**PLAIN, "writer": {"spread": "wide"}}, "spread"),
    ],
)
def test_values_that_cannot_be_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(helm_python.HelmError, match=message):
        RENDER.rendered(values)


def test_a_name_that_can_be_no_clusters_is_refused() -> None:
    with pytest.raises(helm_python.HelmError, match="up to 20 characters"):
        RENDER.rendered(PLAIN, name="a-name-of-many-characters")
