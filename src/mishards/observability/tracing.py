"""Recording what a request does, while it does it, at the price of a few list entries.

The node that takes a request holds a `Recorder`; who works for the request finds it with `current`
(or is handed it, where work goes on in another thread), and says what it does in stages and in
spans beside one another. A node that is asked to record has a recorder of its own, and gives its
spans back encoded: they are decoded only where the trace is kept. Whether it is kept is decided
when the request has ended, by the `TraceSink`.

Invariants: where nothing is recorded, a step costs one look at `current`, or one test for None. A
recorder is used by one thread at a time. A finished trace is whole: what had not ended when the
request did, ended with it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, NamedTuple, Protocol

import msgspec

from mishards.observability.spans import Span, SpanEvent, Trace, Value

MOST_SPANS = 200
"""That a node gives back; one that touches more units says how many it left out."""
_MOST_BYTES = 1 << 20
"""Of other nodes' spans in one trace."""

_encode = msgspec.msgpack.Encoder().encode


class TraceStart(NamedTuple):
    """What a caller's headers say of its trace.

    Attributes:
        trace_id: 32 lower-case hex digits; empty where this node is to choose.
        parent_id: the caller's span; 0 for none.
        sampled: the caller's decision; None where it leaves it to this node.
        told: what else it says of the call, as attributes of the root.
    """

    trace_id: str
    parent_id: int
    sampled: bool | None = None
    told: Mapping[str, Value] = {}


class OpenSpan(msgspec.Struct, array_like=True):
    """A `Span` in the making: the same form on the wire. `end_ns` is 0 until it ends."""

    name: str
    span_id: int
    parent_id: int
    start_ns: int
    end_ns: int
    node: str
    attributes: dict[str, Value] = {}
    events: list[SpanEvent] = []
    error: str = ""


_decode = msgspec.msgpack.Decoder(list[OpenSpan]).decode


class Recorder:
    """One node's share of one trace.

    Attributes:
        root: the span around all others of this node.
        stage: the step that the request is in; the root where it is in none.
        sampled: chosen before it began.
    """

    __slots__ = (
        "_adopted",
        "_adopted_bytes",
        "_joint",
        "_left_out",
        "_now_ns",
        "_spans",
        "node",
        "root",
        "sampled",
        "stage",
        "trace_id",
    )

    def __init__(
        self,
        name: str,
        node: str,
        now_ns: Callable[[], int],
        trace_id: str,
        parent_id: int,
        span_id: int,
        *,
        sampled: bool = False,
    ) -> None:
        """Begin now.

        Args:
            span_id: of the root, by chance, below 2^63; the other spans count on from it.
        """
        self.trace_id = trace_id
        self.node = node
        self.sampled = sampled
        self._now_ns = now_ns
        self.root = self.stage = OpenSpan(name, span_id, parent_id, now_ns(), 0, node)
        self._spans = [self.root]
        self._left_out = 0
        self._adopted: list[bytes | memoryview] = []
        self._adopted_bytes = 0
        self._joint: Recorder | None = None

    def begin(self, name: str) -> OpenSpan:
        """The next stage of the request; the one before ends."""
        now = self._now_ns()
        root, stage, spans = self.root, self.stage, self._spans
        if stage is not root:
            stage.end_ns = now
        self.stage = stage = OpenSpan(
            name, root.span_id + len(spans), root.span_id, now, 0, self.node
        )
        spans.append(stage)
        return stage

    def leave(self) -> None:
        """End the stage; none follows yet."""
        if self.stage is not self.root:
            self.stage.end_ns = self._now_ns()
            self.stage = self.root

    def fold(self, name: str) -> None:
        """What was done so far was in vain, and is begun again: put it below a span of its own."""
        root, done = self.root, self._spans[1:]
        if not done:
            return
        self.leave()
        around = self.open(name)
        around.start_ns = root.start_ns
        self.close(around)
        for span in done:
            if span.parent_id == root.span_id:
                span.parent_id = around.span_id

    def open(self, name: str, within: OpenSpan | None = None) -> OpenSpan:
        """A span beside others within the stage (or `within`); end it with `close`."""
        spans = self._spans
        parent = (within or self.stage).span_id
        made = OpenSpan(name, self.root.span_id + len(spans), parent, self._now_ns(), 0, self.node)
        spans.append(made)
        return made

    def close(self, span: OpenSpan, error: str = "") -> None:
        """End a span; its first end counts."""
        if not span.end_ns:
            span.end_ns = self._now_ns()
            span.error = error

    def event(self, name: str, at: OpenSpan | None = None, **attributes: Value) -> None:
        """Something happened, in the stage or within the span `at`."""
        (at or self.stage).events.append(SpanEvent(name, self._now_ns(), attributes))

    def add(self, name: str, start_ns: int, end_ns: int, **attributes: Value) -> None:
        """A step that was over before anyone asked, below the root."""
        spans, root = self._spans, self.root
        made = OpenSpan(
            name, root.span_id + len(spans), root.span_id, start_ns, end_ns, self.node, attributes
        )
        spans.append(made)

    @property
    def is_full(self) -> bool:
        """Whether a node that works for another is to leave out further spans; counts that one."""
        if len(self._spans) < MOST_SPANS:
            return False
        self._left_out += 1
        return True

    def traceparent(self, within: OpenSpan) -> str:
        """The header of a call that is made in a span: the peer's spans go below it."""
        flags = "01" if self.sampled else "00"
        return f"00-{self.trace_id}-{within.span_id:016x}-{flags}"

    def adopt(self, spans: bytes | memoryview) -> None:
        """Take the spans that a peer gave back."""
        size = len(spans)
        if not size:
            return
        if self._adopted_bytes + size > _MOST_BYTES:
            self._left_out += 1
            return
        self._adopted_bytes += size
        self._adopted.append(spans)

    def share(self, other: Recorder) -> None:
        """What `other` records below its root is this one's too: both requests are served by
        one and the same work."""
        self._joint = other

    def end(self, error: str = "") -> None:
        """The request has ended, and with it all that had not."""
        root, now = self.root, self._now_ns()
        if self.stage is not root:
            self.stage.end_ns = now
            self.stage = root
        root.end_ns = now
        if error:
            root.error = error

    @property
    def duration_ns(self) -> int:
        """Between begin and end."""
        return self.root.end_ns - self.root.start_ns

    def given_back(self) -> bytes:
        """End, and the spans as a peer's `adopt` takes them."""
        self.end()
        if self._left_out:
            self.root.attributes["spans_left_out"] = self._left_out
        return _encode(self._spans)

    def trace(self) -> Trace:
        """All of it, as far as it has ended; what has not, ends now."""
        end = self.root.end_ns or self._now_ns()
        if self._left_out:
            self.root.attributes["spans_left_out"] = self._left_out
        found = [_whole(span, end) for span in self._all()]
        return Trace(self.trace_id, self.sampled, tuple(found))

    def _all(self) -> list[OpenSpan]:
        found = [*self._spans, *(span for part in self._adopted for span in _decode(part))]
        if self._joint is not None:
            found += [_moved(span, self._joint.root, self.root) for span in self._joint._all()[1:]]
        return found


class Hops:
    """The calls of one request to several peers at once, each a span: told to a transport that
    sends them and gathers the answers."""

    __slots__ = ("_recorder", "spans")

    def __init__(self, recorder: Recorder, names: Sequence[str]) -> None:
        self._recorder = recorder
        self.spans = [recorder.open(name) for name in names]

    def traceparent(self, place: int) -> str:
        """The header of the call at a place of the order given."""
        return self._recorder.traceparent(self.spans[place])

    def answered(self, place: int) -> None:
        """The answer to that call is here."""
        self._recorder.close(self.spans[place])

    def adopt(self, place: int, spans: bytes | memoryview) -> None:
        """The answer to that call gives the peer's spans back."""
        self._recorder.close(self.spans[place])
        self._recorder.adopt(spans)


class TraceSink(Protocol):
    """Decides what is recorded, and takes what was. Any thread."""

    @property
    def records(self) -> bool:
        """Whether requests are recorded that nobody asks it for."""

    def begin(
        self, name: str, start: TraceStart | None, *, always: bool = False
    ) -> Recorder | None:
        """What records a request that begins now; None where it is not to be recorded.

        Args:
            name: of the API's method.
            start: what the caller's headers say; None where they say nothing.
            always: it is to be recorded, whatever else is.
        """

    def end(self, recorder: Recorder, error: str = "", *, failed: bool = False) -> None:
        """The request has ended.

        Args:
            error: what it was answered with; empty for success.
            failed: that was the system's fault, not the caller's.
        """


_CURRENT: ContextVar[Recorder | None] = ContextVar("mishards_recorder", default=None)
current = _CURRENT.get
"""What records the request that this task or thread works for; None where nothing does."""
recording = _CURRENT.set
"""Sets `current`; `recorded` takes back what this gave."""
recorded = _CURRENT.reset


class PeerTraces:
    """What records a node's work for others. Any thread."""

    def __init__(self, now_ns: Callable[[], int], node: str) -> None:
        self._now_ns = now_ns
        self._node = node
        self._chance = random.Random(f"{node}/{now_ns()}")

    def begin(self, name: str, traceparent: str) -> Recorder | None:
        """What records a call that came with a header of `Recorder.traceparent`'s form; None
        where there is none, or another one."""
        if not traceparent:
            return None
        try:
            parent_id = int(traceparent[36:52], 16)
        except ValueError:
            return None
        span_id = self._chance.getrandbits(62) + 1
        return Recorder(name, self._node, self._now_ns, traceparent[3:35], parent_id, span_id)


def _whole(span: OpenSpan, end_ns: int) -> Span:
    return Span(
        span.name,
        span.span_id,
        span.parent_id,
        span.start_ns,
        max(span.start_ns, span.end_ns or end_ns),
        span.node,
        span.attributes,
        tuple(span.events),
        span.error,
    )


def _moved(span: OpenSpan, away: OpenSpan, to: OpenSpan) -> OpenSpan:
    """A span of another trace below this trace's root, where it was right below that one's."""
    if span.parent_id != away.span_id:
        return span
    moved: Any = msgspec.structs.replace(span, parent_id=to.span_id)
    return moved  # type: ignore[no-any-return]
