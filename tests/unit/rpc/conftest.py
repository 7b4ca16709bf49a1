import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest

from mishards.core.runtime import SystemRuntime
from mishards.rpc.messages import AllocateTimestamp, Message, Reply, TimestampReply
from mishards.rpc.protocol import CallContext
from mishards.rpc.tcp import FramedTransport


class Echo:
    """Answers with the count it was asked for; `answers_inline` as told."""

    def __init__(self, *, inline: bool = False) -> None:
        self.answers_inline = inline
        self.tasks = 0

    async def handle(self, message: Message, context: CallContext) -> Reply:
        self.tasks += 1
        assert isinstance(message, AllocateTimestamp)
        return TimestampReply(timestamp=message.count)  # type: ignore[arg-type]

    def handle_now(self, message: Message, traceparent: str = "") -> Reply | None:
        assert isinstance(message, AllocateTimestamp)
        if message.count % 2:
            return None
        return TimestampReply(timestamp=message.count)  # type: ignore[arg-type]

    def stream(self, message: Message, context: CallContext) -> AsyncIterator[Reply]:
        raise KeyError("no streams here")


Scene = Callable[[FramedTransport, SystemRuntime], Coroutine[Any, Any, None]]


@pytest.fixture
def echo() -> type[Echo]:
    return Echo


@pytest.fixture
def play() -> Callable[[Scene], None]:
    """Runs a scene with a transport, and closes what it used."""

    def run(scene: Scene) -> None:
        async def work() -> None:
            runtime = SystemRuntime(seed=1, threads=1)
            transport = FramedTransport(runtime)
            try:
                async with asyncio.timeout(20):
                    await scene(transport, runtime)
            finally:
                await transport.close()
                await runtime.close()
            assert asyncio.all_tasks() == {asyncio.current_task()}

        asyncio.run(work())

    return run
