"""When to send a hedged copy of a sub-request."""

from __future__ import annotations

from collections import deque

from mishards.proxy.config import ProxyConfig


class HedgeClock:
    """When to send a hedged copy: after the tail of recent latencies, within a budget."""

    def __init__(self, config: ProxyConfig) -> None:
        self._config = config
        self._recent: deque[float] = deque(maxlen=256)
        self._sent = 0
        self._hedged = 0
        self._delay_s = 0.0

    def observe(self, latency_s: float) -> None:
        self._recent.append(latency_s)
        if len(self._recent) >= 16 and self._sent % 32 == 0:
            tail = sorted(self._recent)[int(len(self._recent) * 0.95)]
            self._delay_s = max(2 * tail, self._config.hedge_least_ms / 1000)

    def delay_s(self) -> float | None:
        """How long to wait before a copy; None while too little is known."""
        self._sent += 1
        return self._delay_s if self._config.hedge and self._delay_s else None

    def take(self) -> bool:
        """Whether the budget allows one more copy; counts it."""
        if self._hedged + 1 > self._config.hedge_budget * self._sent:
            return False
        self._hedged += 1
        return True
