"""How long rows live: the property `collection.ttl.seconds`, and which rows have expired.

Invariant: a row has expired when its timestamp is at most `expired_up_to`, whoever asks; time is
that of the collection's log, so a node's clock makes no fresh row vanish.
Source: https://milvus.io/docs/set-collection-ttl.md.
"""

from __future__ import annotations

from collections.abc import Iterable

from mishards.core.errors import InvalidParameter
from mishards.core.ids import Timestamp
from mishards.core.timestamps import compose, physical_ms

TTL_PROPERTY = "collection.ttl.seconds"
MOST_TTL_S = 3_155_760_000
"""A hundred years, as in Milvus."""


def ttl_of(properties: Iterable[tuple[str, str]]) -> int:
    """The time to live in seconds; 0 when rows live for ever, for which -1 may be written too.

    Raises:
        InvalidParameter: the value is no whole number, or out of range.
    """
    text = dict(properties).get(TTL_PROPERTY, "").strip()
    if not text:
        return 0
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdecimal()):
        raise InvalidParameter(
            f"invalid {TTL_PROPERTY} {text!r}: a whole number of seconds is allowed"
        )
    # Long numbers are not worth turning into one.
    seconds = int(text) if len(text) <= len(str(MOST_TTL_S)) else MOST_TTL_S + 1
    if not -1 <= seconds <= MOST_TTL_S:
        raise InvalidParameter(
            f"collection TTL is out of range, expect [-1, {MOST_TTL_S}], got {text}"
        )
    return max(seconds, 0)


def expired_up_to(ttl_s: int, now: Timestamp) -> Timestamp:
    """Rows with timestamps up to this have expired; 0 when none ever does.

    Args:
        now: of the collection's log.
    """
    if not ttl_s:
        return Timestamp(0)
    return max(compose(physical_ms(now) - 1000 * ttl_s), Timestamp(0))
