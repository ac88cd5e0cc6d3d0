"""What a set of cases lacks: questions asked twice, asymmetries that nobody asks about, data that hides faults.

Constants hide a flipped kernel, square and symmetric configurations hide swapped axes and pads. Cases from the seeds
(`seeds/...`) say what their source says and are left alone; refusals have no geometry to look at, and probes are
as small as their readings allow. Cases that were captured from a model are the geometry that it has.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from conformance.case.families.convolution import TransposedConvolution
from conformance.case.geometry import Pads, extent, resolve_pads, transposed_crop
from conformance.case.model import Case, Fill, Shape, Source, Values
from conformance.case.operators import OPERATORS
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
        answered = [case for case in own if case.expect.error == "no" and not case.source.startswith(CAPTURED)]
        if answered:
            problems += _missing_asymmetries(operator, answered)
            problems += _constant_data(operator, answered)
    return tuple(problems)


@dataclass(frozen=True, slots=True)
class _Geometry:
    """The configuration of a sliding operator, resolved."""

    sizes: Shape
    kernel: Shape
    stride: Shape
    dilation: Shape
    pads: Pads  # of a transposed operator: what is cropped


def _geometry(case: Case) -> _Geometry:
    attributes: Any = case.attributes
    sizes = case.inputs["x"].shape[1:-1]
    rank = OPERATORS[case.operator].rank
    kernel = case.inputs["w"].shape[:rank] if "w" in case.inputs else attributes.window
    dilation: Shape = getattr(attributes, "dilation", (1,) * rank)
    stride: Shape = attributes.stride
    if isinstance(attributes, TransposedConvolution):
        starts, outputs = transposed_crop(
            attributes.padding, sizes, kernel, stride, dilation, attributes.output_padding
        )
        canvas = [(n - 1) * s + extent(k, d) for n, k, s, d in zip(sizes, kernel, stride, dilation, strict=True)]
        pads = tuple((low, c - low - size) for low, c, size in zip(starts, canvas, outputs, strict=True))
    else:
        pads = resolve_pads(attributes.padding, sizes, kernel, stride, dilation)
    return _Geometry(sizes, kernel, stride, dilation, pads)


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


def question(case: Case) -> object:
    """What is asked once pads and shapes are resolved: two cases with the same one are one case."""
    attributes = case.attributes
    if OPERATORS[case.operator].rank and case.expect.error == "no":
        own: dict[str, Any] = {"padding": _geometry(case).pads}
        if isinstance(attributes, TransposedConvolution):
            own["output_padding"] = ()  # the crop tells it
        attributes = replace(attributes, **own)
    return (
        attributes,
        tuple(sorted((name, spec.shape, repr(spec.source)) for name, spec in case.inputs.items())),
        tuple(sorted((name, repr(spec.source)) for name, spec in case.cotangents.items())),
        case.data,
        case.formats,
        case.layouts,
        case.native,
        tuple((reading.attributes, reading.variant) for reading in case.readings),
    )


_Sees = Callable[[Case, _Geometry], bool]


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
    geometries = [(case, _geometry(case)) for case in cases]
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
