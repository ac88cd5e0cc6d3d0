"""The comparator for anybody's tests: one operator, arrays that somebody has already, a verdict by derived bounds.

    conformance.judge("conv2d", x=x, w=w, stride=2, padding="same", got=y).assert_within()

No case file, no worker and no framework takes part: arrays come as NumPy sees them.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from typing import Any, Final, cast, get_args

import numpy as np
from numpy.typing import NDArray

from conformance.case.attributes import read_attributes
from conformance.case.contract import Operand, Operator
from conformance.case.expansion import did_you_mean
from conformance.case.job import Job, Outputs, Tensor
from conformance.case.model import Case, Check, FloatName, FormatName, Layout, Shape, TensorSpec, Where
from conformance.case.operators import OPERATORS, gradient_names
from conformance.formats import FORMATS, Float64, round_to, to_storage
from conformance.verdict import judge as verdicts_of
from conformance.verdict import oracle
from conformance.verdict.diagnosis import Diagnosis, Differing, diagnose
from conformance.verdict.model import Comparison, Outcome, Reason, Verdict
from conformance.verdict.oracle import Accumulators, Expectations, MustRefuse

_FORMATS: Final[tuple[FloatName, ...]] = get_args(FloatName)
_LAYOUTS: Final[tuple[Layout, ...]] = ("channels_last", "channels_first")
_NOWHERE: Final = Where(path=Path("a call of conformance.judge"), line=0, column=0)
# Where the last kernel axes (in, out) and an image's channels go.
_KERNEL: Final = "w"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Judged:
    """What an answer is worth; true in a condition exactly when it agrees, and shown as its text.

    Attributes:
        operator: what was asked.
        format: the storage format that was judged.
        accumulator: the format in which sums were granted to be formed.
        verdicts: by check, `outputs` and `gradients`.
        comparisons: every array against its expectation, places in the caller's layout.
        agrees_with: where it differs, the other readings of the operator that explain all of it.
        location: where it differs, the first place and what the differing elements have in common.
        terms: where it differs, which products entered the worst element, in a few lines.
    """

    operator: str
    format: str
    accumulator: str
    verdicts: Mapping[Check, Verdict]
    comparisons: tuple[Comparison, ...]
    agrees_with: tuple[str, ...] = ()
    location: str = ""
    terms: tuple[str, ...] = ()

    @property
    def outcome(self) -> Outcome:
        """The worst of the checks."""
        return max((verdict.outcome for verdict in self.verdicts.values()), key=lambda outcome: outcome.severity)

    @property
    def within(self) -> bool:
        """Every element lies within its interval, and no bound is as large as the values."""
        return self.outcome is Outcome.AGREES

    def __bool__(self) -> bool:
        return self.within

    def assert_within(self) -> None:
        """Does nothing where everything agrees.

        Raises:
            AssertionError: else, with the text of this result.
        """
        __tracebackhide__ = True
        if not self.within:
            raise AssertionError(str(self))

    def __str__(self) -> str:
        lines = [f"{self.operator} in {self.format}, sums in {self.accumulator}: {self.outcome}"]
        for comparison in self.comparisons:
            lines += _told(comparison)
        if self.agrees_with:
            lines.append(f"agrees with: {'; '.join(self.agrees_with)}")
        elif self.location:
            lines += [f"where: {self.location}", *self.terms]
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """A table for notebooks: one row an array."""
        head = ("array", "verdict", "worst at", "got", "expected", "error", "bound", "error / room", "bits")
        rows = [
            (
                _title(c),
                f"{'within' if c.within else 'outside'} ({c.reason})",
                str(list(c.worst_index)),
                *(f"{number:.9g}" for number in (c.got, c.expected)),
                *(f"{number:.3g}" for number in (c.error, c.bound, c.ratio, c.bits)),
            )
            for c in self.comparisons
        ]
        cells = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
        titles = "".join(f"<th>{title}</th>" for title in head)
        first, *rest = str(self).splitlines()
        last = [line for line in rest if not line.startswith("  ")]
        return f"<p>{'<br>'.join(map(escape, [first, *last]))}</p><table><tr>{titles}</tr>{cells}</table>"


def judge(
    operator: str,
    /,
    *,
    got: Any,
    gradients: Mapping[str, Any] | None = None,
    cotangent: Any = None,
    format: str | None = None,  # noqa: A002  # the word of the whole house
    accumulate: str | None = None,
    layout: str = "channels_last",
    **given: Any,
) -> Judged:
    """Judges what somebody computed with an operator against the reference, by derived bounds; no tolerance is set.

    Args:
        operator: a name of the operators' table: `conv2d`, `max_pool2d`, `softmax`, ...; `conformance list --stats`
            names them all.
        got: the output; by name where the operator has several.
        gradients: what was computed as gradients, by operand.
        cotangent: what the gradients were pulled back from, of the output's shape; 1 where the output is a scalar.
        format: `float64`, `float32`, `bfloat16` or `float16`, where the type of `got` does not tell: numbers of
            this format, held in a wider one.
        accumulate: the format in which sums are formed, where it is not the storage format.
        layout: `channels_first` for operators with spatial axes: x and outputs (batch, channels, *spatial), kernels
            (out, in / groups, *spatial), transposed kernels (in, out / groups, *spatial).
        **given: the operands, as anything that NumPy reads; the attributes, with one number for all spatial axes.

    Returns:
        The result; call `assert_within()` in a test.

    Raises:
        TypeError: for a name that the operator does not have, one that is missing, or what is no array of numbers.
        ValueError: for an attribute's value, shapes that do not fit, or numbers that the format does not hold.
    """
    contract = _contract(operator)
    own = {name: value for name, value in given.items() if value is not None}
    operands, attributes = _split(contract, own)
    layout = _one_of("layout", layout, _LAYOUTS)
    if layout == "channels_first" and not contract.rank:
        raise ValueError(f"{operator} has no spatial axes, so there is no layout to choose; give arrays as they are")
    axes = _Axes(contract.rank if layout == "channels_first" else 0)

    # What goes by an operand's name comes with that operand.
    optional = {operand.name for operand in contract.operands} - operands.keys()
    names = tuple(name for name in contract.outputs if name not in optional)
    outputs = {name: _array(name, value) for name, value in _named(operator, names, "got", got).items()}
    name_of_format = _one_of("format", format or _format_of(outputs), _FORMATS)
    accumulator = _one_of("accumulate", accumulate or name_of_format, _FORMATS)
    read = _Reading(cast("FormatName", name_of_format), axes)
    tensors = {name: read.operand(contract.operand(name), value) for name, value in operands.items()}
    shapes = contract.shapes(attributes, {name: tensor.shape for name, tensor in tensors.items()})
    asked = dict(gradients or {})
    job = Job(
        case_id=operator,
        operator=operator,
        attributes=attributes,
        format=read.format,
        layout="native",
        data="given",
        operands=tensors,
        cotangents=_cotangents(contract, cotangent, shapes, read) if asked or cotangent is not None else {},
    )
    for name in asked:
        known = gradient_names(operator, attributes, tensors)
        if name not in known:
            raise TypeError(
                f"{operator} has no gradient with respect to {name!r}; given and differentiable are "
                f"{', '.join(known) or 'none'}{did_you_mean(name, known)}"
            )
    answer = Outputs(
        outputs={
            name: read.answer(name, array, own=format is None or name in contract.integers)
            for name, array in outputs.items()
        },
        gradients={
            name: read.answer(name, _array(f"gradient {name}", value), own=format is None)
            for name, value in asked.items()
        },
    )
    return _judged(job, answer, Accumulators(((operator, read.format, "*", accumulator),)), axes, accumulator)


def _judged(job: Job, answer: Outputs, accumulators: Accumulators, axes: "_Axes", accumulator: str) -> Judged:
    expected = oracle.expect(job, accumulators)
    if isinstance(expected, MustRefuse):
        raise ValueError(f"{job.operator} has no answer to this: {expected.why}")
    wanted = Expectations(
        outputs=expected.outputs,
        gradients={name: one for name, one in expected.gradients.items() if name in answer.gradients},
        samples=expected.samples,
    )
    case = Case(
        id=job.operator,
        operator=job.operator,
        attributes=job.attributes,
        inputs={name: TensorSpec(shape=tensor.shape) for name, tensor in job.operands.items()},
        where=_NOWHERE,
    )
    asked = job if wanted.gradients else replace(job, cotangents={})
    judgement = verdicts_of.judge(case, asked, answer, wanted, exact=False)
    found = Diagnosis()
    if any(verdict.outcome is not Outcome.AGREES for verdict in judgement.verdicts.values()):
        found = diagnose([Differing(job=asked, answer=answer, expected=wanted)], accumulators)
    location = f"{found.location} (places with channels last)" if found.location and axes.rank else found.location
    return Judged(
        operator=job.operator,
        format=job.format,
        accumulator=accumulator,
        verdicts=judgement.verdicts,
        comparisons=tuple(axes.own_places(comparison) for comparison in judgement.comparisons),
        agrees_with=found.agrees_with,
        location=location,
        terms=found.terms,
    )


# What is given ------------------------------------------------------------------------------------------------------


def _contract(operator: str) -> Operator:
    if operator == "chain":
        raise ValueError("a chain is judged layer by layer, in case files; give judge() one operator")
    if operator not in OPERATORS:
        known = [name for name in OPERATORS if name != "chain"]
        hint = did_you_mean(operator, known)
        raise ValueError(f"there is no operator {operator!r}; known are {', '.join(sorted(known))}{hint}")
    return OPERATORS[operator]


def _one_of(name: str, given: str, allowed: tuple[str, ...]) -> Any:
    if given not in allowed:
        raise ValueError(f"{name} must be {', '.join(allowed)}, got {given!r}{did_you_mean(given, allowed)}")
    return given


def _split(contract: Operator, given: Mapping[str, Any]) -> tuple[dict[str, Any], Any]:
    """Operands and attributes, told apart by name."""
    operands = {operand.name: operand for operand in contract.operands}
    attributes = {name: _plain(value) for name, value in given.items() if name not in operands}
    known = [*operands, *contract.attributes.__dataclass_fields__]
    for name in attributes:
        if name not in known:
            raise TypeError(
                f"{contract.name} takes no {name!r}; operands are {', '.join(operands)}, attributes "
                f"{', '.join(known[len(operands) :]) or 'none'}{did_you_mean(name, known)}"
            )
    for name, operand in operands.items():
        if name not in given and not operand.optional:
            raise TypeError(f"{contract.name} needs the operand {name!r}; given are {', '.join(given) or 'none'}")
    made, faults = read_attributes(contract, attributes)
    if faults:
        kind = ValueError if all(fault.typed for fault in faults) else TypeError
        raise kind("; ".join(fault.message for fault in faults))
    return {name: value for name, value in given.items() if name in operands}, made


def _plain(value: Any) -> Any:
    """An attribute as a case file would have it: Python's own numbers, lists as tuples."""
    if isinstance(value, (np.generic, np.ndarray)):
        value = value.tolist()
    return tuple(map(_plain, value)) if isinstance(value, (list, tuple)) else value


def _named(operator: str, outputs: tuple[str, ...], what: str, given: Any) -> dict[str, Any]:
    """By output, whether there is one or several."""
    if not isinstance(given, Mapping):
        if len(outputs) > 1:
            names = ", ".join(f"{name!r}: ..." for name in outputs)
            raise TypeError(f"{operator} has several outputs; give {what}={{{names}}}")
        return {outputs[0]: given}
    for name in given:
        if name not in outputs:
            hint = did_you_mean(name, outputs)
            raise TypeError(f"{operator} has no output {name!r}; it has {', '.join(outputs)}{hint}")
    missing = [name for name in outputs if name not in given]
    if missing:
        raise TypeError(f"{what} lacks {', '.join(missing)}, of {operator}'s {', '.join(outputs)}")
    return dict(given)


def _array(name: str, value: Any) -> NDArray[Any]:
    """The array that a value is, by `__array__` or `__dlpack__`."""
    read: Callable[[Any], NDArray[Any]] = np.asarray
    if hasattr(value, "__dlpack__") and not hasattr(value, "__array__"):
        read = np.from_dlpack
    try:
        array = read(value)
    except Exception as error:  # whatever a framework raises for what it does not hand out
        if getattr(value, "requires_grad", False):
            remedy = "detach it first: .detach()"
        elif "bfloat16" in str(getattr(value, "dtype", "")):
            remedy = "widen it, which is exact, and name the format: .float(), format='bfloat16'"
        else:
            remedy = "give a NumPy array, or a tensor on the CPU: .cpu()"
        raise TypeError(f"{name} cannot be read as an array ({type(error).__name__}: {error}); {remedy}") from error
    if array.dtype.kind not in "biuf" and array.dtype.name not in FORMATS:
        raise TypeError(f"{name} must be an array of numbers, got {array.dtype} of {type(value).__name__}")
    return array


def _format_of(outputs: Mapping[str, NDArray[Any]]) -> str:
    name, array = next(iter(outputs.items()))
    if array.dtype.name not in _FORMATS:
        raise TypeError(
            f"{name} is {array.dtype}, and must be {', '.join(_FORMATS)}; "
            "or name the format that its numbers have with format=..."
        )
    return array.dtype.name


@dataclass(frozen=True, slots=True)
class _Axes:
    """The caller's order of axes: with a rank channels come first, without one everything stays."""

    rank: int

    def to_last(self, name: str, array: NDArray[Any]) -> NDArray[Any]:
        """In the house's order; what has another number of axes stays, for the contract to refuse."""
        if not self.rank or array.ndim != self.rank + 2:
            return array
        return array.transpose((*range(2, array.ndim), 1, 0) if name == _KERNEL else (0, *range(2, array.ndim), 1))

    def own(self, name: str, entries: Shape) -> Shape:
        """An index or a shape, in the caller's order."""
        if not self.rank or len(entries) != self.rank + 2:
            return entries
        if name == _KERNEL:
            return (entries[-1], entries[-2], *entries[:-2])
        return (entries[0], entries[-1], *entries[1:-1])

    def own_places(self, comparison: Comparison) -> Comparison:
        """A comparison whose index and shapes are in the caller's order."""
        c = comparison
        return replace(
            c,
            worst_index=self.own(c.name, c.worst_index),
            expected_shape=self.own(c.name, c.expected_shape),
            got_shape=self.own(c.name, c.got_shape),
        )


@dataclass(frozen=True, slots=True)
class _Reading:
    """Arrays as tensors of one format."""

    format: FormatName
    axes: _Axes

    def operand(self, operand: Operand, value: Any) -> Tensor:
        """An operand: numbers that the format holds, integers, or a mask.

        Raises:
            TypeError, ValueError: if it is anything else.
        """
        name = operand.name
        array = self.axes.to_last(name, _array(name, value))
        if operand.kind == "float":
            return Tensor(self.format, to_storage(self.numbers(name, array), FORMATS[self.format]))
        if operand.kind == "integer":
            if array.dtype.kind not in "iu":
                raise TypeError(f"{name} holds integers, got {array.dtype}")
            return Tensor("int64", array.astype(np.int64))
        if not np.isin(array, (0, 1)).all():
            raise ValueError(f"{name} is a mask of true and false, or 1 and 0; got {array.dtype} with other numbers")
        return Tensor("bool", array.astype(np.bool_))

    def numbers(self, name: str, array: NDArray[Any]) -> Float64:
        """The numbers, which the format must hold as they are.

        Raises:
            ValueError: if it does not.
        """
        values: Float64 = array.astype(np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            changed = (round_to(values, FORMATS[self.format]) != values) & ~np.isnan(values)
        if changed.any():
            place = [int(i) for i in np.argwhere(changed)[0]]
            one = float(values[tuple(place)])
            raise ValueError(
                f"{name} holds numbers that {self.format} does not, {one!r} at {place} for one; "
                f"give {name} as the computation had it, rounded to {self.format}"
            )
        return values

    def answer(self, name: str, array: NDArray[Any], *, own: bool) -> Tensor:
        """What came back: in its `own` format, or, where the caller names the format, in that one."""
        array = self.axes.to_last(name, array)
        if own and array.dtype.name in FORMATS:
            format_ = FORMATS[array.dtype.name]
            return Tensor(format_.name, to_storage(array.astype(np.float64), format_))
        if own:
            return Tensor(array.dtype.name, array)  # of no format: the comparator says so
        return Tensor(self.format, to_storage(self.numbers(name, array), FORMATS[self.format]))


def _cotangents(contract: Operator, given: Any, shapes: Mapping[str, Shape], read: _Reading) -> dict[str, Tensor]:
    if given is None and set(shapes.values()) == {()}:
        given = dict.fromkeys(shapes, 1.0)
    if given is None:
        raise TypeError(
            f"gradients of {contract.name} need the cotangent that they were pulled back from: cotangent=g, "
            "as in y.backward(g), jax.vjp(f, x)[1](g) or tape.gradient(y, x, output_gradients=g)"
        )
    made = {}
    differentiable = tuple(name for name in shapes if name not in contract.state)
    for name, value in _named(contract.name, differentiable, "cotangent", given).items():
        array = read.axes.to_last("cotangent", _array("cotangent", value))
        if array.shape != shapes[name]:
            expected, found = (list(read.axes.own("cotangent", shape)) for shape in (shapes[name], array.shape))
            raise ValueError(f"the cotangent has the output's shape {expected}, got {found}")
        made[name] = Tensor(read.format, to_storage(read.numbers("cotangent", array), FORMATS[read.format]))
    return made


# What is told -------------------------------------------------------------------------------------------------------


def _title(comparison: Comparison) -> str:
    return comparison.name if comparison.check == "outputs" else f"gradient of {comparison.name}"


def _told(c: Comparison) -> list[str]:
    """A comparison in lines: what came of it, then the worst element where something is wrong."""
    title = _title(c)
    if c.reason is Reason.SHAPE:
        return [f"  {title}: shape {list(c.got_shape)}, expected {list(c.expected_shape)}"]
    if c.reason is Reason.FORMAT:
        return [f"  {title}: {c.got_format}, expected {c.expected_format}"]
    bits = "all" if math.isinf(c.bits) else f"{c.bits:.1f}"
    if c.within and c.reason is not Reason.VACUOUS:
        return [f"  {title}: {c.reason}, error / room {c.ratio:.3g}, {bits} effective bits"]
    if c.within:
        return [
            f"  {title}: the bound is as large as the values, so agreement says nothing",
            "      judge fewer terms at a time, or name the wider format that sums are formed in: accumulate=",
        ]
    return [
        f"  {title}: {c.reason}, {c.outside} of {math.prod(c.expected_shape)} elements outside their bounds",
        f"      worst at {list(c.worst_index)}: got {c.got!r}, expected {c.expected!r}",
        f"      error {c.error:.3g}, bound {c.bound:.3g}, error / room {c.ratio:.3g}, {bits} effective bits",
    ]
