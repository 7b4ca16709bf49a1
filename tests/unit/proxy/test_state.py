"""What a proxy takes for the time of a log."""

from __future__ import annotations

import asyncio

from mishards.core.ids import EntrySeq, LogId, Timestamp
from mishards.core.timestamps import compose, physical_ms
from mishards.proxy.state import ProxyState
from mishards.testing.clock import VirtualRuntime, run_virtual

LOG = LogId(3)


def test_a_log_s_time_goes_on_from_what_was_heard_whatever_the_own_clock_says() -> None:
    async def scene() -> None:
        runtime = VirtualRuntime("proxy")
        state = ProxyState(runtime)
        heard = compose(10**12, 5)
        state.apply_tick(LOG, EntrySeq(1), heard)
        runtime.clock_offset_ms = 3_600_000
        assert state.log_time(LOG) == heard
        await asyncio.sleep(2.5)
        assert physical_ms(Timestamp(state.log_time(LOG))) == 10**12 + 2500
        state.apply_tick(LOG, EntrySeq(2), compose(10**12 + 2000))
        assert physical_ms(state.log_time(LOG)) == 10**12 + 2000

    run_virtual(scene())


def test_of_a_log_never_heard_of_the_own_clock_tells_the_time() -> None:
    async def scene() -> None:
        runtime = VirtualRuntime("proxy")
        assert physical_ms(ProxyState(runtime).log_time(LOG)) == runtime.now_ms()

    run_virtual(scene())
