"""Opens an exporter of traces by its name."""

from __future__ import annotations

from mishards.core.plugins import load
from mishards.observability.export.protocol import ExporterSettings, TraceExporter

BUILTIN = {
    "otlp": "mishards.observability.export.otlp:open_otlp",
    "zipkin": "mishards.observability.export.zipkin:open_zipkin",
}


def open_exporter(name: str, settings: ExporterSettings) -> TraceExporter:
    """The exporter called `name`: one of `BUILTIN`, or a plugin of kind `tracing`, which is a
    factory called with the settings. Connects to nothing yet.

    Raises:
        ConfigError: the endpoint, the headers or the CA file cannot be used.
        PluginError: no such exporter; lists the known ones, or names the extra to install.
    """
    exporter: TraceExporter = load("tracing", name, BUILTIN)(settings)
    return exporter
