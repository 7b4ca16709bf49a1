from __future__ import annotations

import asyncio
import threading

from mishards.core.runtime import SystemRuntime


def test_what_blocks_apart_holds_up_nobody_else() -> None:
    async def main() -> None:
        runtime = SystemRuntime(threads=1)
        service = runtime.apart("service")
        answer = threading.Event()
        waiting = [asyncio.ensure_future(service.blocking(answer.wait)) for _ in range(3)]
        assert await asyncio.wait_for(runtime.blocking(int, "7"), 10) == 7
        assert await asyncio.wait_for(runtime.apart("another").blocking(int, "8"), 10) == 8
        assert not any(one.done() for one in waiting)
        answer.set()
        assert await asyncio.gather(*waiting) == [True] * 3
        await runtime.close()

    asyncio.run(main())


def test_threads_apart_end_with_the_runtime() -> None:
    async def main() -> list[threading.Thread]:
        others = set(threading.enumerate())
        runtime = SystemRuntime(threads=1)
        await runtime.blocking(int)
        await runtime.apart("service").apart("deeper").blocking(int)
        mine = [thread for thread in threading.enumerate() if thread not in others]
        await runtime.close()
        return mine

    mine = asyncio.run(main())
    assert {thread.name.rpartition("_")[0] for thread in mine} == {"mishards", "mishards-deeper"}
    assert not any(thread.is_alive() for thread in mine)
