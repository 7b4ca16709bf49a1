"""TLS between the nodes of a cluster: both ends show a certificate of the cluster's authority.

Invariants: TLS 1.3 alone; who has a certificate of the authority is a node, under whatever host
name, so the authority has to be the cluster's own. Changed files are used for new connections;
certificates of an authority that was taken from its file stay trusted until the process ends.
"""

from __future__ import annotations

import logging
import ssl

from mishards.tls.files import TlsFiles, check, load_authorities, load_pair, try_handshake
from mishards.tls.watched import Watched

_log = logging.getLogger(__name__)

_WORDS = {
    "WRONG_VERSION_NUMBER": "the peer speaks no TLS",
    "RECORD_LAYER_FAILURE": "the peer speaks no TLS",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "the peer shows no certificate",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "the peer asks for a certificate",
    "TLSV1_ALERT_UNKNOWN_CA": "the peer does not know the authority of this node's certificate",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "this node's certificate has expired, says the peer",
}


class ClusterTls:
    """The contexts of one node."""

    def __init__(self, files: TlsFiles) -> None:
        """Load the files, all three.

        Raises:
            ConfigError: they cannot be used, or the certificate is not of the authority.
        """
        self._clients = Watched(files, _client)
        self._server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._server.sslobject_class = _Accepted
        self._servers = Watched(files, self._load_server)

    def client(self) -> ssl.SSLContext:
        """For the next connection that this node opens. Any thread."""
        self._clients.renewed()
        return self._clients.current

    def server(self) -> ssl.SSLContext:
        """For a listener. The same object every time: `refresh` changes what it holds."""
        return self._server

    def refresh(self) -> None:
        """Let listeners use the files that are there now; call it before taking a connection.

        From the loop's thread alone: a context must not change while another thread uses it.
        """
        self._servers.renewed()

    def _load_server(self, files: TlsFiles) -> ssl.SSLContext:
        _client(files)  # tries them, so that files of no use leave the listener as it is
        return _fill(self._server, files)


def _client(files: TlsFiles) -> ssl.SSLContext:
    """A context that was tried with one like a listener's."""
    check(files)
    client = _fill(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), files)
    try_handshake(_fill(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), files), client, files)
    return client


def why(error: ssl.SSLError) -> str:
    """What went wrong, in the words of this project where it has some."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the peer's certificate is refused: {error.verify_message}"
    return _WORDS.get(error.reason or "", f"TLS failed: {error.reason or error}")


class _Accepted(ssl.SSLObject):
    """Tells the log why a caller was refused: nothing else hears of it."""

    def do_handshake(self) -> None:
        try:
            super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError as error:
            _log.warning("refused a connection: %s", why(error))
            raise


def _fill(context: ssl.SSLContext, files: TlsFiles) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    load_pair(context, files)
    load_authorities(context, files.ca, "CA")
    return context
