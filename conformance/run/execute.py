"""One call of the harness from start to end: cases, targets, sessions, runs on disk.

Whoever calls it prints; it prints nothing itself.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from conformance.case.job import Description, Target
from conformance.case.listing import default_root, suite_version
from conformance.case.loading import load
from conformance.case.model import TIERS, Case, FormatName, Layout, Tier
from conformance.case.operators import operators_of
from conformance.case.training import Training, load_trainings
from conformance.errors import TargetError
from conformance.run.dealing import dealt, workers_for
from conformance.run.digits import read_digits
from conformance.run.engine import JOB_SECONDS, Session
from conformance.run.floors import NO_FLOORS, Floors, below_floor, load_floors
from conformance.run.keyword import compile_keyword
from conformance.run.native import train_native
from conformance.run.plan import REFERENCE, Item, is_listed, plan
from conformance.run.probes import require_variants
from conformance.run.result import Result
from conformance.run.store import RunWriter, case_record, cases_digest
from conformance.run.training import train, training_record
from conformance.verdict.deviations import Deviation, load_deviations, require_present_names, shipped_deviations
from conformance.verdict.model import Outcome
from conformance.worker.gateway import costly, covers, installed_backends, layout_of, require_known, trains


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a user asks for.

    Attributes:
        paths: case files or folders; the shipped cases if empty.
        targets: who is asked; every installed backend if empty.
        keyword, formats, layouts, tier: which items; see `plan`.
        out: the folder of runs.
        deviations: files of accepted differences beside the shipped ones.
        floor: a file of least counts of AGREES.
        timeout: seconds that one answer may take; more as `Session` says.
        repeat: how often every question is asked; the tier `full` asks once more.
        jobs: over how many workers a target's questions are dealt at most.
        cases: whether cases are asked.
        training: whether networks are trained too.
        mnist: the folder of the official files, instead of the vendored subset.
    """

    paths: tuple[Path, ...] = ()
    targets: tuple[Target, ...] = ()
    keyword: str = ""
    formats: tuple[FormatName, ...] = ()
    layouts: tuple[Layout, ...] = ()
    tier: Tier = "core"
    out: Path = Path("reports")
    deviations: tuple[Path, ...] = ()
    floor: Path | None = None
    timeout: float = JOB_SECONDS
    repeat: int = 1
    jobs: int = 1
    cases: bool = True
    training: bool = True
    mnist: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetRun:
    """What came of one target; `not_asked` counts what its own list of operators left out."""

    target: Target
    description: Description | None = None
    results: tuple[Result, ...] = ()
    error: str = ""
    below_floor: tuple[str, ...] = ()
    not_asked: int = 0

    @property
    def counts(self) -> Counter[Outcome]:
        """Results by outcome."""
        return Counter(result.outcome for result in self.results)


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """What came of a request."""

    runs: tuple[TargetRun, ...]
    complete: bool = True

    @property
    def unexpected(self) -> tuple[Result, ...]:
        """Results that are neither agreement nor on file."""
        return tuple(result for run in self.runs for result in run.results if result.unexpected)

    @property
    def stale(self) -> tuple[Result, ...]:
        """Results that agree where a deviation on file says otherwise."""
        return tuple(result for run in self.runs for result in run.results if result.stale)


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What a request comes to, before anything is started."""

    cases: tuple[Case, ...]
    trainings: tuple[tuple[Training, Target], ...]
    deviations: tuple[Deviation, ...]
    items: tuple[Item, ...]
    targets: tuple[Target, ...]
    floors: Floors = NO_FLOORS
    not_asked: Mapping[Target, int] = field(default_factory=dict)

    @property
    def empty(self) -> bool:
        """Nothing to run."""
        return not self.items and not self.trainings


Progress = Callable[[Target, int, int, Result | None], None]
# Is told of every step of a training: its id, who made the step, which one, of how many.
Steps = Callable[[str, str, int, int], None]


def _unseen(training: str, who: str, step: int, steps: int) -> None:
    """Shows no steps."""


def select(request: Request) -> Selection:
    """Reads every file and makes the plan; nothing is started.

    Raises:
        InvalidCases: with everything that is wrong with the files.
        InvalidData: if the digits are not what they must be.
        UnknownBackend, InvalidTarget: if nobody offers a target's backend or modes.
        ValueError: if the keyword expression cannot be read.
    """
    for target in request.targets:
        require_known(target)
    paths = request.paths or (default_root(),)
    cases = load(paths)
    require_variants(cases)
    targets = request.targets or tuple(Target(backend=name) for name in installed_backends())
    items = plan(
        cases if request.cases else (),
        (REFERENCE, *targets),
        formats=request.formats,
        layouts=request.layouts,
        tier=request.tier,
        keyword=request.keyword,
        covers=covers,
        layout_of=layout_of,
        costly=costly,
    )
    listed = tuple(item for item in items if _is_listed(item))
    matches = compile_keyword(request.keyword)
    trainings = tuple(
        (training, target)
        for training in (load_trainings(paths) if request.training else ())
        if is_asked(training, request)
        for target in targets
        if trains(target)
        and is_listed(target, operators_of("chain", training.network))
        and matches(f"{training.id}[{target.name}]")
    )
    # A user's own word on a result comes before what is shipped.
    deviations = (*load_deviations(request.deviations), *shipped_deviations())
    require_present_names(deviations, cases)
    for training, _ in trainings:
        read_digits(
            request.mnist or training.data, official=request.mnist is not None
        )  # wrong digits are told before anything runs
    return Selection(
        cases=cases,
        trainings=trainings,
        deviations=deviations,
        items=listed,
        targets=tuple(targets),
        floors=load_floors(request.floor) if request.floor else NO_FLOORS,
        not_asked=Counter(item.target for item in items) - Counter(item.target for item in listed),
    )


def is_asked(training: Training, request: Request) -> bool:
    """Whether a request is for a training: its tier, and all of MNIST where it needs all."""
    within = TIERS.index(training.tier) <= TIERS.index(request.tier)
    return within and (request.mnist is not None or not training.official)


def left_out(request: Request) -> tuple[str, ...]:
    """What named files hold that a request without a keyword leaves out, and how it is asked."""
    if request.keyword or not request.paths:
        return ()
    trainings = load_trainings(request.paths)
    cases = load(request.paths)
    told = []
    if cases and not request.cases:
        told.append(f"{len(cases)} cases are there; conformance run asks them")
    if trainings and not request.training:
        told.append(f"{len(trainings)} trainings are there; conformance train asks them")
    tiers = [case.tier for case in cases if request.cases]
    tiers += [training.tier for training in trainings if request.training]
    larger = [tier for tier in tiers if TIERS.index(tier) > TIERS.index(request.tier)]
    if larger:
        tier = min(larger, key=TIERS.index)
        told.append(f"{len(larger)} are there of larger tiers than {request.tier}; give --tier {tier}")
    if request.training and request.mnist is None and any(training.official for training in trainings):
        told.append("all of MNIST is needed there; give --mnist-dir, which conformance mnist-download fills")
    return tuple(told)


def _is_listed(item: Item) -> bool:
    return is_listed(item.target, operators_of(item.case.operator, item.case.attributes))


def execute(request: Request, selection: Selection, progress: Progress, steps: Steps = _unseen) -> Execution:
    """Asks every target in turn, writing each result as it comes.

    A target that cannot be used is told in its `TargetRun`; the others go on. An interrupted call leaves runs that
    say that they are incomplete.
    """
    runs = []
    for target in (REFERENCE, *selection.targets):
        items = [item for item in selection.items if item.target == target]
        trainings = [training for training, who in selection.trainings if who == target]
        if not items and not trainings and selection.not_asked.get(target):
            runs.append(TargetRun(target=target, not_asked=selection.not_asked[target]))
        if items or trainings:
            runs.append(_execute_target(request, selection, target, items, trainings, progress, steps))
    return Execution(runs=tuple(runs), complete=all(not run.error for run in runs))


def _execute_target(
    request: Request,
    selection: Selection,
    target: Target,
    items: Sequence[Item],
    trainings: Sequence[Training],
    progress: Progress,
    steps: Steps,
) -> TargetRun:
    natively = [training for training in trainings if training.native is not None and request.tier == "full"]
    total = len(items) + len(trainings) + len(natively)
    progress(target, 0, total, None)
    try:
        repeat = request.repeat + (request.tier == "full")
        session = Session(target, selection.deviations, timeout=request.timeout, repeat=repeat)
    except TargetError as error:
        return TargetRun(target=target, error=str(error))
    results: list[Result] = []
    suite = suite_version(request.paths)
    digest = cases_digest(selection.cases)
    writer = RunWriter(request.out, target.name, session.description, digest, suite, target.backend)
    complete = False
    try:
        with dealt(items, session, workers_for(target, len(items), request.jobs)) as answers:
            for item, result in zip(items, answers, strict=True):
                writer.result(result, case_record(item.case))
                # Its arrays are in the run's file now: all of them together are most of a gigabyte under `full`.
                results.append(replace(result, evidence={}))
                progress(target, len(results), total, result)
        for training in trainings:
            result, record = train(
                training, session, reports=request.out, mnist=request.mnist, progress=partial(steps, training.id)
            )
            writer.result(result, training_record(training))
            writer.training(record)
            results.append(result)
            progress(target, len(results), total, result)
        for training in natively:
            result, record = train_native(
                training, session, reports=request.out, mnist=request.mnist, progress=partial(steps, training.id)
            )
            writer.result(result, replace(training_record(training), id=result.case))
            writer.training(record)
            results.append(result)
            progress(target, len(results), total, result)
        complete = True
    except TargetError as error:  # a worker that could not be started again
        return TargetRun(target=target, description=session.description, results=tuple(results), error=str(error))
    finally:
        writer.close(complete=complete)
        session.close()
    return TargetRun(
        target=target,
        description=session.description,
        results=tuple(results),
        below_floor=below_floor(target, session.description, results, selection.floors),
        not_asked=selection.not_asked.get(target, 0),
    )
