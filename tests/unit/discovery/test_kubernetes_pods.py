from __future__ import annotations

import json
from typing import Any

import pytest

from mishards.discovery.kubernetes_pods import Pod, decode_pod

READY = {"type": "Ready", "status": "True"}
RUNS = {"phase": "Running", "conditions": [READY]}


@pytest.mark.parametrize(
    ("meta", "status", "ready", "ended"),
    [
        ({}, RUNS, True, False),
        ({}, {"phase": "Running", "conditions": [READY | {"status": "False"}]}, False, False),
        ({}, {"phase": "Running", "conditions": [READY | {"status": "Unknown"}]}, False, False),
        ({}, {"phase": "Running", "conditions": [READY | {"type": "Initialized"}]}, False, False),
        ({}, {"phase": "Running", "conditions": None}, False, False),
        ({}, {"phase": "Pending"}, False, False),
        ({}, None, False, False),
        ({"deletionTimestamp": "2026-01-01T00:00:00Z"}, RUNS, False, False),
        ({}, RUNS | {"phase": "Succeeded"}, False, True),
        ({}, RUNS | {"phase": "Failed"}, False, True),
    ],
)
def test_who_is_ready(meta: dict[str, Any], status: Any, ready: bool, ended: bool) -> None:
    pod = {"metadata": {"name": "p", "uid": "1", **meta}, "spec": {}, "status": status}
    assert decode_pod(json.dumps(pod)) == Pod(uid="1", ready=ready, ended=ended)
