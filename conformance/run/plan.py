"""Cases times targets: what is asked of whom, in which order."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import partial
from typing import Final

from conformance.case.inputs import Question
from conformance.case.job import NATIVE, Job, Target, Tensor
from conformance.case.layouts import LAYOUTS, marked, may_vary
from conformance.case.model import TIERS, Case, DataSet, FormatName, Layout, Shape, Tier
from conformance.case.operators import OPERATORS, Chain, gradient_names, operators_of
from conformance.case.second import asks_second
from conformance.case.tangents import asks_tangents, has_tangents
from conformance.case.turns import further_format, further_layout
from conformance.errors import ImpossibleShape
from conformance.run.keyword import compile_keyword

REFERENCE: Final = Target(backend="reference")


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One result to be had.

    With `tangents` those of the outputs are asked too, of who has a forward mode; with `second` derivatives of the
    gradients, of who differentiates twice.
    """

    case: Case
    target: Target
    format: FormatName
    layout: Layout
    tangents: bool = False
    second: bool = False

    @property
    def name(self) -> str:
        """As pytest and `-k` see it: `conv2d/same-stride2[torch-float32]`; layouts but the native one at its end."""
        return f"{self.case.id}[{'-'.join((self.target.name, self.format, *marked(self.layout)))}]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One data set of an item, with its numbers.

    Attributes:
        job: the question, every attribute resolved.
        exact: the operands are the case's own numbers, unrounded, so that stated values apply.
        native: the attributes that are left to the framework.
        own: the framework's own options alone are asked.
    """

    job: Job
    exact: bool
    native: tuple[str, ...] = ()
    own: bool = False

    @property
    def sent(self) -> Job:
        """The job as it travels: without what is left to the framework."""
        if not self.own:
            return self.job
        attributes = replace(self.job.attributes, **dict.fromkeys(self.native, NATIVE))
        return replace(self.job, attributes=attributes, own=True)


def question_of(
    item: Item, data: DataSet, *, gradients: bool = True, tangents: bool = False, second: bool = False
) -> Asked:
    """The job of one data set; without `gradients` it has no cotangents, and the others only if they are asked."""
    case = item.case
    question = Question(case, data, item.format)
    operands = question.operands()
    cotangents = question.cotangents(_cotangent_shapes(case, operands) if gradients else {})
    job = Job(
        case_id=case.id,
        operator=case.operator,
        attributes=case.attributes,
        format=item.format,
        layout=item.layout,
        data=data,
        operands=operands,
        cotangents=cotangents,
        tangents=question.tangents() if tangents and has_tangents(case, data) else {},
        directions=question.directions() if second and cotangents and has_tangents(case, data) else {},
    )
    return Asked(job=job, exact=question.exact, native=case.native, own=bool(case.readings))


def _cotangent_shapes(case: Case, operands: Mapping[str, Tensor]) -> dict[str, Shape]:
    """The outputs that get a cotangent: none where no gradient is asked or the question has no answer."""
    if "gradients" not in case.checks or not gradient_names(case.operator, case.attributes, operands):
        return {}
    given = {name: tensor.shape for name, tensor in operands.items()}
    try:
        shapes = OPERATORS[case.operator].shapes(case.attributes, given)
    except ImpossibleShape:
        return {}
    if isinstance(case.attributes, Chain):
        return {name: shapes[name] for name in case.attributes.ends}
    return {name: shape for name, shape in shapes.items() if name not in OPERATORS[case.operator].state}


def _only_native(target: Target, case: Case, layout: Layout) -> Layout | None:
    return layout if layout == "native" else None


def plan(
    cases: Sequence[Case],
    targets: Sequence[Target],
    *,
    formats: Sequence[FormatName] = (),
    layouts: Sequence[Layout] = (),
    tier: Tier = "core",
    keyword: str = "",
    covers: Callable[[Target, Case], bool] = lambda target, case: True,
    layout_of: Callable[[Target, Case, Layout], Layout | None] = _only_native,
    costly: Callable[[Target], bool] = lambda target: False,
) -> tuple[Item, ...]:
    """Every result to be had, target by target.

    Args:
        cases: in their order.
        targets: who is asked; the reference is asked for every case that states or claims something.
        formats: only these; of a case the first and in turn one more if empty, all under `full`.
        layouts: in these; natively and in turn in one more if empty, or as a case says.
        tier: cases of this tier and the smaller ones.
        covers: whether a case is asked of a target at all.
        layout_of: as what a target knows a layout of a case; None where it is not given data so.
        costly: whether a target is asked only a few below the tier `full`; see `few`.
        keyword: a `-k` expression over the items' names: words with `and`, `or`, `not` and parentheses.

    Raises:
        ValueError: if the keyword expression cannot be read.
    """
    allowed = TIERS[: TIERS.index(tier) + 1]
    wanted = compile_keyword(keyword)

    def of(target: Target) -> tuple[Item, ...]:
        items = tuple(
            item
            for case in cases
            if case.tier in allowed and covers(target, case)
            for format_, layout in _ways(
                case,
                _formats(case, formats, tier),
                _layouts(case, layouts, partial(layout_of, target, case)),
                every=bool(layouts or case.layouts) or tier == "full",
            )
            # No case states these, so that the reference has nothing to be held to.
            for tangents in (target != REFERENCE and asks_tangents(case, format_, layout, tier),)
            for second in (target != REFERENCE and asks_second(case, format_, layout, tier),)
            for item in (
                Item(case=case, target=target, format=format_, layout=layout, tangents=tangents, second=second),
            )
            if (target != REFERENCE or states_something(case)) and wanted(item.name)
        )
        return few(items) if tier != "full" and costly(target) else items

    return tuple(item for target in targets for item in of(target))


def _formats(case: Case, wanted: Sequence[FormatName], tier: Tier) -> tuple[FormatName, ...]:
    """Of a case's formats those that are wanted; all under `full`, else the first and in turn a further one."""
    if wanted or tier == "full":
        return tuple(format_ for format_ in case.formats if not wanted or format_ in wanted)
    return tuple(format_ for format_ in case.formats if format_ in (case.formats[0], further_format(case)))


def _layouts(case: Case, wanted: Sequence[Layout], known: Callable[[Layout], Layout | None]) -> tuple[Layout, ...]:
    """The layouts that a case may be asked in, as the target knows them, each once."""
    named = case.layouts or (LAYOUTS if may_vary(case) else ("native",))
    found = [known(layout) for layout in named if not wanted or layout in wanted or known(layout) in wanted]
    return tuple(dict.fromkeys(layout for layout in found if layout is not None))


def _ways(
    case: Case, formats: Sequence[FormatName], layouts: Sequence[Layout], *, every: bool
) -> Iterator[tuple[FormatName, Layout]]:
    """Formats with layouts: every one, or natively in all formats and, in turn, a further layout in the first."""
    if every:
        yield from ((format_, layout) for format_ in formats for layout in layouts)
        return
    yield from ((format_, "native") for format_ in formats if "native" in layouts)
    layout = further_layout(case, [layout for layout in layouts if layout != "native"])
    if layout is not None:
        yield from ((format_, layout) for format_ in formats[:1])


def few(items: Sequence[Item]) -> tuple[Item, ...]:
    """What a target is asked where every question costs seconds: the first of every operator that slides a window.

    The first chain with such a layer is among them; networks, probes and questions without an answer are not.
    """
    chosen: dict[str, Item] = {}
    for item in items:
        case = item.case
        slides = any(OPERATORS[name].rank for name in operators_of(case.operator, case.attributes))
        network = isinstance(case.attributes, Chain) and case.attributes.network
        if slides and not network and not case.readings and case.expect.error == "no":
            chosen.setdefault(case.operator, item)
    return tuple(chosen.values())


def is_listed(target: Target, operators: Sequence[str]) -> bool:
    """Whether a target's own list has all of a question's operators, a chain's layers; without a list it has all."""
    globs = target.operators
    return not globs or all(any(fnmatchcase(name, glob) for glob in globs) for name in operators if name != "chain")


def states_something(case: Case) -> bool:
    """Whether a case says more than the reference computes."""
    expect = case.expect
    return bool(case.claims or expect.outputs or expect.gradients or expect.shape is not None or expect.error != "no")
