"""Prometheus and Alertmanager for tests; each runs by files that it is given.

Invariant: both keep what they know over restarts, and talk to nobody but whom their files name.
"""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import requests

from mishards.testing.services.server import Server, lacking, program

_ASK_S = 20.0
_CHECK_S = 60.0


class Sample(NamedTuple):
    """One series of an answer, at one time."""

    labels: Mapping[str, str]
    value: float


class Configured(Server):
    """See `Server`; `configure` it before it starts, or while it runs."""

    file_name = ""
    tool = ""

    @property
    def listen(self) -> str:
        """`host:port` of its API."""
        return f"127.0.0.1:{self.port}"

    def configure(self, **texts: str) -> None:
        """Write files into `folder`, by their names without suffix, and use them at once.

        Raises:
            AssertionError: they are refused; with the reason.
        """
        for name, text in texts.items():
            (self.folder / f"{name}.yml").write_text(text)
        if refusal := self.refusal():
            raise AssertionError(refusal)
        if self.running:
            answer = requests.post(f"http://{self.listen}/-/reload", timeout=_ASK_S)
            assert answer.ok, answer.text

    def refusal(self) -> str:
        """What the program's own tool has against its files; empty where that is nothing."""
        done = subprocess.run(
            (str(program(self.tool)), *self.check),
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=_CHECK_S,
        )
        return f"{done.stdout}{done.stderr}" if done.returncode else ""

    @property
    def check(self) -> Sequence[str]:
        """What the tool is told to check."""
        raise NotImplementedError

    def answers(self) -> bool:
        try:
            return requests.get(f"http://{self.listen}/-/ready", timeout=_ASK_S).ok
        except requests.RequestException:
            return False

    @property
    def file(self) -> Path:
        """What it runs by."""
        return self.folder / f"{self.file_name}.yml"


class Prometheus(Configured):
    """See `Configured`: `prometheus.yml`, and whatever files of rules that names."""

    name = "Prometheus"
    file_name = "prometheus"
    tool = "promtool"
    stop_signal = signal.SIGKILL  # a gentle end waits for all its queries

    @classmethod
    def missing(cls) -> str:
        return lacking(cls.name, program("prometheus"), program("promtool"))

    @property
    def check(self) -> Sequence[str]:
        return ("check", "config", str(self.file))

    def command(self) -> Sequence[str]:
        return (
            str(program("prometheus")),
            f"--config.file={self.file}",
            f"--storage.tsdb.path={self.folder / 'data'}",
            f"--web.listen-address={self.listen}",
            "--web.enable-lifecycle",
            "--log.level=warn",
        )

    def query(self, expression: str) -> list[Sample]:
        """What an expression gives now; a scalar is a sample without labels.

        Raises:
            AssertionError: it is no valid one.
        """
        kind, found = _result(self._ask("query", query=expression))
        if kind == "scalar":
            return [Sample({}, float(found[1]))]
        return [Sample(one["metric"], float(one["value"][1])) for one in found]

    def values(self, expression: str, over_s: float, step_s: float = 1.0) -> list[Sample]:
        """All that an expression gave within the last seconds."""
        (now,) = self.query("time()")
        asked = {"start": now.value - over_s, "end": now.value, "step": step_s}
        _, found = _result(self._ask("query_range", query=expression, **asked))
        return [Sample(one["metric"], float(v)) for one in found for _, v in one["values"]]

    def label_values(self, label: str, *selectors: str) -> list[str]:
        """The values of a label, of the series that are selected, or of all."""
        found: list[str] = self._ask(f"label/{label}/values", **{"match[]": selectors})
        return found

    def alerts(self, state: str = "firing") -> set[str]:
        """The names of alerts in that state."""
        found = self._ask("alerts")["alerts"]
        return {one["labels"]["alertname"] for one in found if one["state"] == state}

    def targets(self) -> dict[str, str]:
        """Which health each scraped address has: `up`, `down` or `unknown`."""
        found = self._ask("targets", state="active")["activeTargets"]
        return {one["labels"]["instance"]: one["health"] for one in found}

    def _ask(self, path: str, **asked: Any) -> Any:
        answer = requests.get(f"http://{self.listen}/api/v1/{path}", asked, timeout=_ASK_S)
        body = answer.json()
        assert body["status"] == "success", f"{asked}: {body.get('error')}"
        return body["data"]


class Alertmanager(Configured):
    """See `Configured`: `alertmanager.yml`."""

    name = "Alertmanager"
    file_name = "alertmanager"
    tool = "amtool"

    @classmethod
    def missing(cls) -> str:
        return lacking(cls.name, _alertmanager(), program("amtool"))

    @property
    def check(self) -> Sequence[str]:
        return ("check-config", str(self.file))

    def command(self) -> Sequence[str]:
        return (
            str(_alertmanager()),
            f"--config.file={self.file}",
            f"--storage.path={self.folder / 'data'}",
            f"--web.listen-address={self.listen}",
            "--cluster.listen-address=",
            "--log.level=warn",
        )


def _alertmanager() -> str | None:
    """Debian calls it otherwise than its makers."""
    return program("prometheus-alertmanager") or program("alertmanager")


def _result(data: Any) -> tuple[str, Any]:
    return data["resultType"], data["result"]
