"""What a variant is, and the small moves that most of them are made of.

A variant reads a job in another way: it rewrites what is computed (attributes, operands, cotangents), takes a
gradient from another job, or changes what the reference expects. All of it is evaluated in the parent.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from conformance.case.contract import kernel_sides
from conformance.case.families.convolution import TransposedConvolution, settled
from conformance.case.geometry import Pads, resolve_pads, transposed_crop
from conformance.case.job import Job, Tensor
from conformance.case.model import FormatName, Shape
from conformance.case.operators import OPERATORS
from conformance.errors import ImpossibleShape
from conformance.formats import FORMATS, Float64, from_storage, to_storage
from conformance.verdict.model import Expectation
from conformance.verdict.oracle import REFERENCE_UNIT, Expectations, MustRefuse

Array = NDArray[Any]
# Acts alike on numbers and on stored words: it moves elements, or adds them up.
Move = Callable[[Array], Array]

CONV: Final = ("conv?d",)
TRANSPOSED: Final = ("conv?d_transpose",)
KERNELS: Final = (*CONV, *TRANSPOSED)
KERNELS_OF_PLANES: Final = ("conv[23]d", "conv[23]d_transpose")
INDEXED_POOL: Final = ("max_pool?d_with_indices",)
MAX_POOL: Final = ("max_pool?d", *INDEXED_POOL)
MAX_POOL_OF_PLANES: Final = ("max_pool[23]d", "max_pool[23]d_with_indices")
AVERAGE_POOL: Final = ("average_pool?d",)
POOLS: Final = (*MAX_POOL, *AVERAGE_POOL)
POOLS_OF_PLANES: Final = (*MAX_POOL_OF_PLANES, "average_pool[23]d")


def unchanged(found: Expectations) -> Expectations:
    """Nothing happens to what is expected."""
    return found


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reading:
    """How a variant reads one job.

    Attributes:
        job: what it computes instead.
        pulled: gradients, by operand, that it takes from yet another job.
        change: what happens to values, bounds and scales afterwards.
        rounds: the change rounds: sums of integers are no longer exact.
    """

    job: Job
    pulled: Mapping[str, Job] = field(default_factory=dict)
    change: Callable[[Expectations], Expectations] = unchanged
    rounds: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """A named other reading of an operator, one that some real system has or some real bug had.

    Attributes:
        name: as diagnosis names it: "agrees with: kernel flipped".
        operators: globs over the operators that can be read so.
        about: who reads it so, or how it comes about, in one sentence.
        seen_by: the kind of case that tells it from the reference.
        read: None where a job leaves it nothing to change.
        touches: what may change; a gradient's variant leaves the outputs alone.
        shows_on: numbers that must occur among the operands for the two to differ at all.
        formats: where it exists; everywhere if empty.
    """

    name: str
    operators: tuple[str, ...]
    about: str
    seen_by: str
    read: Callable[[Job], Reading | None] = field(repr=False)
    touches: Literal["outputs", "gradients", "both"] = "both"
    shows_on: tuple[float, ...] = ()
    formats: tuple[FormatName, ...] = ()

    def covers(self, operator: str, format_name: FormatName = "float32") -> bool:
        """Whether an operator can be read so in a format."""
        return any(fnmatchcase(operator, glob) for glob in self.operators) and (
            not self.formats or format_name in self.formats
        )


Ask = Callable[[Job, bool], Expectations | MustRefuse]


def evaluate(variants: Sequence[Variant], job: Job, ask: Ask) -> Expectations | MustRefuse | None:
    """What a job's answer is when it is read by variants, the first outermost.

    Args:
        variants: one, or several whose readings are composed.
        job: the question.
        ask: the oracle, given a job and whether integers are exact.

    Returns:
        None where a variant has nothing to change; what must be refused where the other reading has no answer.
        Gradients are missing where the output has another shape than the cotangent that was sent.
    """
    return _evaluate(variants, job, ask, exact=True)


def _evaluate(variants: Sequence[Variant], job: Job, ask: Ask, *, exact: bool) -> Expectations | MustRefuse | None:
    if not variants:
        return ask(job, exact)
    if not variants[0].covers(job.operator, job.format):
        return None  # the variant before it reads the job as another operator's
    if isinstance(fitting(job), MustRefuse):
        return None  # geometry asks the contract, which is narrower than the reference at some edges
    reading = variants[0].read(job)
    if reading is None:
        return None
    exact = exact and not reading.rounds
    read = fitting(reading.job)
    if isinstance(read, MustRefuse):
        return read
    found = _evaluate(variants[1:], read, ask, exact=exact)
    if not isinstance(found, Expectations):
        return found
    if read.cotangents:
        gradients = dict(found.gradients)
        for name, other in reading.pulled.items():
            apart = _evaluate(variants[1:], other, ask, exact=exact)
            if not isinstance(apart, Expectations):
                return apart
            if name in gradients:
                gradients[name] = apart.gradients[name]
        found = Expectations(outputs=found.outputs, gradients=gradients)
    changed = _in_formats(reading.change(found), found)
    fits = all(changed.outputs[name].value.shape == tensor.shape for name, tensor in job.cotangents.items())
    return changed if fits else Expectations(outputs=changed.outputs, gradients={})


def _in_formats(changed: Expectations, found: Expectations) -> Expectations:
    """Whatever happens to places, they stay integers."""
    return replace(
        changed,
        outputs={
            name: replace(expectation, format=found.outputs[name].format) if name in found.outputs else expectation
            for name, expectation in changed.outputs.items()
        },
    )


def fitting(job: Job) -> Job | MustRefuse:
    """A job without its cotangents where they do not have the shape of its outputs."""
    try:
        shapes = output_shapes(job)
    except ImpossibleShape as error:
        return MustRefuse(why=str(error))
    fits = all(shapes.get(name) == tensor.shape for name, tensor in job.cotangents.items())
    return job if fits else replace(job, cotangents={})


def output_shapes(job: Job) -> dict[str, Shape]:
    """What the operators' contract says about the outputs of a job.

    Raises:
        ImpossibleShape: if the question has no answer.
    """
    return OPERATORS[job.operator].shapes(job.attributes, {name: t.shape for name, t in job.operands.items()})


# Rewriting a job ----------------------------------------------------------------------------------------------------


def numbers(tensor: Tensor) -> Float64:
    """A tensor's numbers."""
    return from_storage(tensor.data, FORMATS[tensor.format])


def stored(job: Job, values: Array) -> Tensor:
    """Numbers as the job stores them."""
    return Tensor(job.format, to_storage(np.asarray(values, np.float64), FORMATS[job.format]))


def moved(tensor: Tensor, move: Move) -> Tensor:
    """A tensor whose elements were moved."""
    return Tensor(tensor.format, np.ascontiguousarray(move(tensor.data)))


def with_operand(job: Job, name: str, tensor: Tensor) -> Job:
    """A job with another operand."""
    return replace(job, operands={**job.operands, name: tensor})


def with_numbers(job: Job, change: Callable[[Float64], Float64], kept: Sequence[str] = ()) -> Job:
    """A job whose floating-point numbers are changed, but for the operands, or all `cotangents`, that are kept."""

    def changed(tensor: Tensor) -> Tensor:
        return stored(job, change(numbers(tensor))) if tensor.format == job.format else tensor

    return replace(
        job,
        operands={name: tensor if name in kept else changed(tensor) for name, tensor in job.operands.items()},
        cotangents=job.cotangents
        if "cotangents" in kept
        else {name: changed(tensor) for name, tensor in job.cotangents.items()},
    )


def with_cotangents(job: Job, change: Callable[[Tensor], Tensor]) -> Job:
    """A job with changed cotangents."""
    return replace(job, cotangents={name: change(tensor) for name, tensor in job.cotangents.items()})


def with_attributes(job: Job, **changes: Any) -> Job:
    """A job with other attributes."""
    return replace(job, attributes=replace(job.attributes, **changes))


def reread(job: Job, **changes: Any) -> Reading | None:
    """Other attributes, and nothing else; None where they are the same."""
    other = with_attributes(job, **changes)
    return None if other.attributes == job.attributes else Reading(job=other)


def moved_operand(job: Job, name: str, move: Move, back: Move) -> Reading:
    """An operand whose elements are read from other places; its gradient is moved `back`."""
    read = with_operand(job, name, moved(job.operands[name], move))
    return Reading(job=read, change=lambda found: on_gradient(found, name, back))


def as_channels_first(shape: Shape) -> tuple[Move, Move]:
    """Takes the numbers of channels-last images, in memory, for channels-first ones; and the way back."""
    first = (shape[0], shape[-1], *shape[1:-1])
    return lambda x: np.moveaxis(x.reshape(first), 1, -1), lambda x: np.moveaxis(x, -1, 1).reshape(shape)


def moved_output(job: Job, move: Move, back: Move) -> Reading:
    """An output whose elements are written to other places; its cotangent is moved `back` before it is used."""
    read = with_cotangents(job, lambda tensor: moved(tensor, back))
    return Reading(job=read, change=lambda found: on_outputs(found, move))


# Changing what is expected ------------------------------------------------------------------------------------------


def mapped(expectation: Expectation, move: Move) -> Expectation:
    """Value, bound and scale, moved alike; sums of bounds bound sums."""
    return Expectation(
        value=move(expectation.value), size=move(expectation.bound), scale=move(np.asarray(expectation.scale))
    )


def scaled(expectation: Expectation, factor: Any, job: Job) -> Expectation:
    """Multiplied; three more roundings (the factor's, before or after the sum) unless it is a power of two."""
    size = np.abs(factor)
    with np.errstate(over="ignore"):  # an infinite bound says nothing, as it should
        bound, scale = size * expectation.bound, size * expectation.scale
    if not np.all(np.frexp(size)[0] == 0.5) and np.any(size):
        bound = bound + 3 * FORMATS[job.format].unit * np.maximum(scale, np.abs(factor * expectation.value))
    return Expectation(value=factor * expectation.value, size=bound, scale=scale)


def bounded(job: Job, value: Array, terms: Any, absolute: Any) -> Expectation:
    """Own values with the bound of sums of so many terms, of so large an absolute sum, accumulated in the format.

    Raises nothing where it says nothing: the bound is infinite where n u reaches 1.
    """
    format_ = FORMATS[job.format]
    product = np.asarray(terms, np.float64) * (format_.unit + REFERENCE_UNIT)
    growth = np.where(product < 1, product / np.maximum(1 - product, REFERENCE_UNIT), np.inf)
    with np.errstate(invalid="ignore", over="ignore"):
        bound = growth * absolute + terms * format_.eta
        scale = np.maximum(np.sqrt(terms) * np.abs(value), absolute)
    value = np.asarray(value, np.float64)
    return Expectation(
        value=value, size=np.broadcast_to(bound, value.shape), scale=np.broadcast_to(scale, value.shape)
    )


def each_output(found: Expectations, change: Callable[[Expectation], Expectation]) -> Expectations:
    """Every output changed."""
    return Expectations(
        outputs={name: change(expectation) for name, expectation in found.outputs.items()}, gradients=found.gradients
    )


def each_gradient(
    found: Expectations, change: Callable[[Expectation], Expectation], names: Iterable[str] = ()
) -> Expectations:
    """Gradients changed: those named, or all."""
    chosen = set(names) or set(found.gradients)
    return Expectations(
        outputs=found.outputs,
        gradients={
            name: change(expectation) if name in chosen else expectation
            for name, expectation in found.gradients.items()
        },
    )


def on_outputs(found: Expectations, move: Move) -> Expectations:
    """Every output moved."""
    return each_output(found, lambda expectation: mapped(expectation, move))


def on_gradient(found: Expectations, name: str, move: Move) -> Expectations:
    """One gradient moved."""
    return each_gradient(found, lambda expectation: mapped(expectation, move), (name,))


def replaced(
    found: Expectations,
    outputs: Mapping[str, Expectation] | None = None,
    gradients: Mapping[str, Expectation] | None = None,
) -> Expectations:
    """Some expectations replaced; gradients that were not asked stay out."""
    asked = {name: value for name, value in (gradients or {}).items() if name in found.gradients}
    return Expectations(outputs={**found.outputs, **(outputs or {})}, gradients={**found.gradients, **asked})


# Geometry -----------------------------------------------------------------------------------------------------------


def rank_of(job: Job) -> int:
    """Spatial axes."""
    return OPERATORS[job.operator].rank


def sizes_of(job: Job) -> Shape:
    """The spatial sizes of x."""
    return job.operands["x"].shape[1:-1]


def kernel_of(job: Job) -> Shape:
    """The sides of the kernel or window."""
    return kernel_sides(job.attributes, {name: t.shape for name, t in job.operands.items()}, rank_of(job))


def dilation_of(job: Job) -> Shape:
    """Dilations; 1 for what has none."""
    dilation: Shape = getattr(job.attributes, "dilation", (1,) * rank_of(job))
    return dilation


def settled_job(job: Job) -> Job:
    """A job with pads and output padding in the place of an output size."""
    if not isinstance(job.attributes, TransposedConvolution) or not job.attributes.output_size:
        return job
    return replace(job, attributes=settled(job.attributes, sizes_of(job), kernel_of(job)))


def pads_of(job: Job) -> Pads:
    """The pads of a job, or what a transposed convolution crops, resolved."""
    a, sizes, kernel, dilation = settled_job(job).attributes, sizes_of(job), kernel_of(job), dilation_of(job)
    if not isinstance(a, TransposedConvolution):
        return resolve_pads(a.padding, sizes, kernel, a.stride, dilation)
    starts, outputs = transposed_crop(a.padding, sizes, kernel, a.stride, dilation, a.output_padding)
    spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    return tuple(
        (start, (n - 1) * s + span + more - start - size)
        for n, s, span, start, size, more in zip(
            sizes, a.stride, spans, starts, outputs, a.output_padding, strict=True
        )
    )


def repadded(job: Job, pads: Pads, **changes: Any) -> Reading | None:
    """Explicit pads; None where they are what the job has."""
    if pads == pads_of(job) and not changes:
        return None
    if min((min(pair) for pair in pads), default=0) < 0:
        return None
    return Reading(job=with_attributes(settled_job(job), padding=pads, **changes))
