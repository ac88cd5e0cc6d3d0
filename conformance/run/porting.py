"""A layer of one framework in the words of another: the equivalent, run and held to the reference, or the nearest.

What has the same shape and other numbers is the trap of porting: it is named too, with how far off it is.
"""

import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Final

import numpy as np

from conformance.case.model import Shape
from conformance.dialects.chains import READERS, calls_of
from conformance.dialects.model import Question, Step, Unwritten, Weight, Written
from conformance.dialects.moves import after, back, joined, moved
from conformance.dialects.source import Call, UnreadableLayer
from conformance.dialects.table import DIALECTS, Dialect
from conformance.dialects.window_layers import folded_from
from conformance.errors import ImpossibleShape
from conformance.formats import Float64
from conformance.run.questions import BATCH, CHANNELS, UnclearQuestion, call_lines, sizes_of
from conformance.run.rehearsal import Rehearsed, expected_values, job_of, rehearse_all
from conformance.verdict.oracle import Accumulators, Expectations, expect

# What another reading of a layer may say of an attribute, where its framework has no word for the one that is asked.
READINGS: Final[Mapping[str, tuple[object, ...]]] = {
    "padding": ("same", "valid"),
    "ceil_mode": (False, True),
    "count_padding": (False, True),
    "approximate": ("none", "tanh"),
    "alpha_of": ("sum", "mean"),
    "coordinates": ("half_pixel", "align_corners", "asymmetric"),
    "rounding": ("half_up", "floor"),
    "coefficient": (-0.5, -0.75),
    "edge": ("renormalize", "clamp"),
}
# How channels are counted, of pixels and of windows.
_ORDERS: Final = (("dcr", "crd"), ("channels_last", "channels_first"))
# Sizes that no window divides by chance, and that differ from axis to axis.
_SPATIAL: Final = (11, 13, 9)
_FEATURES: Final = 6
# Other sizes at which a call must be the same, or the sizes belong to it.
_OTHER_SIZES: Final = (1, 2, 3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Near:
    """A call that says something else: its lines, and how far its output is from the wanted one.

    `most` is the largest difference, `of` the largest value, `share` how many elements differ by more than rounding;
    a difference of infinity stands for another shape, `shape`, without the batch.
    """

    lines: tuple[str, ...]
    shape: str
    most: float
    of: float
    share: float
    measured: str

    def __str__(self) -> str:
        if math.isinf(self.most):
            return f"its output is {self.shape}"
        return (
            f"differs by up to {self.most:.3g} where values reach {self.of:.3g}, in {self.share:.0%} of the elements"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Ported:
    """A layer in another framework.

    Attributes:
        dialect: whose words.
        lines: the equivalent; none where there is no exact one.
        weights: how its parameters are made of the source's, NumPy arrays both.
        remarks: why it takes more than one option, and what it depends on.
        checked: what came of running it.
        lacking: why there is no exact one.
        near: what says something else: the nearest where none is exact, else what shares the shape and differs.
    """

    dialect: Dialect
    lines: tuple[str, ...] = ()
    weights: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    checked: str = ""
    lacking: str = ""
    near: Near | None = None

    @property
    def exact(self) -> bool:
        """There is an equivalent, and nothing that was run says otherwise."""
        return bool(self.lines)

    def __str__(self) -> str:
        lines = [self.dialect.title]
        if self.lacking:
            lines.append(f"  warning: no exact equivalent: {self.lacking}")
        lines += [f"    {line}" for line in self.lines]
        lines += [f"  {text}" for text in (*self.remarks, *(f"weights: {weight}" for weight in self.weights))]
        if self.checked:
            lines.append(f"  {self.checked}")
        if self.near is not None:
            joined_ = "; ".join(self.near.lines)
            what = "not" if self.lines else "nearest:"
            same = ", which has the same shape:" if self.lines else ","
            lines.append(
                f"  {what} {joined_}{same} it {self.near} ({self.near.measured})".replace(": it its", ": its")
            )
        return "\n".join(lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """A layer, and what it is elsewhere."""

    text: str
    source: Dialect
    given: str
    output: str
    ported: tuple[Ported, ...]

    @property
    def exact(self) -> bool:
        """Every framework that was asked has an equivalent."""
        return all(ported.exact for ported in self.ported)

    def __str__(self) -> str:
        head = f"{self.text} of {self.source.title}, given {self.given} -> {self.output}"
        return "\n\n".join([head, *map(str, self.ported)])


def port(text: str, source: Dialect, targets: Sequence[Dialect], given: str = "") -> Port:
    """Says a layer in other frameworks' words; what can be run is run before it is said.

    Args:
        text: one layer of `torch.nn` or `keras.layers`; read, never evaluated.
        source: whose layer it is.
        targets: whose words are wanted.
        given: sizes of the data in the source's order without the batch; some that fit the layer if empty.

    Raises:
        UnreadableLayer, UnclearQuestion: if the layer or the sizes cannot be read.
        ImpossibleShape: if the layer cannot be given data of these sizes.
    """
    if source.name not in READERS:
        raise UnclearQuestion(f"layers of {', '.join(READERS)} are read, got --from {source.name}")
    _, calls = calls_of(text, source.name)
    if len(calls) != 1:
        raise UnreadableLayer(text, 1, f"one layer is ported at a time, got {len(calls)}")
    (call,) = calls
    x = _given(given, source) if given else _fitting(call, source)
    step = READERS[source.name].read(call, x)
    says = {target: [target.write(question) for question in step.questions] for target in targets}
    exact = {target: said for target, said in says.items() if all(isinstance(one, Written) for one in said)}
    nearby = {target: _nearby(step, target, exact=target in exact) for target in targets}
    asked: dict[Dialect, list[tuple[Written, Question]]] = {target: [] for target in targets}
    for target, said in exact.items():
        asked[target] += [
            (one, question) for one, question in zip(said, step.questions, strict=True) if isinstance(one, Written)
        ]
    for target, found in nearby.items():
        asked[target] += [(found.written, found.question)] if found is not None and found.runs else []
    rehearsed = rehearse_all({target: pairs for target, pairs in asked.items() if pairs})
    ported = tuple(
        _ported(step, call, source, target, says[target], nearby[target], rehearsed.get(target, ()))
        for target in targets
    )
    return Port(
        text=call.text, source=source, given=_told(x, source), output=_told(step.output, source), ported=ported
    )


def _told(shape: Shape, dialect: Dialect) -> str:
    """A shape without its batch, in a dialect's order."""
    rest = shape[1:]
    if dialect.channels_first and len(rest) > 1:
        rest = (rest[-1], *rest[:-1])
    return "x".join(map(str, rest)) or "a number"


def _given(given: str, source: Dialect) -> Shape:
    sizes = sizes_of(given)
    if source.channels_first and len(sizes) > 1:
        sizes = (*sizes[1:], sizes[0])
    return (BATCH, *sizes)


def _fitting(call: Call, source: Dialect) -> Shape:
    """A shape that a layer takes: its own channels, and sizes that its windows do not divide.

    Raises:
        UnclearQuestion: if none is found.
    """
    named = ("in_channels", "num_features", "num_channels", "in_features", "num_parameters")
    told = [call.arguments[name] for name in named if name in call.arguments]
    channels = told[0] if told and isinstance(told[0], int) else None
    counted = re.search(r"(?<=[A-Za-z])([123])[dD]", call.layer)
    groups = call.arguments.get("groups")
    block = next((call.arguments[n] for n in ("upscale_factor", "downscale_factor") if n in call.arguments), 1)
    several = groups if isinstance(groups, int) and groups > 0 else 1
    inside = channels or (_FEATURES * several if block == 1 else 2 * int(str(block)) ** 2)
    spatial = [int(counted[1])] if counted else [2, 0, 1]
    kernels = [call.arguments.get(name) for name in ("kernel_size", "pool_size", "downscale_factor")]
    largest = max([1, *(n for value in kernels for n in _flat(value))])
    if call.layer == "Linear" or call.layer == "Dense":
        spatial = [0]
    if call.layer == "LayerNorm" and source.channels_first:
        sizes = _flat(call.arguments["normalized_shape"])
        return (BATCH, *sizes[1:], sizes[0]) if len(sizes) > 1 else (BATCH, *sizes)
    if call.layer == "Fold":
        return (BATCH, *folded_from(call, CHANNELS))
    problems = []
    for rank in spatial:
        for times in (1, largest):
            x = (BATCH, *(n * times for n in _SPATIAL[:rank]), inside)
            try:
                READERS[source.name].read(call, x)
            except ImpossibleShape as error:
                problems.append(str(error))
            else:
                return x
    raise UnclearQuestion(f"{call.text}: give --input, the sizes of its data: {problems[0]}")


def _flat(value: object) -> list[int]:
    if isinstance(value, tuple):
        return [n for part in value for n in _flat(part)]
    return [value] if isinstance(value, int) and not isinstance(value, bool) else []


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Nearby:
    """Another reading of one of a step's questions, and what the reference says of the difference."""

    question: Question
    written: Written
    shape: Shape
    most: float

    @property
    def runs(self) -> bool:
        """It takes the same operands and gives the same shape, so that it can be run in the other's place."""
        return math.isfinite(self.most)


def _nearby(step: Step, target: Dialect, *, exact: bool) -> _Nearby | None:
    """The nearest other reading that the target has words for; with `exact`, one that shares the shape."""
    found = []
    for question in step.questions:
        said = target.write(question)
        if not question.judged or (not exact and isinstance(said, Written)):
            continue
        wanted = expected_values(question)["output"]
        for other in _readings(question):
            written = target.write(other)
            if isinstance(written, Unwritten) or (isinstance(said, Written) and written.lines == said.lines):
                continue
            most = _difference(question, other, wanted)
            if exact and not 0 < most < math.inf:
                continue
            # Of equal ones the shortest call.
            found.append(
                (
                    (most, len(written.lines)),
                    _Nearby(question=question, written=written, shape=other.output, most=most),
                )
            )
    return min(found, key=lambda one: one[0], default=(None, None))[1]


def _difference(question: Question, other: Question, wanted: Float64) -> float:
    """How far another reading is by the reference, on the same numbers; infinite where the shape is another."""
    if other.output != question.output:
        return math.inf
    expected = expect(replace(job_of(question, "normal"), attributes=other.attributes), Accumulators())
    assert isinstance(expected, Expectations), expected
    return float(np.max(np.abs(expected.outputs["output"].value - wanted), initial=0.0))


def _readings(question: Question) -> Iterator[Question]:
    """A question with other attributes, wherever that has an answer."""
    attributes = question.attributes
    if question.operator == "pad":
        return
    given = {field.name: getattr(attributes, field.name) for field in fields(attributes)}
    readings = {**READINGS, "order": next((order for order in _ORDERS if given.get("order") in order), ())}
    names = [name for name in given if name in readings]
    options = [dict.fromkeys((given[name], *readings[name])) for name in names]
    for values in itertools.product(*options):
        given = dict(zip(names, values, strict=True))
        if isinstance(given.get("padding"), str) and hasattr(attributes, "output_padding"):
            given |= {"output_padding": (0,) * len(attributes.output_padding), "output_size": ()}
        other = replace(question, attributes=replace(attributes, **given))
        if other.attributes == attributes:
            continue
        try:
            _ = other.output
        except ImpossibleShape:
            continue
        yield other


def _ported(
    step: Step,
    call: Call,
    source: Dialect,
    target: Dialect,
    said: Sequence[Written | Unwritten],
    nearby: _Nearby | None,
    rehearsed: Sequence[Rehearsed],
) -> Ported:
    lacking = "; ".join(dict.fromkeys(one.why for one in said if isinstance(one, Unwritten)))
    written = [one for one in said if isinstance(one, Written)]
    ran = list(rehearsed)
    near = None
    if nearby is not None:
        last = ran.pop() if nearby.runs and ran else None
        near = _near(nearby, target, last)
    if lacking:
        return Ported(dialect=target, lacking=lacking, near=near)
    failed = [one for one in ran if not one.holds and not one.missing]
    if failed:
        return Ported(dialect=target, lacking=f"the call that should be one {failed[0]}", near=near)
    whole = _whole(target, written)
    return Ported(
        dialect=target,
        lines=call_lines(target, whole),
        weights=tuple(_weights(step, written)),
        remarks=tuple(
            filter(None, [*(one.remark for one in written), _of_this_size(step, call, source, target, whole)])
        ),
        checked=str(ran[0]) if ran else "",
        near=near,
    )


def _whole(target: Dialect, written: Sequence[Written]) -> Written:
    """Several calls as one; statements hand on `y` as the next one's `x`, and so do layers among them."""
    statements = not target.layered or any(one.statements for one in written)
    lines: list[str] = []
    for place, one in enumerate(written):
        if place and statements:
            lines.append("x = y")
        if statements and target.layered and not one.statements:
            lines += [f"y = {line}({'y' if step else 'x'})" for step, line in enumerate(one.lines)]
        else:
            lines += one.lines
    return Written(lines=tuple(lines), statements=statements)


def _weights(step: Step, written: Sequence[Written]) -> Iterator[str]:
    """The target's parameters, each made of the source's."""
    for place, one in enumerate(written):
        shapes = step.questions[place].shapes
        own = {weight.operand: weight for weight in step.weights if weight.line == place}
        for weight in one.weights:
            if weight.operand in own:
                yield _weight_line(own[weight.operand], weight, shapes[weight.operand])


def _weight_line(source: Weight, target: Weight, shape: Shape) -> str:
    before, behind = after(shape, source.moves), after(shape, target.moves)
    moves = joined(back(source.moves), target.moves)
    same = "" if moves else ", as it is"
    return f"{target.name} = {moved(source.name, moves)}{same}  # {before} -> {behind}"


def _of_this_size(step: Step, call: Call, source: Dialect, target: Dialect, whole: Written) -> str:
    """What is to be known where a call is for data of this size alone."""
    x = step.questions[0].first
    for more in _OTHER_SIZES:
        try:
            other = READERS[source.name].read(call, (x[0], *(n + more for n in x[1:-1]), x[-1]))
        except ImpossibleShape:
            continue
        said = [target.write(question) for question in other.questions]
        written = [one for one in said if isinstance(one, Written)]
        if len(written) < len(said) or _sizeless(_whole(target, written)) != _sizeless(whole):
            given = _told(x, source)
            return f"warning: this is for data of {given}; other sizes (--input) have other pads, crops or windows"
    return ""


def _sizeless(written: Written) -> tuple[str, ...]:
    """Its lines without the size that TensorFlow is told of an output."""
    return tuple(re.sub(r"output_shape=\([^)]*\)", "", line) for line in written.lines)


def _near(nearby: _Nearby, target: Dialect, rehearsed: Rehearsed | None) -> Near:
    wanted = expected_values(nearby.question)["output"]
    most, share, measured = nearby.most, 1.0, "by the reference"
    if rehearsed is not None and "output" in rehearsed.arrays:
        got = np.asarray(rehearsed.arrays["output"], np.float64)
        if got.shape == wanted.shape:
            difference = np.abs(got - wanted)
            most = float(np.max(difference, initial=0.0))
            largest = float(np.max(np.abs(wanted), initial=0.0))
            share = float(np.mean(difference > largest * 2.0**-18))
            measured = f"measured with {rehearsed.versions}"
    return Near(
        lines=call_lines(target, nearby.written),
        shape=_told(nearby.shape, target),
        most=most,
        of=float(np.max(np.abs(wanted), initial=0.0)),
        share=share,
        measured=measured,
    )


def source_of(text: str, name: str) -> Dialect:
    """Whose layer a text is: the one that is named, else the one whose names it uses.

    Raises:
        UnclearQuestion: if layers of that framework are not read.
        UnreadableLayer: if it cannot be read.
    """
    if name and name not in READERS:
        raise UnclearQuestion(f"layers of {', '.join(READERS)} are read, got --from {name}")
    return DIALECTS[name or calls_of(text)[0]]
