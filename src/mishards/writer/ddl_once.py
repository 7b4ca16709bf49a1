"""DDL with a token: applied once, though it is asked for again across a change of leader.

Invariants: what a DDL changes and that it was done are one transaction of the metadata, so every
later leader knows of both or of neither. A DDL that changed nothing leaves no trace: asked for
again, it is decided anew, as one that came later.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping

from mishards.core.ids import Timestamp
from mishards.metadata.models import DdlMeta
from mishards.metadata.snapshot import MetadataSnapshot
from mishards.rpc.messages import DdlOnce
from mishards.writer.ddl import DDL_RULES
from mishards.writer.edit import NOTHING, Edit, Fresh

MOST_REMEMBERED = 4096
"""Of the last DDLs: many times what can be done while a proxy goes on asking for one."""


def ddl_once(snapshot: MetadataSnapshot, message: DdlOnce, fresh: Fresh) -> Edit:
    """What a DDL changes; nothing where it was done already.

    Raises:
        MishardsError: what its rule raises.
    """
    token = message.token.hex()
    if token in snapshot.ddls:
        return NOTHING
    edit = DDL_RULES[type(message.ddl)](snapshot, message.ddl, fresh)
    if edit.is_empty:
        return edit
    done = DdlMeta(token=token, done=fresh())
    return Edit((*edit.puts, done), (*edit.deletes, *_forgotten(snapshot.ddls)))


def _forgotten(done: Mapping[str, Timestamp]) -> tuple[str, ...]:
    """Keys of records to delete, so that one more makes `MOST_REMEMBERED` of them."""
    surplus = max(len(done) + 1 - MOST_REMEMBERED, 0)
    oldest = heapq.nsmallest(surplus, done, key=done.__getitem__)
    return tuple(DdlMeta(token=token, done=done[token]).key for token in oldest)
