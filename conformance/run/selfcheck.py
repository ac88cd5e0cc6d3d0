"""Why the verdict may be believed: everything that checks the checker, measured, as one record.

A record is a JSON file, `reports/selfcheck/<subject>.json`: the subject is the `reference`, or a target. It holds the
version of its own layout and of this package, when it was made, the digests of the reference's source and of the
cases (what was checked is what is used only while they are the same), a list of checks, each with its sentence,
whether it passed, its figures and what is wrong, and the table of detectors. Nothing in it is typed in by anybody.
"""

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from itertools import chain
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter, ValidationError

from conformance.case.job import Target
from conformance.case.model import Case
from conformance.errors import InvalidStore
from conformance.run import handworked
from conformance.run.detectors import Score, answers_of, scores, shuffled_answers
from conformance.run.engine import Session
from conformance.run.fuzz import Fuzzed, fuzz
from conformance.run.mutate import item_of, mutate
from conformance.run.plan import REFERENCE, question_of
from conformance.run.properties import applies_to, check_properties
from conformance.run.sampling import SMALL, draw
from conformance.run.store import cases_digest, folder_name, to_plain
from conformance.verdict import rational
from conformance.verdict.deviations import Deviation
from conformance.verdict.exactness import Exactness, examine
from conformance.verdict.oracle import reference_digest
from conformance.verdict.properties import PROPERTIES, Property

LAYOUT: Final = 1
FOLDER: Final = "selfcheck"
# Small questions of every rational operator, in both formats and all data sets.
EXACT_QUESTIONS: Final = 2
# Questions of every rational operator that NumPy answers honestly, each in many orders.
HONEST_QUESTIONS: Final = 2
# Of every operator that a property covers; a compiler needs a tenth of a second for each.
PROPERTY_QUESTIONS: Final = 2
ELEMENTS: Final = 1_000_000
# Faults that are told in words; all of them count.
TOLD: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One reason to believe the verdict.

    Attributes:
        name: short.
        sentence: what was asked, and of what.
        passed: whether nothing is wrong, and anything was looked at.
        figures: what was counted or measured, by name.
        faults: what is wrong, in words; the first of them.
        seconds: how long it took.
    """

    name: str
    sentence: str
    passed: bool
    figures: Mapping[str, float]
    faults: tuple[str, ...]
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Selfcheck:
    """A record.

    Attributes:
        subject: `reference`, or the target's name without the path of an interpreter.
        layout: of the record.
        package: this package's version; empty where it is not installed.
        started: UTC, ISO 8601.
        reference, cases: digests of what was checked.
        versions: what answered.
        checks: in the order in which they were made.
        detectors: the table; faults are counted for the reference, honest answers for everybody.
        seconds: for all of it.
    """

    subject: str
    layout: int
    package: str
    started: str
    reference: str
    cases: str
    versions: Mapping[str, str]
    checks: tuple[Check, ...]
    detectors: tuple[Score, ...]
    seconds: float

    @property
    def passed(self) -> bool:
        """Every check passed."""
        return all(check.passed for check in self.checks)


Progress = Callable[[str], None]
# What a check found: figures, and what is wrong.
Found = tuple[Mapping[str, float], Sequence[str]]


class _Checks:
    """Makes checks, one after the other."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._began = time.perf_counter()
        self._started = datetime.now(UTC).isoformat(timespec="seconds")
        self.made: list[Check] = []

    def make(self, name: str, sentence: str, look: Callable[[], Found]) -> None:
        """A check passes if nothing is wrong and its first figure, what was looked at, is not 0."""
        self._progress(name)
        started = time.perf_counter()
        figures, faults = look()
        self.made.append(
            Check(
                name=name,
                sentence=sentence,
                passed=not faults and bool(next(iter(figures.values()))),
                figures=dict(figures),
                faults=tuple(faults[:TOLD]),
                seconds=time.perf_counter() - started,
            )
        )

    def record(
        self, subject: str, versions: Mapping[str, str], cases: Sequence[Case], detectors: Sequence[Score]
    ) -> Selfcheck:
        return Selfcheck(
            subject=subject,
            layout=LAYOUT,
            package=_package(),
            started=self._started,
            reference=reference_digest(),
            cases=cases_digest(cases),
            versions=dict(versions),
            checks=tuple(self.made),
            detectors=tuple(detectors),
            seconds=time.perf_counter() - self._began,
        )


def check_reference(cases: Sequence[Case], *, seed: int = 0, progress: Progress = lambda name: None) -> Selfcheck:
    """Checks the reference, the rule and the cases; no framework is asked.

    Args:
        cases: whose mutation score is taken.
        seed: of what is drawn.
        progress: is told what is checked now.
    """
    checks = _Checks(progress)
    checks.make(
        "hand-worked numbers",
        "The reference gives what a person finds with pencil and paper.",
        _hand_worked,
    )
    checks.make(
        "rational arithmetic",
        "Values, numbers of roundings and sums of the reference are those of the definitions, written down a second "
        "time with fractions; every order of summation ends inside the interval.",
        lambda: _rational(seed),
    )
    session = Session(REFERENCE)
    _add_properties(checks, session, seed)
    honest: list[Score] = []
    checks.make(
        "honest sums",
        "NumPy in float32, the terms of every element added in shuffled orders, is never called wrong.",
        lambda: _honest(seed, honest),
    )
    checks.make(
        "mutation score",
        "The cases notice every known other reading of every operator.",
        lambda: _mutation(cases),
    )
    table: list[Score] = []
    checks.make(
        "detectors",
        "The same faults and the same honest answers, judged by fixed tolerances and by this rule, which misses no "
        "fault.",
        lambda: _detectors(cases, honest, table),
    )
    return checks.record(REFERENCE.name, session.description.versions, cases, table)


def check_target(
    target: Target,
    cases: Sequence[Case],
    deviations: Sequence[Deviation] = (),
    *,
    elements: int = ELEMENTS,
    seed: int = 0,
    path: str = "",
    progress: Progress = lambda name: None,
) -> Selfcheck:
    """Checks the rule on a framework: properties of its own answers, and false alarms.

    Args:
        target: who is asked.
        cases: named by their digest in the record.
        deviations: differences on file, which are no false alarms.
        elements: how many are judged at least.
        seed: of what is drawn.
        path: the adapter as `module:Class`, looked up among the entry points if empty.
        progress: is told what is checked now.

    Raises:
        TargetError: if the target cannot be used.
    """
    checks = _Checks(progress)
    session = Session(target, deviations, path=path)
    try:
        _add_properties(checks, session, seed)
        checks.make(
            "false alarms",
            "Random questions, drawn from the contracts and put the ordinary way: an honest framework agrees.",
            lambda: _alarms(fuzz(session, elements=elements, seed=seed)),
        )
        table: list[Score] = []
        checks.make(
            "detectors",
            "What fixed tolerances would have said of the same honest answers.",
            lambda: _detectors_on(session, elements // 4, seed, table),
        )
        return checks.record(folder_name(target.name), session.description.versions, cases, table)
    finally:
        session.close()


# What is looked at --------------------------------------------------------------------------------------------------


def _hand_worked() -> Found:
    entries = handworked.HAND_WORKED
    arrays = sum(1 + len(entry.gradients) for entry in entries)
    return {"questions": len(entries), "arrays": arrays}, list(handworked.wrong())


def _rational(seed: int) -> Found:
    total = Exactness()
    for operator in rational.DEFINITIONS:
        for number in range(EXACT_QUESTIONS):
            case = draw(operator, number, seed=seed, extent=SMALL)
            for format_ in case.formats:
                for data in case.data:
                    job = question_of(item_of(case, format_), data).job
                    if rational.is_defined(job):
                        total += examine(job)
    figures = {
        "elements": total.elements,
        "operators": len(rational.DEFINITIONS),
        "arrays": total.arrays,
        "sums in other orders": total.sums,
        "largest error over its share": total.share,
    }
    return figures, total.faults


def _add_properties(checks: _Checks, session: Session, seed: int) -> None:
    for each in PROPERTIES:
        if not applies_to(each, session.description):
            continue
        checks.make(f"property: {each.name}", each.sentence, partial(_property, session, each, seed))


def _property(session: Session, tried: Property, seed: int) -> Found:
    (held,) = check_properties(session, seed=seed, questions=PROPERTY_QUESTIONS, properties=(tried,))
    figures = {
        "questions": held.questions,
        "operators": len(held.operators),
        "arrays": held.arrays,
        "equal to the last bit": held.exact,
        "elements": held.elements,
        "unanswered": held.unanswered,
    }
    return figures, held.broken


def _honest(seed: int, into: list[Score]) -> Found:
    into += scores((), shuffled_answers(HONEST_QUESTIONS, seed=seed))
    rule = into[0]
    figures = {"elements": rule.elements, "arrays": rule.arrays, "false alarms": rule.alarms}
    return figures, [f"{rule.alarms} honest arrays are called wrong"] if rule.alarms else []


def _mutation(cases: Sequence[Case]) -> Found:
    score = mutate(cases)
    figures = {
        "variants": len(score.mutants),
        "noticed": len(score.mutants) - len(score.alive),
        "operators": len(score.operators),
    }
    return figures, [f"{m.operator}: no case notices {m.variant.name!r}" for m in score.alive]


def _detectors(cases: Sequence[Case], honest: Sequence[Score], into: list[Score]) -> Found:
    asked = scores(cases, ())
    into += [
        Score(
            name=faulty.name,
            origin=faulty.origin,
            noticed=faulty.noticed,
            faults=faulty.faults,
            singles=faulty.singles,
            single_faults=faulty.single_faults,
            alarms=fair.alarms,
            arrays=fair.arrays,
            wrong=fair.wrong,
            elements=fair.elements,
        )
        for faulty, fair in zip(asked, honest, strict=True)
    ]
    rule = into[0]
    figures = {"faults": rule.faults, "noticed": rule.noticed, "false alarms": rule.alarms}
    missed = rule.faults - rule.noticed
    return figures, [f"this rule misses {missed} variants"] if missed else []


def _alarms(found: Fuzzed) -> Found:
    figures: dict[str, float] = {
        "elements": found.elements,
        "arrays": found.arrays,
        "operators": len(found.operators),
        "false alarms": len(found.alarms),
        "known differences": sum(found.known.values()),
        "unanswered": len(found.unanswered),
        "inconclusive arrays": found.inconclusive,
    }
    for format_, bits in found.least.items():
        figures[f"fewest bits in {format_}"] = bits
        figures[f"median bits in {format_}"] = found.median[format_]
    return figures, [f"{alarm.result.name}: {alarm.result.detail}\n{alarm.yaml}" for alarm in found.alarms]


def _detectors_on(session: Session, elements: int, seed: int, into: list[Score]) -> Found:
    into += scores((), answers_of(session, elements, seed=seed))
    rule = into[0]
    # What is on file differs here, too; false alarms are counted by the check before.
    return {"elements": rule.elements, "arrays": rule.arrays}, []


# On disk ------------------------------------------------------------------------------------------------------------


def write(record: Selfcheck, reports: Path) -> Path:
    """Writes a record in one step, and returns its path."""
    path = reports / FOLDER / f"{record.subject}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps(to_plain(record), indent=1) + "\n", encoding="utf-8", newline="\n")
    os.replace(temporary, path)  # noqa: PTH105
    return path


def find(reports: Path) -> tuple[Path, ...]:
    """The records below a folder of runs, the reference's first."""
    return tuple(sorted((reports / FOLDER).glob("*.json"), key=lambda path: (path.stem != REFERENCE.name, path.stem)))


def read(path: Path) -> Selfcheck:
    """Reads a record.

    Raises:
        InvalidStore: if it is anything else.
    """
    try:
        record = TypeAdapter(Selfcheck).validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        told = error.errors(include_url=False)[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise InvalidStore(f"{path}: is no record of a self-check ({told})") from error
    if record.layout != LAYOUT:
        raise InvalidStore(f"{path}: has layout {record.layout}, this version reads {LAYOUT}")
    return record


def _package() -> str:
    try:
        return version("cnn-conformance")
    except PackageNotFoundError:
        return ""


def faults_of(records: Sequence[Selfcheck]) -> tuple[str, ...]:
    """What is wrong in records, in words."""
    return tuple(
        chain.from_iterable(
            (f"{record.subject}, {check.name}: {fault}" for fault in check.faults or ("nothing was looked at",))
            for record in records
            for check in record.checks
            if not check.passed
        )
    )
