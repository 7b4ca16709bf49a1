"""Authorities and certificates made on the spot, as files, for tests of TLS.

Needs the package `trustme`.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import trustme

from mishards.tls.files import TlsFiles

HOSTS = ("localhost", "127.0.0.1")


class Authority:
    """An authority of its own; its certificate lies in the file `ca`."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        """`folder` takes all files, under names that begin with `name`."""
        self._ca = trustme.CA(organization_name=name)
        self._folder = folder
        self._name = name
        self.ca = str(folder / f"{name}-ca.pem")
        self._ca.cert_pem.write_to_path(self.ca)

    def issue(
        self,
        name: str = "node",
        *hosts: str,
        not_before: datetime | None = None,
        not_after: datetime | None = None,
    ) -> TlsFiles:
        """A certificate and its key, with this authority as the one to check peers by.

        Issued again under a name, it replaces the files of before, as a renewal does.
        """
        leaf = self._ca.issue_cert(*(hosts or HOSTS), not_before=not_before, not_after=not_after)
        stem = self._folder / f"{self._name}-{name}"
        certificate, key = Path(f"{stem}.pem"), Path(f"{stem}-key.pem")
        for path, pems in (
            (certificate, leaf.cert_chain_pems),
            (key, [leaf.private_key_pem]),
        ):
            fresh = path.with_suffix(".new")
            fresh.touch(mode=0o600)
            fresh.write_bytes(b"".join(pem.bytes() for pem in pems))
            fresh.replace(path)
        return TlsFiles(certificate=str(certificate), key=str(key), ca=self.ca)
