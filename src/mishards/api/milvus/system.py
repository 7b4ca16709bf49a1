"""Handlers about the instance itself: connecting, version, health, timestamps."""

from __future__ import annotations

import time
from typing import Any

from pymilvus.grpc_gen import common_pb2, milvus_pb2

from mishards import __version__
from mishards.api.milvus.handler import Handler
from mishards.proxy.calls import ProxyApi

BUILD_TAG = f"mishards-{__version__}"
_NEEDED_ROLES = ("writer", "reader")


async def connect(proxy: ProxyApi, request: Any) -> Any:
    """Serves `Connect`; the identifier only tells connections apart."""
    return milvus_pb2.ConnectResponse(
        server_info=common_pb2.ServerInfo(build_tags=BUILD_TAG, deploy_mode="DISTRIBUTED"),
        identifier=time.time_ns(),
    )


async def get_version(proxy: ProxyApi, request: Any) -> Any:
    """Serves `GetVersion`."""
    return milvus_pb2.GetVersionResponse(version=BUILD_TAG)


async def check_health(proxy: ProxyApi, request: Any) -> Any:
    """Serves `CheckHealth`: healthy when a writer and a reader answer this proxy."""
    roles = {role for status in await proxy.cluster_status() for role in status.roles}
    missing = [role for role in _NEEDED_ROLES if role not in roles]
    return milvus_pb2.CheckHealthResponse(
        isHealthy=not missing, reasons=[f"no {role} answers" for role in missing]
    )


async def get_component_states(proxy: ProxyApi, request: Any) -> Any:
    """Serves `GetComponentStates`: this proxy, and the nodes that answer it."""
    answer = milvus_pb2.ComponentStates()
    answer.state.role = "proxy"
    answer.state.state_code = common_pb2.Healthy
    for status in await proxy.cluster_status():
        for role in status.roles:
            part = answer.subcomponent_states.add(role=role, state_code=common_pb2.Healthy)
            part.extra_info.add(key="node", value=status.node)
    return answer


async def alloc_timestamp(proxy: ProxyApi, request: Any) -> Any:
    """Serves `AllocTimestamp`."""
    return milvus_pb2.AllocTimestampResponse(timestamp=await proxy.allocate_timestamp())


HANDLERS: dict[str, Handler] = {
    "Connect": Handler(milvus_pb2.ConnectRequest, milvus_pb2.ConnectResponse, connect),
    "GetVersion": Handler(milvus_pb2.GetVersionRequest, milvus_pb2.GetVersionResponse, get_version),
    "CheckHealth": Handler(
        milvus_pb2.CheckHealthRequest, milvus_pb2.CheckHealthResponse, check_health
    ),
    "GetComponentStates": Handler(
        milvus_pb2.GetComponentStatesRequest, milvus_pb2.ComponentStates, get_component_states
    ),
    "AllocTimestamp": Handler(
        milvus_pb2.AllocTimestampRequest, milvus_pb2.AllocTimestampResponse, alloc_timestamp
    ),
}
