"""Which edge serves: `native`, `grpcio`, or `auto` for the better one that can."""

from __future__ import annotations

from importlib.util import find_spec

from mishards.api.milvus.edge.protocol import Edge, EdgeSettings, MethodTable, tls_files
from mishards.core.errors import ConfigError

NAMES = ("auto", "native", "grpcio")


def make_edge(name: str, table: MethodTable, settings: EdgeSettings) -> Edge:
    """An edge, not yet started. `auto` is native, unless TLS is asked for or it is missing.

    Raises:
        ConfigError: an unknown name, the native edge where it is not installed or with TLS, or
            TLS without certificate and key.
    """
    if name not in NAMES:
        raise ConfigError(f"unknown edge {name!r}; known are: {', '.join(NAMES)}")
    installed = find_spec("pygrpc_native") is not None
    tls = tls_files(settings) is not None
    if name == "native" and tls:
        raise ConfigError("the native edge serves no TLS; use edge = 'grpcio' or 'auto'")
    if name == "native" and not installed:
        raise ConfigError("the native edge needs the package 'pygrpc-native'")
    if name == "grpcio" or tls or not installed:
        from mishards.api.milvus.edge.grpcio import GrpcioEdge

        return GrpcioEdge(table, settings)
    from mishards.api.milvus.edge.native import NativeEdge

    return NativeEdge(table, settings)
