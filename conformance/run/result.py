"""What came of one case on one target in one format and layout."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from conformance.case.layouts import marked
from conformance.case.model import Check
from conformance.formats import Float64
from conformance.verdict.deviations import Assessment
from conformance.verdict.free_running import FreeRun
from conformance.verdict.judge import AGREEING, ClaimResult
from conformance.verdict.model import Comparison, Outcome, Reason, Verdict

# Arrays behind a result: "normal/operand/x", "normal/output/expected", "normal/gradient x/bound".
Evidence = Mapping[str, NDArray[np.generic] | Float64]

# How adapters begin where a framework has no answer of its own to a probe.
NOTHING_OWN: Final = ("no option", "no default", "no gradients")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Result:
    """One line of a run.

    Attributes:
        case, operator: the question.
        target, format, layout: who was asked, and how.
        verdicts: by check.
        assessments: what the deviations on file say, by check.
        comparisons: every array of every data set against its expectation.
        claims: what sources say, and what was measured.
        calls: the native calls as they were made, of the last data set.
        digest: names the very numbers that were asked.
        seconds: the framework's own time.
        total_seconds: with everything around it.
        jobs: how many were asked.
        agrees_with: where it differs, the other readings of the operator that explain all of it.
        location: where it starts to differ, and what the differing elements have in common.
        terms: which products entered the worst element of the first array that differs, in a few lines.
        sums: the worst element of every array whose numbers are kept, term by term, by data set, check and name.
        composed: what the framework lacks, where the adapter composed a recipe instead; None where nothing came back.
        script: what reproduces it, where something is to be reported and the numbers are few.
        free_run: how far a chain is from the reference's own, from end to end: a note beside the verdicts.
        readings: of a probe, the names of the readings that it offers.
        reading: the only one of them that fits.
    """

    case: str
    operator: str
    target: str
    format: str
    layout: str
    verdicts: Mapping[Check, Verdict]
    assessments: Mapping[Check, Assessment]
    comparisons: tuple[Comparison, ...] = ()
    claims: tuple[ClaimResult, ...] = ()
    calls: tuple[str, ...] = ()
    digest: str = ""
    seconds: float = 0.0
    total_seconds: float = 0.0
    jobs: int = 0
    agrees_with: tuple[str, ...] = ()
    location: str = ""
    terms: tuple[str, ...] = ()
    sums: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    composed: tuple[str, ...] | None = None
    script: str = ""
    free_run: FreeRun | None = None
    readings: tuple[str, ...] = ()
    reading: str = ""
    evidence: Evidence = field(default_factory=dict, repr=False)

    @property
    def name(self) -> str:
        """How tables call the result: `conv2d/same [torch-float32]`; layouts but the native one stand at its end."""
        return f"{self.case} [{'-'.join((self.target, self.format, *marked(self.layout)))}]"

    @property
    def worst(self) -> Check:
        """The check whose verdict is the result's."""
        return max(self.verdicts, key=lambda check: self.verdicts[check].outcome.severity)

    @property
    def outcome(self) -> Outcome:
        """The worst of the checks."""
        return self.verdicts[self.worst].outcome

    @property
    def reason(self) -> Reason:
        """What about it."""
        return self.verdicts[self.worst].reason

    @property
    def detail(self) -> str:
        """One line a check that does not plainly agree."""
        return "\n".join(verdict.detail for verdict in self.verdicts.values() if verdict.detail)

    @property
    def instead(self) -> str:
        """What it does instead, or where it starts to differ; empty where nothing does."""
        return f"agrees with: {'; '.join(self.agrees_with)}" if self.agrees_with else self.location

    @property
    def diagnosis(self) -> str:
        """What it does instead, or where and of which products; empty where nothing differs."""
        terms = () if self.agrees_with else self.terms
        note = [self.free_run.text] if self.free_run else []
        return "\n".join([self.instead, *terms, *note]) if self.instead else ""

    @property
    def probe(self) -> bool:
        """Which of several readings is followed was asked, not whether one is."""
        return bool(self.readings)

    @property
    def told(self) -> str:
        """A probe's answer in few words: the reading, or that the framework has none, or that none fits."""
        if self.reading:
            return self.reading
        if self.outcome is Outcome.UNSUPPORTED:
            start, colon, _ = self.detail.partition(":")
            return start if colon and start in NOTHING_OWN else NOTHING_OWN[0]
        if self.outcome is Outcome.INCONCLUSIVE:
            return "not told apart"
        return self.outcome.value.lower().replace("_", " ")

    @property
    def unexpected(self) -> bool:
        """Neither agreement nor on file."""
        return any(assessment.standing == "unexpected" for assessment in self.assessments.values())

    @property
    def stale(self) -> tuple[str, ...]:
        """Deviations on file that this result no longer shows."""
        return tuple(dict.fromkeys(a.deviation for a in self.assessments.values() if a.standing == "stale"))

    @property
    def contradiction(self) -> str:
        """What a stale result says, in a sentence."""
        return f"{self.name} agrees, but {', '.join(self.stale)} says otherwise"

    @property
    def deviations(self) -> tuple[str, ...]:
        """Deviations on file that explain it."""
        return tuple(a.deviation for a in self.assessments.values() if a.deviation and a.standing == "expected")

    @property
    def bits(self) -> float:
        """Effective bits of the worst array."""
        return min((comparison.bits for comparison in self.comparisons), default=float("inf"))

    @property
    def ratio(self) -> float:
        """The largest error over its room; at most 1 when everything lies within."""
        return max((comparison.ratio for comparison in self.comparisons), default=0.0)

    @property
    def agrees(self) -> bool:
        """Every check agrees."""
        return all(verdict.reason in AGREEING for verdict in self.verdicts.values())
