"""TLS of a listener whose clients show no certificate, on the loop's own servers.

Invariant: changed files are used for new connections; files of no use leave it as it is.
"""

from __future__ import annotations

import ssl

from mishards.tls.files import TlsFiles, check, load_pair
from mishards.tls.watched import Watched


class EndpointTls:
    """The context of one listener. From the loop's thread alone."""

    def __init__(self, files: TlsFiles) -> None:
        """Load the files.

        Raises:
            ConfigError: they cannot be used.
        """
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._watched = Watched(files, self._load)

    def refresh(self) -> None:
        """Use the files that are there now; call it before taking a connection."""
        self._watched.renewed()

    def _load(self, files: TlsFiles) -> None:
        check(files)
        load_pair(self.context, files)
