"""Pins: objects `pins/<name>` by which a reader outside the cluster holds back all removal.

While any pin holds, nothing is removed from storage: no file, no log entry. Invariants: what was
read of the metadata store after a pin was made stays whole until the pin ends; a pin whose holder
died ends by itself, because its beat stands still, judged on the observer's monotonic clock; a
holder that could not renew in time learns of it before an observer lets the pin go.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec

from mishards.core.errors import MishardsError, ObjectNotFound, PinLost
from mishards.core.runtime import Runtime
from mishards.storage.protocol import ObjectStore

PREFIX = "pins/"
PIN_TTL_S = 60.0
_MOST_TTL_S = 3600.0
_BEATS_PER_TTL = 6
_TRUSTED_SHARE = 0.8
"""Of its time to live, how long a holder relies on its last beat: clocks need not run alike."""
_log = logging.getLogger(__name__)


class _Beat(msgspec.Struct, frozen=True):
    """Contents of a pin's object.

    Attributes:
        ttl_s: how long an observer waits for the next beat.
    """

    beat: int
    ttl_s: float = PIN_TTL_S


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(_Beat)


class Pin:
    """A pin as its holder has it."""

    def __init__(self, store: ObjectStore, runtime: Runtime, key: str, ttl_s: float) -> None:
        self.key = key
        self._store = store
        self._runtime = runtime
        self._ttl_s = ttl_s
        self._beat = 0
        self._renewed_s = runtime.monotonic_s()
        self._lost = False

    def check(self) -> None:
        """Make sure that nothing was removed since the pin was made.

        Raises:
            PinLost: it was not renewed in time; what is read meanwhile may be incomplete.
        """
        self._lost |= self._age_s() >= self._ttl_s * _TRUSTED_SHARE
        if self._lost:
            raise PinLost(
                f"pin {self.key!r} could not be renewed within "
                f"{self._ttl_s * _TRUSTED_SHARE:g} s: what it held back may have been removed"
            )

    async def renew(self) -> None:
        """Beat once. Raises `PinLost`, `StorageError`, `DiskFull`."""
        self.check()
        begun_s = self._runtime.monotonic_s()
        await self._store.put(self.key, _encoder.encode(_Beat(self._beat + 1, self._ttl_s)))
        self.check()
        self._beat += 1
        self._renewed_s = begun_s

    async def keep(self) -> None:
        """Beat until cancelled, or lost."""
        while not self._lost:
            await self._runtime.sleep(self._ttl_s / _BEATS_PER_TTL)
            try:
                await self.renew()
            except MishardsError as error:
                _log.warning("pin %r was not renewed: %s", self.key, error.message)

    def _age_s(self) -> float:
        return self._runtime.monotonic_s() - self._renewed_s


@asynccontextmanager
async def pinned(
    store: ObjectStore, runtime: Runtime, name: str, *, ttl_s: float = PIN_TTL_S
) -> AsyncIterator[Pin]:
    """Hold back all removal from `store` while the body runs.

    Read the metadata store *after* entering: what that names, and the log from its `replay_from`
    on, stays. Long work may call `check` of the pin in between to end early.

    Args:
        name: shown to operators; made distinct, so equal names do not disturb each other.
        ttl_s: at most an hour; how long removal is held back after the holder died.

    Raises:
        PinLost: at the end, when the pin did not hold all the time: do not use what was read.
        StorageError, DiskFull: the pin could not be made.
    """
    key = f"{PREFIX}{name}-{runtime.random.getrandbits(64):016x}"
    pin = Pin(store, runtime, key, min(ttl_s, _MOST_TTL_S))
    keeping: asyncio.Task[None] | None = None
    try:
        await pin.renew()
        keeping = runtime.spawn(pin.keep(), f"pin {key}")
        yield pin
        pin.check()
    finally:
        if keeping is not None:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
        try:
            await store.delete(key)
        except MishardsError as error:
            _log.warning("pin %r stays until it expires: %s", key, error.message)


class PinWatch:
    """One observer's view of all pins. From the loop's thread."""

    def __init__(self, store: ObjectStore, runtime: Runtime) -> None:
        self._store = store
        self._runtime = runtime
        self._seen: dict[str, tuple[bytes, float]] = {}

    async def holding(self) -> tuple[str, ...]:
        """Keys of the pins that hold at this moment; one that stood still too long is removed.

        Raises:
            StorageError: pins cannot be read: nothing may be removed.
        """
        held = []
        keys = [info.key for info in await self._store.list(PREFIX)]
        self._seen = {key: seen for key, seen in self._seen.items() if key in keys}
        for key in keys:
            try:
                data = await self._store.get(key)
            except ObjectNotFound:
                continue
            now_s = self._runtime.monotonic_s()
            known, since_s = self._seen.get(key, (b"", now_s))
            if known != data:
                self._seen[key] = (data, now_s)
                held.append(key)
            elif now_s - since_s < _ttl_s(data):
                held.append(key)
            else:
                _log.warning("pin %r stood still for %.0f s: removed", key, now_s - since_s)
                await self._store.delete(key)
        return tuple(held)


def _ttl_s(data: bytes) -> float:
    """How long the pin holds; one that cannot be read holds as long as most do."""
    try:
        return min(_decoder.decode(data).ttl_s, _MOST_TTL_S)
    except msgspec.MsgspecError:
        return PIN_TTL_S
