"""What a transport is, and how a role is called through it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Protocol

import msgspec

from mishards.observability.tracing import Hops
from mishards.rpc.messages import Message, Reply


class CallContext(msgspec.Struct, frozen=True):
    """What travels beside a message.

    Attributes:
        deadline_s: on the receiver's monotonic clock.
        traceparent: W3C trace context, empty when the call is not traced.
    """

    deadline_s: float
    traceparent: str = ""


class Handler(Protocol):
    """A role as its peers see it. From the loop's thread, but `handle_now`."""

    async def handle(self, message: Message, context: CallContext) -> Reply:
        """Answer one call; cancelled when the caller goes or the deadline passes.

        Raises:
            MishardsError: travels to the caller as the same class with the same message.
        """

    def handle_now(self, message: Message, traceparent: str = "") -> Reply | None:
        """The answer where it can be computed at once in the calling thread, else None.

        Cheap work only: it blocks whoever calls. Thread-safe.
        """

    def stream(self, message: Message, context: CallContext) -> AsyncIterator[Reply]:
        """Answer one call with a stream; closed when the caller goes."""


class Channel(Protocol):
    """A way to one peer, kept open, with many calls in flight."""

    address: str

    async def call(self, message: Message, *, timeout_s: float, traceparent: str = "") -> Reply:
        """Send and await the answer; cancelling the caller cancels the call at the peer.

        Raises:
            DeadlineExceeded: no answer within `timeout_s`.
            Unavailable: the peer cannot be reached or the connection broke.
            MishardsError: what the peer raised.
        """

    def begin(
        self, message: Message, *, timeout_s: float, traceparent: str = ""
    ) -> asyncio.Future[Reply] | None:
        """Send at once where that needs no waiting; None where it does: use `call` then.

        The future carries what `call` would give or raise; cancelling it cancels the call at the
        peer. From the loop's thread.
        """

    def call_now(self, message: Message, traceparent: str = "") -> Reply | None:
        """The answer without waiting where the peer is in this process and can give it at once.

        Thread-safe. None everywhere else.
        """

    def stream(self, message: Message) -> AsyncIterator[Reply]:
        """Send and iterate over the answers. Raises as `call`, less the deadline."""

    async def close(self) -> None:
        """Close; calls in flight end with `Unavailable`."""


class Listener(Protocol):
    address: str
    """Where it listens, with the port that was taken for port 0."""

    async def close(self) -> None:
        """Stop accepting, cancel what runs, close connections."""


class Transport(Protocol):
    async def listen(self, address: str, handler: Handler) -> Listener:
        """Serve `handler` at `address`.

        Raises:
            ConfigError: the address cannot be used; names it.
        """

    def channel(self, address: str) -> Channel:
        """The channel to `address`, shared by all callers; connects at the first call and again
        after a break."""

    def ask_now(
        self,
        requests: Sequence[tuple[str, Message]],
        timeout_s: float,
        hops: Hops | None = None,
    ) -> list[Reply] | None:
        """All answers to messages to different peers, got by blocking the calling thread.

        For threads other than the loop's. None where any answer is an error or is not there
        within `timeout_s`, or where the transport cannot: whoever needs to know more asks again
        through channels. Messages must be safe to repeat.

        Args:
            hops: records the calls, in the order of `requests`; None where nothing does.
        """

    async def close(self) -> None:
        """Close all channels."""
