"""The files of one end: a certificate with its key, and the authorities that peers are checked by.

Invariants: files that pass `check` can be used as they are, at this moment; whatever is wrong with
them is told with the file's name and never with what the file holds.
"""

from __future__ import annotations

import logging
import ssl
import stat
from pathlib import Path

import msgspec

from mishards.core.errors import ConfigError

_log = logging.getLogger(__name__)
_MOST_ROUNDS = 20


class TlsFiles(msgspec.Struct, frozen=True, kw_only=True):
    """Paths of PEM files.

    Attributes:
        certificate: the end's own, then those of authorities between it and the root, if any.
        key: of the certificate; not encrypted.
        ca: authorities that a peer's certificate has to be of; empty asks for no certificate.
    """

    certificate: str
    key: str
    ca: str = ""

    @property
    def named(self) -> tuple[tuple[str, str], ...]:
        """Each file with what it is, for messages."""
        files = (("certificate", self.certificate), ("key", self.key), ("CA", self.ca))
        return tuple((what, path) for what, path in files if path)

    def stamp(self) -> tuple[tuple[int, int, int] | None, ...]:
        """Changes when a file is replaced or written; a file that cannot be seen has None."""
        return tuple(_stamp(path) for _, path in self.named)


def check(files: TlsFiles) -> None:
    """Look whether the files can be used.

    A key that all users of the machine may read is a warning in the log.

    Raises:
        ConfigError: a file cannot be read, or is not PEM; key and certificate are not a pair; the
            certificate has expired, is not valid yet, or is not one for a server.
    """
    for what, path in files.named:
        _read(what, path)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    load_pair(server, files)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    load_authorities(client, files.certificate, "certificate")
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # only dates and purpose are in question
    try_handshake(server, client, files)
    if files.ca:
        load_authorities(server, files.ca, "CA")


def load_pair(context: ssl.SSLContext, files: TlsFiles) -> None:
    """Give `context` the certificate and its key. Raises `ConfigError` as `check`."""

    def no_password() -> str:
        raise ConfigError(f"the TLS key {files.key!r} is encrypted: give one that is not")

    load_authorities(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), files.certificate, "certificate")
    try:
        context.load_cert_chain(files.certificate, files.key, no_password)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise ConfigError(
                f"the TLS key {files.key!r} does not belong to the certificate "
                f"{files.certificate!r}"
            ) from error
        raise ConfigError(f"the TLS key {files.key!r} is no private key in PEM") from error
    except OSError as error:
        raise ConfigError(f"cannot read the TLS files: {error.strerror}") from error


def load_authorities(context: ssl.SSLContext, path: str, what: str) -> None:
    """Let `context` trust the certificates in a file. Raises `ConfigError` as `check`."""
    try:
        context.load_verify_locations(path)
    except ssl.SSLError as error:
        raise ConfigError(f"the TLS {what} {path!r} holds no certificate in PEM") from error
    except OSError as error:
        raise ConfigError(f"cannot read the TLS {what} {path!r}: {error.strerror}") from error


def try_handshake(server: ssl.SSLContext, client: ssl.SSLContext, files: TlsFiles) -> None:
    """Let two ends that use `files` meet in memory.

    Raises:
        ConfigError: one does not take the other's certificate; says why.
    """
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [client.wrap_bio(down, up), server.wrap_bio(up, down, server_side=True)]
    try:
        for _ in range(_MOST_ROUNDS):
            ends = [end for end in ends if not _ended(end)]
    except ssl.SSLCertVerificationError as error:
        raise ConfigError(
            f"the TLS certificate {files.certificate!r} cannot be used: {error.verify_message}"
        ) from error
    except ssl.SSLError as error:
        raise ConfigError(
            f"the TLS certificate {files.certificate!r} cannot be used: {error.reason or error}"
        ) from error


def _ended(end: ssl.SSLObject) -> bool:
    try:
        end.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True


def _read(what: str, path: str) -> None:
    try:
        with Path(path).open("rb") as file:
            file.read(1)
        mode = Path(path).stat().st_mode
    except OSError as error:
        raise ConfigError(f"cannot read the TLS {what} {path!r}: {error.strerror}") from error
    if what == "key" and mode & stat.S_IROTH:
        _log.warning("the TLS key %r can be read by all users of this machine", path)


def _stamp(path: str) -> tuple[int, int, int] | None:
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
