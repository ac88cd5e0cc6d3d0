"""What a set of cases lacks: questions asked twice, asymmetries that nobody asks about, data that hides faults.

Constants hide a flipped kernel, square and symmetric configurations hide swapped axes and pads. Cases from the seeds
(`seeds/...`) say what their source says and are left alone; refusals have no geometry to look at, and probes are
as small as their readings allow. Cases that were captured from a model are the geometry that it has. Those on
integers ask no gradients, and few backends: they stand for no case on other numbers.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from conformance.case.model import INTEGER_NAMES, Case, Fill, Source, Values
from conformance.case.operators import OPERATORS
from conformance.case.resolved import Geometry, geometry_of, question
from conformance.errors import Problem

# What the source of a case says that `conformance capture` wrote.
CAPTURED: Final = "captured from "


def lint(cases: Sequence[Case]) -> tuple[Problem, ...]:
    """Every weakness of the cases, by operator; none for a good set."""
    by_operator: dict[str, list[Case]] = defaultdict(list)
    probes: dict[str, list[Case]] = defaultdict(list)
    for case in cases:
        if not case.id.startswith("seeds/"):
            (probes if case.readings else by_operator)[case.operator].append(case)
    problems: list[Problem] = []
    for own in probes.values():
        problems += _asked_twice(own)
    for operator, own in by_operator.items():
        problems += _asked_twice(own)
        answered = [
            case
            for case in own
            if case.expect.error == "no"
            and not case.source.startswith(CAPTURED)
            and INTEGER_NAMES.isdisjoint(case.formats)
        ]
        if answered:
            problems += _missing_asymmetries(operator, answered)
            problems += _constant_data(operator, answered)
    return tuple(problems)


def _asked_twice(cases: Iterable[Case]) -> list[Problem]:
    asked: dict[object, list[Case]] = defaultdict(list)
    for case in cases:
        asked[question(case)].append(case)
    return [
        Problem(
            str(case.where),
            f"{case.id} asks the same question as "
            + ", ".join(f"{other.id} ({other.where})" for other in same if other is not case)
            + "; keep one, or let them differ",
        )
        for same in asked.values()
        if len(same) > 1
        for case in same
    ]


_Sees = Callable[[Case, Geometry], bool]


def _unequal(values: Sequence[int]) -> bool:
    return len(set(values)) > 1


_ASYMMETRIES: Final[tuple[tuple[str, str, _Sees], ...]] = (
    # What it is, the attribute without which it cannot be, and how to see it.
    ("unequal spatial sizes (H != W)", "", lambda case, at: _unequal(at.sizes)),
    ("unequal strides", "stride", lambda case, at: _unequal(at.stride)),
    ("unequal kernel sides", "", lambda case, at: _unequal(at.kernel)),
    (
        "asymmetric pads",
        "padding",
        lambda case, at: case.attributes.padding != "valid" and any(low != high for low, high in at.pads),
    ),
    ("a batch of at least 2", "", lambda case, at: case.inputs["x"].shape[0] >= 2),
    ("more than one group", "groups", lambda case, at: case.attributes.groups > 1),
    ("unequal dilations", "dilation", lambda case, at: _unequal(at.dilation)),
    (
        "an even kernel side with SAME padding",
        "padding",
        lambda case, at: case.attributes.padding in ("same", "same_lower") and any(k % 2 == 0 for k in at.kernel),
    ),
)


def _missing_asymmetries(operator: str, cases: Sequence[Case]) -> list[Problem]:
    if OPERATORS[operator].rank < 2:
        return []
    geometries = [(case, geometry_of(case)) for case in cases]
    return [
        Problem(str(cases[0].where), f"{operator} has no case with {what}, among {len(cases)}")
        for what, attribute, sees in _ASYMMETRIES
        if not attribute or hasattr(cases[0].attributes, attribute)
        if not any(sees(case, geometry) for case, geometry in geometries)
    ]


def _constant_data(operator: str, cases: Sequence[Case]) -> list[Problem]:
    problems = []
    where = str(cases[0].where)
    if all(all(_constant(spec.source) for spec in case.inputs.values()) for case in cases):
        message = f"{operator} is asked with constant data alone, which hides a flipped kernel; leave a source out"
        problems.append(Problem(where, message))
    differentiated = [case for case in cases if "gradients" in case.checks]
    if differentiated and all(
        case.cotangents and all(_ones(spec.source) for spec in case.cotangents.values()) for case in differentiated
    ):
        message = f"{operator} is differentiated with cotangents of ones alone; leave cotangents out in a case"
        problems.append(Problem(where, message))
    return problems


def _constant(source: Source | None) -> bool:
    if isinstance(source, Values):
        return len(set(source.values)) == 1
    return isinstance(source, Fill) and source.kind in ("ones", "zeros")


def _ones(source: Source | None) -> bool:
    if isinstance(source, Values):
        return set(source.values) == {1.0}
    return isinstance(source, Fill) and source.kind == "ones"
