"""Who has shown the token: a cookie that a browser gets for it, and forms that only it can send.

A session is signed with the token and kept nowhere, so every proxy with the same token knows it,
and another token ends all of them.

Invariants: nothing of the token can be read from a cookie; everything that comes from outside is
compared in constant time; without a token no session is good.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Callable
from hashlib import sha256

from mishards.core.secret import Secret

LIFE_S = 12 * 3600


class Sessions:
    """Makes and checks sessions. Any thread."""

    def __init__(self, token: Secret, now_ms: Callable[[], int]) -> None:
        self._key = sha256(b"mishards console\0" + token.reveal().encode()).digest()
        self._enabled = bool(token)
        self._now_ms = now_ms

    def begin(self) -> str:
        """A session, for whoever showed the token."""
        said = f"{self._now_ms() // 1000 + LIFE_S}.{os.urandom(16).hex()}"
        return f"{said}.{self._signed('session', said)}"

    def good(self, session: str) -> bool:
        """Whether it was made here, or by a proxy with the same token, and has not run out."""
        said, _, signature = session.rpartition(".")
        if not self._enabled or not self._equal(signature, self._signed("session", said)):
            return False
        end_s = int(said.partition(".")[0])
        return self._now_ms() < 1000 * end_s

    def proof(self, session: str) -> str:
        """What a form has to bring along, to be from a page that was made for the session."""
        return self._signed("form", session)

    def proves(self, session: str, proof: str) -> bool:
        """Whether that is the session's proof."""
        return self._equal(proof, self.proof(session))

    def _signed(self, what: str, text: str) -> str:
        return hmac.digest(self._key, f"{what}\0{text}".encode(errors="replace"), sha256).hex()

    @staticmethod
    def _equal(one: str, other: str) -> bool:
        return hmac.compare_digest(one.encode(errors="replace"), other.encode())
