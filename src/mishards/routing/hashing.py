"""Hashes that are the same in every process, release and machine: routing depends on it."""

from __future__ import annotations

from hashlib import blake2b


def hash_text(text: str) -> int:
    """64 bits of a text."""
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little")


def hash_unit(unit: int) -> int:
    """64 bits of a routing unit, which fits a signed 64-bit integer."""
    packed = unit.to_bytes(8, "little", signed=True)
    return int.from_bytes(blake2b(packed, digest_size=8).digest(), "little")
