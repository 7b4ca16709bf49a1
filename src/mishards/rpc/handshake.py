"""How two ends of a connection agree on a protocol version and prove that they share a secret.

The server greets with its versions and a nonce; the client answers with its versions, a nonce of
its own and a proof over both; the server answers with a proof the other way round. The secret
itself never travels, and a recorded proof is of no use later. An empty secret means none is asked.
Each end names its cluster: one of another cluster is refused, one that names none is not.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets

import msgspec

from mishards.core.errors import ProtocolError

VERSION = 1
OLDEST_VERSION = 1
_MAGIC = "mishards"
_NONCE_BYTES = 16


class Credentials(msgspec.Struct, frozen=True):
    """What an end shows: the secret it shares with its peers, and the id of its cluster."""

    secret: bytes = b""
    cluster: str = ""

    def __repr__(self) -> str:
        return f"Credentials(cluster={self.cluster!r})"


class Hello(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A greeting: which versions an end speaks, and its part of the proof."""

    magic: str = ""
    oldest: int = 0
    newest: int = 0
    nonce: bytes = b""
    proof: bytes = b""
    cluster: str = ""


_decoder = msgspec.msgpack.Decoder(Hello)


def read_hello(body: memoryview) -> Hello:
    """Raises `ProtocolError` when `body` is no greeting."""
    try:
        return _decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(f"not a greeting of the internal protocol: {error}") from error


class Handshake:
    """One end's part; used once."""

    def __init__(self, credentials: Credentials) -> None:
        self._secret = credentials.secret
        self._cluster = credentials.cluster
        self._nonce = secrets.token_bytes(_NONCE_BYTES)
        self._peer_nonce = b""

    def challenge(self) -> Hello:
        """What a server greets with."""
        return self._greeting(b"")

    def answer(self, challenge: Hello) -> Hello:
        """What a client answers to `challenge`.

        Raises:
            ProtocolError: no common version, or another cluster; names both.
        """
        _check_versions(challenge)
        self._check_cluster(challenge)
        self._peer_nonce = challenge.nonce
        return self._greeting(self._prove(b"client", challenge.nonce, self._nonce))

    def accept(self, answer: Hello) -> Hello:
        """What a server says to a client that may stay.

        Raises:
            ProtocolError: no common version, another cluster, or another secret.
        """
        _check_versions(answer)
        self._check_cluster(answer)
        self._check(answer.proof, self._prove(b"client", self._nonce, answer.nonce))
        return Hello(proof=self._prove(b"server", answer.nonce, self._nonce))

    def confirm(self, acceptance: Hello) -> None:
        """A client's check that the server has the secret too.

        Raises:
            ProtocolError: it has another one.
        """
        self._check(acceptance.proof, self._prove(b"server", self._nonce, self._peer_nonce))

    def _greeting(self, proof: bytes) -> Hello:
        return Hello(
            magic=_MAGIC,
            oldest=OLDEST_VERSION,
            newest=VERSION,
            nonce=self._nonce,
            proof=proof,
            cluster=self._cluster,
        )

    def _prove(self, role: bytes, first: bytes, second: bytes) -> bytes:
        if not self._secret:
            return b""
        return hmac.new(self._secret, role + b"|" + first + b"|" + second, hashlib.sha256).digest()

    def _check_cluster(self, hello: Hello) -> None:
        if hello.cluster and self._cluster and hello.cluster != self._cluster:
            raise ProtocolError(
                f"the peer belongs to cluster {hello.cluster!r}, this node to {self._cluster!r}"
            )

    def _check(self, given: bytes, wanted: bytes) -> None:
        if not hmac.compare_digest(given, wanted):
            raise ProtocolError(
                "wrong shared secret: all nodes of a cluster need the same `secret`"
            )


def _check_versions(hello: Hello) -> None:
    if hello.magic != _MAGIC:
        raise ProtocolError(f"the peer does not speak the internal protocol: {hello.magic!r}")
    if hello.newest < OLDEST_VERSION or hello.oldest > VERSION:
        raise ProtocolError(
            f"the peer speaks versions {hello.oldest} to {hello.newest} of the internal protocol; "
            f"this node speaks {OLDEST_VERSION} to {VERSION}"
        )
