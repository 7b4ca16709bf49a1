"""The node's side of a drill: it lets itself be killed, stopped, or kept from storage.

Invariants: nothing of it happens unless `cluster.drills` is set, nor to a node that other machines
reach unless it asks them for the cluster's secret or a certificate; every fault but a kill ends by
itself, within `LONGEST_S`; one drill at a time.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from ipaddress import ip_address
from typing import Protocol

from mishards.core.errors import ConfigError, InvalidParameter, NotReady, Unimplemented
from mishards.core.ids import NodeId
from mishards.core.runtime import Runtime
from mishards.rpc.address import parse_address
from mishards.rpc.messages import Drill, DrillBegun
from mishards.rpc.messages.drills import LONGEST_S
from mishards.server.config import Config
from mishards.storage.layers.cut import StorageCut

_ANSWER_S = 0.1
"""Time for the answer to get away."""
_FIRST, _KILLED = 1, 128 + signal.SIGKILL
_PAUSE = """
import os, signal, sys, time
process, delay, seconds = int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
time.sleep(delay)
if os.getppid() == process:
    os.kill(process, signal.SIGSTOP)
    time.sleep(seconds)
    if os.getppid() == process:
        os.kill(process, signal.SIGCONT)
"""
"""What stops a process cannot be the process: a stopped one does not wake itself."""
_log = logging.getLogger(__name__)


class Harm(Protocol):
    """What is done to the process."""

    def lacks_pause(self) -> str:
        """Why it cannot be stopped; empty where it can."""

    async def kill(self) -> None:
        """End it at once, without a chance to clean up."""

    async def pause(self, seconds: float) -> None:
        """Stop it for so long; returns when it goes on."""


class OwnProcess:
    """Implements `Harm` for the process that it runs in."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def lacks_pause(self) -> str:
        if os.getpid() != _FIRST:
            return ""
        return (
            "it is the first process of its container, which no signal from within stops; "
            "start it under an init (docker run --init, shareProcessNamespace in Kubernetes)"
        )

    async def kill(self) -> None:
        await self._runtime.sleep(_ANSWER_S)
        os.kill(os.getpid(), signal.SIGKILL)
        os._exit(_KILLED)  # the first process of a container is still here

    async def pause(self, seconds: float) -> None:
        arguments = (str(os.getpid()), str(_ANSWER_S), str(seconds))
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", "-c", _PAUSE, *arguments), start_new_session=True
        )
        await child.wait()


class Drills:
    """Answers `Drill` messages. From the loop's thread."""

    def __init__(
        self, runtime: Runtime, node_id: NodeId, cut: StorageCut | None, harm: Harm
    ) -> None:
        """`cut`: None where drills are not enabled."""
        self._runtime = runtime
        self._node_id = node_id
        self._cut = cut
        self._harm = harm
        self._token = ""
        self._until_s = 0.0

    async def begin(self, message: Drill) -> DrillBegun:
        """Let the fault come.

        Raises:
            Unimplemented: drills are not enabled, or the process cannot be stopped.
            InvalidParameter: it would last too long.
            NotReady: another drill goes on.
        """
        if self._cut is None:
            raise Unimplemented(
                f"node {self._node_id} takes no drills: start the cluster's nodes with "
                "cluster.drills = true"
            )
        if not 0 <= message.seconds <= LONGEST_S:
            raise InvalidParameter(
                f"a fault of {message.seconds:g} s is not allowed: 0 to {LONGEST_S:g} are"
            )
        now_s = self._runtime.monotonic_s()
        if message.token != self._token and now_s < self._until_s:
            raise NotReady(f"node {self._node_id} is in another drill; try again in a minute")
        if message.fault == "none":
            if message.token == self._token:
                self._cut.end()
                self._until_s = 0.0
            return DrillBegun(node=self._node_id)
        if message.fault == "pause" and (why := self._harm.lacks_pause()):
            raise Unimplemented(f"node {self._node_id} cannot be stopped: {why}")
        if message.token == self._token:
            return DrillBegun(node=self._node_id)  # it has begun: asked again is not done again
        self._token, self._until_s = message.token, now_s + message.seconds
        _log.warning("a drill begins: %s for %g s", message.fault, message.seconds)
        match message.fault:
            case "kill":
                self._runtime.spawn(self._harm.kill(), "drill: kill")
            case "pause":
                self._runtime.spawn(self._harm.pause(message.seconds), "drill: pause")
            case "fail_storage" | "stall_storage":
                self._cut.begin(message.seconds, stalls=message.fault == "stall_storage")
        return DrillBegun(node=self._node_id)


def check_drills(config: Config) -> None:
    """Let nobody who is a stranger have nodes killed.

    Raises:
        ConfigError: drills are enabled, others than this machine reach the node, and it asks nobody
            for a secret or a certificate.
    """
    cluster = config.cluster
    guarded = cluster.secret.reveal() or cluster.tls_certificate
    if cluster.drills and not guarded and not _is_local(config.node.listen):
        raise ConfigError(
            f"cluster.drills = true at {config.node.listen} needs cluster.secret or TLS between "
            "nodes: whoever reaches that address could kill the node"
        )


def _is_local(address: str) -> bool:
    """Whether only processes of this machine reach it."""
    found = parse_address(address)
    if not isinstance(found, tuple):
        return True
    try:
        return ip_address(found[0]).is_loopback
    except ValueError:
        return found[0] == "localhost"
