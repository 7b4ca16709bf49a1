"""The look as a whole: nothing that fails or hangs ends the rest."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

from mishards.core.errors import Unavailable
from mishards.core.runtime import SystemRuntime
from mishards.doctor.findings import Check, Diagnosis, Finding, Level, Trouble, sorted_findings
from mishards.doctor.reach import Limits
from mishards.doctor.run import Judgement
from mishards.doctor.words import duration, listed, size

CHECK = Check("a.b", "Is it?", "it matters")


def test_a_judge_with_a_defect_keeps_what_it_and_others_found() -> None:
    def broken() -> Iterator[Finding]:
        yield CHECK.ok("well")
        raise ZeroDivisionError("oh")

    judgement = Judgement()
    judgement.take(broken)
    judgement.take(lambda: [CHECK.warning("later", "do")])
    assert [(f.check, f.level) for f in judgement.findings] == [
        ("a.b", Level.OK),
        ("doctor.defect", Level.FAILURE),
        ("a.b", Level.WARNING),
    ]
    assert "ZeroDivisionError" in judgement.findings[1].seen


def test_waits_are_bounded_and_errors_are_troubles() -> None:
    async def fails() -> None:
        raise Unavailable("away")

    async def main() -> None:
        runtime = SystemRuntime(threads=1)
        limits = Limits(runtime, 0.05)
        answers = threading.Event()
        assert await limits.within("x", fails()) == Trouble("away")
        assert not limits.left_behind
        waiting = limits.within("the thing", runtime.blocking(answers.wait))
        assert await waiting == Trouble("the thing did not answer within 0.05 s")
        assert limits.left_behind
        answers.set()
        await runtime.close()

    asyncio.run(main())


def test_the_worst_comes_first_and_names_the_outcome() -> None:
    findings = sorted_findings([CHECK.ok("1"), CHECK.failure("2", "do"), CHECK.note("3")])
    assert [finding.seen for finding in findings] == ["2", "3", "1"]
    diagnosis = Diagnosis(cluster="c", seconds=0.0, findings=findings)
    assert diagnosis.worst is Level.FAILURE
    assert Diagnosis(cluster="c", seconds=0.0, findings=()).worst is Level.OK
    assert findings[0].why == "it matters"


def test_words() -> None:
    assert size(12) == "12 bytes"
    assert size(3 << 29) == "1.5 GiB"
    assert duration(0.0123) == "12.3 ms"
    assert duration(3600) == "60 min"
    assert listed(range(7), 2) == "0, 1 and 5 more"
