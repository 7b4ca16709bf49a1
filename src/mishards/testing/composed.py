"""The whole of a production: services, nodes and a balancer as processes, each of which can die.

Nodes find each other and elect in etcd, have metadata in MariaDB and data on S3; clients come
through HAProxy, which runs by the file that `mishards config haproxy` prints, and Prometheus
watches all nodes by that of `mishards config prometheus`.

Invariants: a piece keeps its name, its addresses and its data over its lives; whatever was taken
away is back when `away` ends, also where its body failed.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self
from uuid import uuid4

from mishards.testing.local_cluster import free_port, wait_for
from mishards.testing.named_cluster import NamedCluster
from mishards.testing.services.balancer import HaProxy
from mishards.testing.services.etcd import Etcd
from mishards.testing.services.mariadb import MariaDb
from mishards.testing.services.prometheus import Prometheus, Sample
from mishards.testing.services.seaweedfs import SeaweedFs
from mishards.testing.services.server import Server

WRITERS, READERS, PROXIES = 2, 3, 2
_START_S = 120.0
"""For many processes that start at once on a few processors."""
_SCRAPES = "500ms"


class Services(NamedTuple):
    """What the nodes need, what is before them, and what watches them."""

    etcd: Etcd
    mariadb: MariaDb
    seaweedfs: SeaweedFs
    haproxy: HaProxy
    prometheus: Prometheus


def missing() -> list[str]:
    """A sentence for each program that is not installed."""
    kinds: tuple[type[Server], ...] = (Etcd, MariaDb, SeaweedFs, HaProxy, Prometheus)
    return [lack for kind in kinds if (lack := kind.missing())]


@contextmanager
def running_services() -> Iterator[Services]:
    """Services of the caller's own, those that nodes need running; at the end gone with their data.

    Raises:
        FileNotFoundError: programs are missing; names them.
    """
    if lacks := missing():
        raise FileNotFoundError("; ".join(lacks))
    found = Services(Etcd(), MariaDb(), SeaweedFs(), HaProxy(), Prometheus())
    with ExitStack() as stack:
        for server in found:
            stack.callback(server.close)
        with ThreadPoolExecutor() as pool:
            list(pool.map(Server.start, (found.etcd, found.mariadb, found.seaweedfs)))
        yield found


class Composed(NamedCluster):
    """The nodes, HAProxy and Prometheus, on services that run; a context manager that starts all of
    them.

    Attributes:
        services: by name, HAProxy among them.
        url: of the data.
    """

    def __init__(self, folder: Path, services: Services, *settings: str) -> None:
        """The services are the caller's, who closes them."""
        name = f"c{uuid4().hex}"
        self.url = f"{services.seaweedfs.data(name)}&timeout_s=2"
        registry = services.etcd.database(name)
        # Passwords are nothing for the list of processes.
        metadata = folder / "metadata-url"
        folder.mkdir(parents=True, exist_ok=True)
        metadata.touch(mode=0o600)
        metadata.write_text(services.mariadb.database(name))
        super().__init__(
            folder,
            f"cluster.metadata_file={metadata}",
            f"cluster.discovery={registry}",
            f"cluster.election={registry}",
            f"reader.cache_dir={folder}/cache",
            *settings,
            url=self.url,
        )
        self.haproxy = services.haproxy
        self.prometheus = services.prometheus
        self.services: dict[str, Server] = services._asdict()

    @property
    def entrance(self) -> str:
        """The URI that clients connect to."""
        return f"http://{self.haproxy.listen}"

    def start_everything(self) -> None:
        """All nodes, then HAProxy with the proxies that serve, and Prometheus with all of them."""
        counts = {"writer": WRITERS, "reader": READERS, "proxy": PROXIES}
        names = [f"{role}-{n + 1}" for role, count in counts.items() for n in range(count)]
        for name in names:
            http = ("http.enabled=true", f"http.port={free_port()}")
            self.add(name, *(word for one in http for word in ("--set", one)))
        for name in names:
            self[name].wait_ready(_START_S)
        where = ("--listen", self.haproxy.listen, "--http-listen", self.haproxy.http_listen)
        self.haproxy.configure(self._printed("haproxy", *where))
        assert not self.haproxy.refusal()
        self.haproxy.start()
        self.prometheus.configure(prometheus=self._printed("prometheus", "--interval", _SCRAPES))
        self.prometheus.start()

    def _printed(self, system: str, *options: str) -> str:
        """What `mishards config` makes of the topology of now."""
        code, text, error = self.run("config", system, *options, *self._options)
        assert code == 0, error
        return text

    @property
    def pieces(self) -> list[str]:
        """The names of everything that can be taken away."""
        return [*self.nodes_by_name, *self.services]

    def kill(self, name: str) -> None:
        """`kill -9`; returns when it is gone."""
        (self.services[name] if name in self.services else self[name]).kill()

    def bring_back(self, name: str) -> None:
        """Start what was killed, on its data and at its address; returns when it serves."""
        if name in self.services:
            self.services[name].start()
        else:
            self.restart(name).wait_ready(_START_S)

    @contextmanager
    def away(self, name: str) -> Iterator[None]:
        """Killed for as long as the body takes, then back."""
        self.kill(name)
        try:
            yield
        finally:
            self.bring_back(name)

    def wait_seen(self, name: str, *, up: bool) -> None:
        """Wait until Prometheus has noticed that a node is gone, or there.

        Raises:
            TimeoutError: it has not in time.
        """
        self.wait_for_series(f'up{{node="{name}"}} == {int(up)}')

    def wait_for_series(self, expression: str) -> list[Sample]:
        """What an expression gives at Prometheus, as soon as that is anything.

        Raises:
            TimeoutError: it was nothing for too long.
        """
        return wait_for(lambda: self.prometheus.query(expression), f"Prometheus has {expression}")

    def close(self) -> None:
        self.prometheus.stop()
        self.haproxy.stop()
        for process in self.nodes_by_name.values():
            if process.exit_code is None:
                process.terminate()
        super().close()

    def __enter__(self) -> Self:
        try:
            self.start_everything()
        except BaseException as error:
            self.__exit__(type(error), error, error.__traceback__)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            for name, service in self.services.items():
                error.add_note(f"--- {name}:\n{service.output()[-1000:]}")
        super().__exit__(kind, error, trace)
