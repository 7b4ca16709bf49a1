"""What all messages have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    Raw = bytes | memoryview
else:
    Raw = memoryview  # any buffer is encoded; a view of the frame is decoded


class Form(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A request or an answer."""
