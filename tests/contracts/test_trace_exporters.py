"""Every exporter of traces against receivers that decode what real collectors take."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from mishards.core.errors import ConfigError, PluginError, Unavailable
from mishards.observability.export.protocol import ExporterSettings
from mishards.observability.export.registry import open_exporter
from mishards.testing.certificates import Authority
from mishards.testing.exporter_contract import ExporterContract, a_trace
from mishards.testing.trace_receivers import (
    OtlpGrpcReceiver,
    OtlpHttpReceiver,
    TraceReceiver,
    ZipkinReceiver,
)


class TestOtlpOverHttp(ExporterContract):
    name = "otlp"

    def receiver(self) -> TraceReceiver:
        return OtlpHttpReceiver()


class TestOtlpOverGrpc(ExporterContract):
    name = "otlp"

    def receiver(self) -> TraceReceiver:
        return OtlpGrpcReceiver()


class TestZipkin(ExporterContract):
    name = "zipkin"
    typed = False

    def receiver(self) -> TraceReceiver:
        return ZipkinReceiver()


class TestByAttribute(TestZipkin):
    """A plugin that is named by where its factory is."""

    name = "mishards.observability.export.zipkin:open_zipkin"


@pytest.mark.parametrize("kind", ["https", "grpcs"])
def test_tls_goes_to_a_collector_of_the_authority_and_to_no_other(
    kind: str, tmp_path: Path
) -> None:
    files = Authority(tmp_path).issue("collector")
    other = Authority(tmp_path, "other")
    if kind == "https":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(files.certificate, files.key)
        receiver: TraceReceiver = OtlpHttpReceiver(tls=context)
    else:
        receiver = OtlpGrpcReceiver(
            tls=(Path(files.key).read_bytes(), Path(files.certificate).read_bytes())
        )
    with receiver:
        assert receiver.url.startswith(f"{kind}://")
        trusting = open_exporter("otlp", ExporterSettings(endpoint=receiver.url, ca=files.ca))
        trusting.export([a_trace()])
        trusting.close()
        assert len(receiver.received.spans) == len(a_trace().spans)
        doubting = open_exporter("otlp", ExporterSettings(endpoint=receiver.url, ca=other.ca))
        with pytest.raises(Unavailable):
            doubting.export([a_trace()])
        doubting.close()
        assert len(receiver.received.spans) == len(a_trace().spans)


def test_what_a_collector_takes_in_part_only_is_told() -> None:
    for receiver in (OtlpHttpReceiver(), OtlpGrpcReceiver()):
        with receiver:
            receiver.received.reject = 2
            exporter = open_exporter("otlp", ExporterSettings(endpoint=receiver.url))
            with pytest.raises(Exception, match="refused 2 spans: not now"):
                exporter.export([a_trace()])
            exporter.close()


def test_an_account_in_the_url_is_sent_and_not_shown() -> None:
    with ZipkinReceiver() as receiver:
        url = receiver.url.replace("//", "//me:hush%21@")
        exporter = open_exporter("zipkin", ExporterSettings(endpoint=url))
        exporter.export([a_trace()])
        exporter.close()
        assert receiver.received.headers["authorization"] == "Basic bWU6aHVzaCE="
        assert "hush" not in exporter.name


@pytest.mark.parametrize("url", ["grpc://me:hush@c:1", "grpc://c:1/v1/traces"])
def test_what_grpc_has_not_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(ConfigError, match="neither path nor account") as refused:
        open_exporter("otlp", ExporterSettings(endpoint=url))
    assert "hush" not in str(refused.value)


def test_a_missing_ca_file_and_an_unknown_exporter_are_named(tmp_path: Path) -> None:
    for url in ("https://c:1", "grpcs://c:1"):
        with pytest.raises(ConfigError, match=r"cannot read tracing\.ca = .*none\.pem"):
            open_exporter("otlp", ExporterSettings(endpoint=url, ca=str(tmp_path / "none.pem")))
    with pytest.raises(PluginError, match="unknown tracing 'jaeger'; known are: otlp, zipkin"):
        open_exporter("jaeger", ExporterSettings())
