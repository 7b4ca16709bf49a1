"""From a consistency level to the state a read must see.

Strong asks the leader for its newest acknowledged timestamp; Session takes the client's last
write; Bounded and Eventually take what this proxy has seen of the log. Where no leader can say,
the end of the log on storage does.
"""

from __future__ import annotations

import msgspec

from mishards.core.errors import InternalError, InvalidParameter, SystemFault
from mishards.core.ids import LogId, Timestamp
from mishards.core.runtime import Runtime
from mishards.core.timestamps import physical_ms
from mishards.metadata.models import ConsistencyLevel
from mishards.observability.tracing import current
from mishards.proxy.config import ProxyConfig
from mishards.proxy.leader import Leaders
from mishards.proxy.state import KnownLog, ProxyState
from mishards.proxy.traced import error_text, span_name
from mishards.rpc.messages import NewestTimestamp, Reply, TimestampReply

_LEADER_TIMEOUT_S = 1.0
_GREATEST_LAG_MS = 24 * 3600 * 1000
"""As in Milvus: more than clocks may differ by, less than any mistake of units."""


class Moment(msgspec.Struct, frozen=True):
    """What a read is to see.

    Attributes:
        read_ts: everything up to this …
        from_storage: … when only storage can tell how far.
        claimed: … which the caller says, and no leader.
        expired: … but for rows up to this.
    """

    read_ts: Timestamp
    from_storage: bool = False
    claimed: bool = False
    expired: Timestamp = Timestamp(0)


class ConsistencyClock:
    """Chooses the moment of each read, on the log of the collection that is read."""

    def __init__(
        self, runtime: Runtime, config: ProxyConfig, state: ProxyState, leaders: Leaders
    ) -> None:
        self._runtime = runtime
        self._config = config
        self._state = state
        self._leaders = leaders

    def moment_now(
        self, log_id: LogId, level: ConsistencyLevel, guarantee_ts: int
    ) -> Moment | None:
        """The moment where it can be told at once, in any thread; else None.

        Raises:
            InvalidParameter: the guarantee timestamp will not be reached in any useful time.
        """
        heard = self._state.log(log_id)
        known = heard.timestamp
        if level is ConsistencyLevel.STRONG:
            channel = self._leaders.of(log_id).channel()
            answer = None if channel is None else channel.call_now(NewestTimestamp(log=log_id))
            return None if answer is None else Moment(max(known, _timestamp(answer)))
        if level is ConsistencyLevel.BOUNDED and self._is_stale(heard):
            return Moment(known, from_storage=True)
        if level in (ConsistencyLevel.SESSION, ConsistencyLevel.CUSTOMIZED):
            self._check_lag(guarantee_ts)
            return Moment(max(known, Timestamp(guarantee_ts)), claimed=guarantee_ts > known)
        return Moment(known)

    async def moment(
        self, log_id: LogId, level: ConsistencyLevel, guarantee_ts: int, timeout_s: float
    ) -> Moment:
        """The moment of a read; asks the leader where the level needs it."""
        now = self.moment_now(log_id, level, guarantee_ts)
        if now is not None:
            return now
        known = self._state.log(log_id).timestamp
        channel = self._leaders.of(log_id).channel()
        recorder = current()
        if channel is None:
            if recorder is not None:
                recorder.event("no_leader", log=log_id)
            return Moment(known, from_storage=True)
        message = NewestTimestamp(log=log_id)
        span = None
        if recorder is not None:
            span = recorder.open(span_name(message, channel.address))
        error = ""
        try:
            answer = await channel.call(message, timeout_s=min(timeout_s, _LEADER_TIMEOUT_S))
        except SystemFault as fault:
            # A leader that cannot tell, for it cannot reach storage, is as good as none.
            error = error_text(fault)
            return Moment(known, from_storage=True)
        finally:
            if recorder is not None and span is not None:
                recorder.close(span, error)
        return Moment(max(known, _timestamp(answer)))

    def _check_lag(self, guarantee_ts: int) -> None:
        """A read waits for its guarantee timestamp: one of a far future would only hang."""
        lag_ms = physical_ms(Timestamp(guarantee_ts)) - self._runtime.now_ms()
        if lag_ms > _GREATEST_LAG_MS:
            raise InvalidParameter(
                f"guarantee_timestamp {guarantee_ts} is {lag_ms // 1000} seconds in the future; "
                f"at most {_GREATEST_LAG_MS // 1000} are allowed"
            )

    def _is_stale(self, heard: KnownLog) -> bool:
        return self._runtime.monotonic_s() - heard.heard_s > self._config.staleness_s


def _timestamp(answer: Reply) -> Timestamp:
    if not isinstance(answer, TimestampReply):
        raise InternalError(f"the leader answered {type(answer).__name__} to NewestTimestamp")
    return answer.timestamp
