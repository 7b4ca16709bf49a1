"""An etcd server, or a cluster of several, for tests."""

from __future__ import annotations

from collections.abc import Sequence

import requests

from mishards.testing.services.server import Server, lacking, program


class Etcd(Server):
    """See `Server`; one member of a cluster, alone unless `joined` says otherwise."""

    name = "etcd"
    ports = 2

    def __init__(self) -> None:
        super().__init__()
        self.peers: Sequence[Etcd] = (self,)

    @classmethod
    def missing(cls) -> str:
        return lacking(cls.name, program("etcd"))

    @property
    def endpoint(self) -> str:
        """`host:port` for clients."""
        return f"127.0.0.1:{self.port}"

    def command(self) -> Sequence[str]:
        client, peer = f"http://{self.endpoint}", self._peer_url
        return (
            str(program("etcd")),
            *("--name", self._member),
            *("--data-dir", str(self.folder / "data")),
            *("--listen-client-urls", client),
            *("--advertise-client-urls", client),
            *("--listen-peer-urls", peer),
            *("--initial-advertise-peer-urls", peer),
            *("--initial-cluster", ",".join(f"{m._member}={m._peer_url}" for m in self.peers)),
            *("--initial-cluster-token", self.peers[0]._member),
        )

    def answers(self) -> bool:
        if len(self.peers) > 1:
            return True  # it serves once enough of the others do
        return self.healthy()

    def healthy(self) -> bool:
        """Whether the cluster has a leader that this member reaches."""
        try:
            answer = requests.get(f"http://{self.endpoint}/health", timeout=5)
        except requests.RequestException:
            return False
        return answer.ok

    def database(self, name: str) -> str:
        """The URL of a part of the key space that nobody used before."""
        return f"etcd://{','.join(member.endpoint for member in self.peers)}/{name}"

    @property
    def _member(self) -> str:
        return f"m{self.port}"

    @property
    def _peer_url(self) -> str:
        return f"http://127.0.0.1:{self.more_ports[0]}"


def joined(count: int) -> list[Etcd]:
    """Members of one cluster, not started."""
    members = [Etcd() for _ in range(count)]
    for member in members:
        member.peers = members
    return members
