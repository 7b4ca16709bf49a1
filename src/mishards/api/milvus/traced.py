"""Recording calls of the Milvus API: which methods, and how a call's end is told.

Invariant: whatever a call ends with, what records it is ended once.
"""

from __future__ import annotations

import msgspec

from mishards.core.errors import MishardsError
from mishards.core.secret import redact
from mishards.observability.tracing import Recorder, TraceSink, TraceStart
from mishards.proxy.calls import DeleteCall, InsertCall, QueryCall, SearchAnswer, SearchCall
from mishards.proxy.explain import explained

TRACED = frozenset({"Search", "Query", "Insert", "Upsert", "Delete"})
"""Methods whose calls are recorded: those that others wait for a moment later."""
_MOST_WORDS = 500


def begun(
    traces: TraceSink | None, method: str, start: TraceStart | Recorder | None
) -> Recorder | None:
    """What records a call: the recorder it was begun with already, or a new one."""
    if traces is None or method not in TRACED:
        return None
    if isinstance(start, Recorder):
        return start
    return traces.begin(method, start)


def begun_to_explain(traces: TraceSink | None, start: TraceStart | None = None) -> Recorder | None:
    """What records a search that is to be explained, where calls are not recorded."""
    return None if traces is None else traces.begin("Search", start, always=True)


def describe(
    recorder: Recorder | None, call: SearchCall | QueryCall | InsertCall | DeleteCall
) -> None:
    """Say on the root what was asked for."""
    if recorder is None:
        return
    told = recorder.root.attributes
    told["collection"] = call.collection
    if call.database:
        told["database"] = call.database
    if isinstance(call, InsertCall):
        told["rows"] = call.batch.num_rows
        return
    if isinstance(call, SearchCall):
        told["nq"], told["k"] = call.nq, call.limit
    if call.filter:
        told["filter"] = call.filter[:_MOST_WORDS]


def explanation(recorder: Recorder | None, call: SearchCall, answer: SearchAnswer) -> str:
    """As JSON what a search has done so far, where it asks for that."""
    if not call.explain or recorder is None:
        return ""
    recorder.leave()
    return msgspec.json.encode(explained(recorder.trace(), answer.view, call)).decode()


def ended(
    traces: TraceSink | None, recorder: Recorder | None, error: BaseException | None = None
) -> None:
    """The call has ended, with an error or without."""
    if traces is None or recorder is None:
        return
    if error is None:
        traces.end(recorder)
        return
    failed = isinstance(error, Exception)
    if isinstance(error, MishardsError):
        failed = not error.input_fault
    traces.end(recorder, told(error), failed=failed)


def told(error: BaseException) -> str:
    """What a span says of an error."""
    return f"{type(error).__name__}: {redact(str(error))}"[:_MOST_WORDS]
