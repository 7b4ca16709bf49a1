"""The examples under `deploy/` are configurations that the product takes."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import yaml

from mishards.core.runtime import SystemRuntime
from mishards.discovery.dns import parse_dns_url
from mishards.discovery.election_registry import open_election
from mishards.discovery.file import parse_list
from mishards.discovery.registry import open_registry
from mishards.observability.export.protocol import ExporterSettings
from mishards.observability.export.registry import open_exporter
from mishards.server.config import load_config
from mishards.storage.mounts import WANTED, check_mounts
from mishards.storage.s3_url import parse_s3_url

DEPLOY = Path(__file__).resolve().parents[3] / "deploy"


@pytest.mark.parametrize("system", ["consul", "zookeeper"])
def test_an_example_names_a_registry_and_an_election_that_can_be_opened(system: str) -> None:
    cluster = load_config(DEPLOY / system / "mishards.toml", environ={}).config.cluster
    assert cluster.discovery.startswith(f"{system}://")
    assert cluster.election.startswith(f"{system}://")

    async def open_both() -> None:  # they connect at their first call
        runtime = SystemRuntime()
        await open_registry(cluster.discovery, runtime).close()
        await open_election(cluster.election, runtime).close()
        await runtime.close()

    asyncio.run(open_both())


def test_the_example_on_s3_names_a_store_and_no_key() -> None:
    config = load_config(DEPLOY / "s3" / "mishards.toml", environ={}).config
    assert parse_s3_url(config.cluster.data).credentials
    assert config.metadata_url.startswith("postgresql://")
    assert config.reader.cache_dir


def test_the_example_of_nfs_is_a_configuration_and_a_mount_that_is_taken() -> None:
    config = load_config(DEPLOY / "nfs" / "mishards.toml", environ={}).config
    (line,) = (
        line for line in (DEPLOY / "nfs" / "fstab").read_text().splitlines() if line[0] != "#"
    )
    source, folder, kind, options, _, _ = line.split()
    assert folder == str(config.data_folder)
    mounted = f"90 22 0:51 / {folder} rw - {kind} {source} rw,{options}\n"
    check_mounts(config.data_folder, mounted)
    assert set(WANTED.split(",")) <= set(options.split(","))


def test_the_examples_of_lists_are_lists() -> None:
    cluster = load_config(DEPLOY / "file" / "mishards.toml", environ={}).config.cluster
    assert cluster.discovery == "file:///etc/mishards/nodes.toml"
    listed = parse_list((DEPLOY / "file" / "nodes.toml").read_bytes(), ".toml")
    own = load_config(DEPLOY / "file" / "mishards.toml", environ={}).config.node.listen
    assert own in {node.address for node in listed}
    cluster = load_config(DEPLOY / "dns" / "mishards.toml", environ={}).config.cluster
    (name,) = parse_dns_url(cluster.discovery).names
    zone = (DEPLOY / "dns" / "example.org.zone").read_text()
    assert f"\n{name.removesuffix('.example.org')} " in zone


def test_the_example_of_tracing_sends_to_what_its_collector_takes() -> None:
    folder = DEPLOY / "tracing"
    tracing = load_config(folder / "mishards.toml", environ={}).config.tracing
    open_exporter(tracing.exporter, ExporterSettings(endpoint=tracing.endpoint)).close()
    collector = yaml.safe_load((folder / "collector.yaml").read_text())
    protocols = collector["receivers"]["otlp"]["protocols"]
    ports = {way["endpoint"].rpartition(":")[2] for way in protocols.values()}
    assert tracing.endpoint.rpartition(":")[2] in ports
    services = yaml.safe_load((folder / "compose.yaml").read_text())["services"]
    behind = collector["exporters"]["otlp"]["endpoint"].partition(":")[0]
    assert behind in services
    used = collector["service"]["pipelines"]["traces"]
    for kind in ("receivers", "processors", "exporters"):
        assert set(used[kind]) == set(collector[kind])
    taken = {port.rpartition(":")[2] for port in services["collector"]["ports"]}
    assert ports <= taken
