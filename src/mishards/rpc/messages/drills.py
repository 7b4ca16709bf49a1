"""Faults that an operator asks for on purpose."""

from __future__ import annotations

from typing import Literal

from mishards.rpc.messages.form import Form

LONGEST_S = 60.0
"""The longest that a fault may last which ends by itself."""
DrillFault = Literal["none", "kill", "pause", "fail_storage", "stall_storage"]


class Drill(Form, frozen=True, kw_only=True, tag="drill"):
    """Let the node that is asked come to harm; it obeys only where drills are enabled.

    Attributes:
        fault: `none` does nothing but ask whether it would obey, and ends what the same token began
            where that can be ended.
        seconds: how long it lasts, where it ends by itself.
        token: of the drill; while one goes on the node takes no other.
    """

    fault: DrillFault
    token: str
    seconds: float = 0.0


class DrillBegun(Form, frozen=True, kw_only=True, tag="drill_begun"):
    """The fault begins as soon as this answer is on its way."""

    node: str
