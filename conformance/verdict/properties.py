"""What must be so between a backend's own answers, whatever the reference says: the properties of operators.

A property makes several jobs out of one and compares what came back. The reference gives no value here, only the
proved bounds of every answer; what two sides may differ by is the sum of theirs. On integers most bounds are zero, so
that the sides must be equal to the last bit.
"""

import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import reduce
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from conformance.case.families.convolution import Convolution, TransposedConvolution
from conformance.case.families.pooling import AveragePool, MaxPool
from conformance.case.geometry import extent, resolve_pads
from conformance.case.job import Job, Outputs, Tensor
from conformance.case.operators import OPERATORS, operand_of
from conformance.formats import FORMATS, Float64, from_storage, to_storage
from conformance.verdict.compare import compare
from conformance.verdict.model import Comparison, Expectation
from conformance.verdict.oracle import Expectations

DOUBLE: Final = FORMATS["float64"]
# How much of normal numbers is kept, so that sums of a few of them are exact: multiples of 2^-10, and of integers the
# eight bits in front.
GRID: Final = 2.0**-10
LARGEST_INTEGER: Final = 2.0**8
# f(a x + b z): a power of two and an integer that is none.
WEIGHTS: Final = (2.0, -3.0)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Measured:
    """A job, what a backend gave, and the bounds that hold for it; the values of `bounds` are not looked at."""

    job: Job
    answer: Outputs
    bounds: Expectations


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Side:
    """Numbers that came from answers, and how far each may be from the exact one."""

    value: Float64
    room: Float64

    def __getitem__(self, place: Any) -> "Side":
        return Side(value=np.asarray(self.value[place]), room=np.asarray(self.room[place]))

    def __add__(self, other: "Side") -> "Side":
        total = self.value + other.value
        lost = 0.0 if _integral(total) else 2 * DOUBLE.unit * np.abs(total)
        return Side(value=np.asarray(total), room=np.asarray(self.room + other.room + lost))

    def scaled(self, factor: float) -> "Side":
        """Times a number; the product of a float64 number with a small integer loses two roundings at most."""
        value = factor * self.value
        lost = 0.0 if _integral(value) else 2 * DOUBLE.unit * np.abs(value)
        return Side(value=value, room=abs(factor) * self.room + lost)

    def dot(self, other: Float64) -> "Side":
        """The inner product with exact numbers: products rounded once, and added exactly."""
        products = self.value * other
        total = math.fsum(products.ravel().tolist())
        room = math.fsum((self.room * np.abs(other)).ravel().tolist())
        if not (_integral(products) and np.abs(products).sum() < 2.0**DOUBLE.precision):
            room = room * (1 + 2 * DOUBLE.unit) + 2 * DOUBLE.unit * float(np.abs(products).sum())
        return Side(value=np.asarray(total), room=np.asarray(room))


Make = Callable[[Job], Sequence[Job] | None]
Compare = Callable[[Job, Sequence[Measured]], Sequence[Comparison]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Property:
    """Something that holds between answers.

    Attributes:
        name: short.
        sentence: what holds, as a formula and in words.
        operators: globs over those that it covers.
        jobs: the jobs to ask, made out of one; None where it says nothing about that one.
        compares: what came back, side against side.
        forward: it needs tangents of outputs, which not everybody has.
    """

    name: str
    sentence: str
    operators: tuple[str, ...]
    jobs: Make = field(repr=False)
    compares: Compare = field(repr=False)
    forward: bool = False

    def covers(self, name: str) -> bool:
        """Whether it speaks of an operator."""
        return any(fnmatchcase(name, glob) for glob in self.operators)


def side(measured: Measured, name: str, check: str = "outputs") -> Side | None:
    """An output, gradient or tangent with its room; None where the backend gave none.

    Where the bound is zero the exact value is a number of the format; elsewhere storing it costs a rounding more,
    relative to the stored number (Higham, theorem 2.3), and half the smallest subnormal number.
    """
    answer, bounds = measured.answer, measured.bounds
    given, wanted = {
        "outputs": (answer.outputs, bounds.outputs),
        "gradients": (answer.gradients, bounds.gradients),
        "jvp": (answer.tangents, bounds.tangents),
    }[check]
    tensor = given.get(name)
    if not isinstance(tensor, Tensor) or name not in wanted:
        return None
    if tensor.shape != wanted[name].bound.shape or tensor.format != measured.job.format:
        return Side(value=np.full(1, np.nan), room=np.zeros(1))  # equal to nothing
    format_ = FORMATS[tensor.format]
    value, bound = from_storage(tensor.data, format_), wanted[name].bound
    stored = format_.unit * (np.abs(value) + format_.eta)
    return Side(value=value, room=np.where(bound > 0, bound + stored, 0.0))


def agree(name: str, data: str, one: Side | None, other: Side | None, check: str = "outputs") -> list[Comparison]:
    """Compares two sides, within what both may be off; nothing where one is missing."""
    if one is None or other is None:
        return []
    room = one.room + other.room if one.value.shape == other.value.shape else np.zeros(other.value.shape)
    scale = np.maximum(np.abs(other.value), room)
    expectation = Expectation(value=other.value, size=room, scale=scale)
    return [compare(name, check, data, Tensor("float64", np.array(one.value)), expectation, "float64")]


def _integral(array: NDArray[Any]) -> bool:
    return bool(np.array_equal(array, np.rint(array)))


def _numbers(tensor: Tensor) -> Float64:
    return from_storage(tensor.data, FORMATS[tensor.format])


def _stored(job: Job, values: Any) -> Tensor:
    return Tensor(job.format, to_storage(np.asarray(values, np.float64), FORMATS[job.format]))


def _linear(job: Job, *, cotangents: bool) -> Job:
    """The job without what makes an affine map of a linear one: a bias, and a constant around the data."""
    operands = dict(job.operands)
    if job.operator != "bias_add":
        operands.pop("b", None)
    attributes = job.attributes
    if job.operator == "pad":
        attributes = replace(attributes, value=0.0)
    return replace(job, attributes=attributes, operands=operands, cotangents=job.cotangents if cotangents else {})


# <conv(x), y> = <x, conv_transpose(y)> ------------------------------------------------------------------------------


def _adjoint_jobs(job: Job) -> Sequence[Job] | None:
    if "output" not in job.cotangents:
        return None
    a: Convolution = job.attributes
    sizes, kernel = job.operands["x"].shape[1:-1], job.operands["w"].shape[:-2]
    pads = resolve_pads(a.padding, sizes, kernel, a.stride, a.dilation)
    left = tuple(
        (n + low + high - extent(k, d)) % s
        for n, (low, high), k, d, s in zip(sizes, pads, kernel, a.dilation, a.stride, strict=True)
    )
    back = TransposedConvolution(
        stride=a.stride, dilation=a.dilation, groups=a.groups, padding=pads, output_padding=left
    )
    return (
        _linear(job, cotangents=False),
        replace(
            job,
            operator=f"{job.operator}_transpose",
            attributes=back,
            operands={"x": job.cotangents["output"], "w": job.operands["w"]},
            cotangents={},
        ),
    )


def _adjoint(job: Job, found: Sequence[Measured]) -> Sequence[Comparison]:
    there, back = (side(measured, "output") for measured in found)
    if there is None or back is None:
        return []
    x, y = _numbers(job.operands["x"]), _numbers(job.cotangents["output"])
    if there.value.shape != y.shape or back.value.shape != x.shape:
        return agree("inner product", job.data, there, back)  # shapes that cannot be adjoint to each other
    return agree("inner product", job.data, there.dot(y), back.dot(x))


# <f(x), u> = <x, gradient> ------------------------------------------------------------------------------------------

# Linear in all operands together, not in each.
_JOINT: Final = ("add", "concat", "bias_add")


def _pull_back_jobs(job: Job) -> Sequence[Job] | None:
    return (_linear(job, cotangents=True),) if job.cotangents else None


def _pull_back(job: Job, found: Sequence[Measured]) -> Sequence[Comparison]:
    (measured,) = found
    output = side(measured, "output")
    if output is None:
        return []
    asked = measured.job
    cotangent = _numbers(asked.cotangents["output"])
    if output.value.shape != cotangent.shape:
        return agree("inner product", job.data, output, Side(value=cotangent, room=np.zeros(cotangent.shape)))
    forward = output.dot(cotangent)
    pulled = {}
    for name, tensor in asked.operands.items():
        if operand_of(asked.operator, asked.attributes, name).differentiable:
            gradient = side(measured, name, "gradients")
            if gradient is None:
                return []
            numbers = _numbers(tensor)
            fits = gradient.value.shape == numbers.shape
            pulled[name] = gradient.dot(numbers) if fits else gradient
    if job.operator in _JOINT:
        one, other = pulled.values()
        return agree("both gradients", job.data, one + other, forward, "gradients")
    return [
        comparison
        for name, backward in pulled.items()
        for comparison in agree(f"gradient of {name}", job.data, backward, forward, "gradients")
    ]


# <J v, u> = <v, gradient> -------------------------------------------------------------------------------------------


def _forward_jobs(job: Job) -> Sequence[Job] | None:
    return (job,) if "output" in job.cotangents and job.tangents else None


def _forward(job: Job, found: Sequence[Measured]) -> Sequence[Comparison]:
    (measured,) = found
    pushed = side(measured, "output", "jvp")
    if pushed is None:
        return []
    cotangent = _numbers(job.cotangents["output"])
    if pushed.value.shape != cotangent.shape:
        return agree("inner product", job.data, pushed, Side(value=cotangent, room=np.zeros(cotangent.shape)))
    shares = []
    for name, tangent in job.tangents.items():
        gradient, direction = side(measured, name, "gradients"), _numbers(tangent)
        if gradient is None:
            return []
        if gradient.value.shape != direction.shape:  # a gradient that cannot be one is no transpose either
            beside = Side(value=direction, room=np.zeros(direction.shape))
            return agree(name, job.data, gradient, beside, "gradients")
        shares.append(gradient.dot(direction))
    return agree("inner product", job.data, pushed.dot(cotangent), reduce(operator.add, shares))


# f(a x + b z) = a f(x) + b f(z) -------------------------------------------------------------------------------------


def _few_bits(numbers: Float64) -> Float64:
    """Numbers of few bits, of which small multiples add up exactly."""
    if not _integral(numbers):
        return np.rint(numbers / GRID) * GRID
    largest = float(np.abs(numbers).max(initial=0.0))
    return np.rint(numbers / 2.0 ** max(math.ceil(math.log2(largest / LARGEST_INTEGER)), 0)) if largest else numbers


def _linearity_jobs(job: Job) -> Sequence[Job] | None:
    plain = _linear(job, cotangents=False)
    x = _few_bits(_numbers(plain.operands["x"]))
    z = np.flip(x)
    a, b = WEIGHTS
    return [
        replace(plain, operands={**plain.operands, "x": _stored(job, numbers)}) for numbers in (a * x + b * z, x, z)
    ]


def _linearity(job: Job, found: Sequence[Measured]) -> Sequence[Comparison]:
    together, of_x, of_z = (side(measured, "output") for measured in found)
    if of_x is None or of_z is None:
        return []
    a, b = WEIGHTS
    return agree("sum", job.data, together, of_x.scaled(a) + of_z.scaled(b))


# f(x moved by a stride) = f(x) moved by one -------------------------------------------------------------------------


def _shift_jobs(job: Job) -> Sequence[Job] | None:
    plain = replace(job, cotangents={})
    x = _numbers(job.operands["x"])
    by = _shift(job)[0]
    if isinstance(job.attributes, (MaxPool, AveragePool)):
        # The padding of a pool is no zero, and what hangs over the end is not counted.
        plain = replace(plain, attributes=replace(job.attributes, padding="valid", ceil_mode=False))
        spans = map(extent, job.attributes.window, getattr(job.attributes, "dilation", (1,) * len(by)))
        if any(span > n + s for span, n, s in zip(spans, x.shape[1:-1], by, strict=True)):
            return None
    jobs = []
    for pads in ([(0, s) for s in by], [(s, 0) for s in by]):
        wider = np.pad(x, [(0, 0), *pads, (0, 0)])
        jobs.append(replace(plain, operands={**job.operands, "x": _stored(job, wider)}))
    return jobs


def _shift(job: Job) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """How far the input is moved, and how far the output moves with it."""
    stride = job.attributes.stride
    ones = (1,) * len(stride)
    return (ones, stride) if isinstance(job.attributes, TransposedConvolution) else (stride, ones)


def _shift_equivariance(job: Job, found: Sequence[Measured]) -> Sequence[Comparison]:
    before, after = (side(measured, "output") for measured in found)
    if before is None or after is None:
        return []
    by = _shift(job)[1]
    if before.value.shape != after.value.shape:
        return agree("shifted", job.data, after, before)
    if before.value.ndim != len(by) + 2:  # both have a shape that cannot be, and would equal each other
        return agree("shifted", job.data, after, Side(value=np.zeros(1), room=np.zeros(1)))
    kept = tuple(slice(s, None) for s in by)
    moved = tuple(slice(None, n - s) for n, s in zip(before.value.shape[1:-1], by, strict=True))
    return agree("shifted", job.data, after[:, *kept], before[:, *moved])


# f of a batch = f of its images -------------------------------------------------------------------------------------


def _batch_jobs(job: Job) -> Sequence[Job] | None:
    x = job.operands["x"].data
    if x.ndim < 2 or getattr(job.attributes, "axis", -1) in (0, -x.ndim) or not x.size:
        return None  # images that are normalised across the batch depend on each other

    def on(images: Callable[[NDArray[Any]], NDArray[Any]]) -> Job:
        # Twice the images, the second half turned around, so that there are two at least and all differ.
        def taken(tensor: Tensor) -> Tensor:
            twice = np.concatenate([tensor.data, np.flip(tensor.data)])
            return Tensor(tensor.format, np.ascontiguousarray(images(twice)))

        return replace(
            job,
            operands={name: taken(tensor) if name == "x" else tensor for name, tensor in job.operands.items()},
            cotangents={name: taken(tensor) for name, tensor in job.cotangents.items()},
        )

    return on(lambda images: images), on(_turned), on(lambda images: images[:1])


def _turned(images: NDArray[Any]) -> NDArray[Any]:
    return np.roll(images, 1, axis=0)


def _batch(job: Job, found: Sequence[Measured]) -> Sequence[Comparison]:
    comparisons = []
    for name, check in (("output", "outputs"), ("x", "gradients")):
        whole, turned, first = (side(measured, name, check) for measured in found)
        if whole is None:
            continue
        around = Side(value=_turned(whole.value), room=_turned(whole.room))
        comparisons += agree(f"{name} of a turned batch", job.data, turned, around, check)
        comparisons += agree(f"{name} of one image", job.data, first, whole[:1], check)
    return comparisons


# A group of channels is a convolution of its own --------------------------------------------------------------------


def _group_jobs(job: Job) -> Sequence[Job] | None:
    groups = job.attributes.groups
    if groups < 2:
        return None
    plain = replace(job, cotangents={})
    transposed = isinstance(job.attributes, TransposedConvolution)
    x, w = job.operands["x"].data, job.operands["w"].data
    inputs = x.shape[-1] // groups
    outputs = w.shape[-2] if transposed else w.shape[-1] // groups
    # The last group: a fault in their order or number shows there.
    own = {"x": x[..., -inputs:], "w": w[..., -inputs:] if transposed else w[..., -outputs:]}
    if "b" in job.operands:
        own["b"] = job.operands["b"].data[-outputs:]
    return plain, replace(
        plain,
        attributes=replace(job.attributes, groups=1),
        operands={name: Tensor(job.format, np.ascontiguousarray(data)) for name, data in own.items()},
    )


def _groups(job: Job, found: Sequence[Measured]) -> Sequence[Comparison]:
    together, alone = (side(measured, "output") for measured in found)
    if together is None or alone is None:
        return []
    return agree("last group", job.data, together[..., -alone.value.shape[-1] :], alone)


_MEANS: Final = ("average_pool?d", "global_average_pool2d", "mean")
_MOVES: Final = ("flatten", "depth_to_space", "space_to_depth")
_CONVOLUTIONS: Final = ("conv?d", "conv?d_transpose")
_BILINEAR: Final = (*_CONVOLUTIONS, "dense", "matmul", "multiply", "convolve", "correlate")
_ACTIVATIONS: Final = (
    *("relu", "relu6", "leaky_relu", "elu", "selu", "gelu", "silu", "mish", "softplus", "softsign"),
    *("sigmoid", "log_sigmoid", "hard_*", "tanh", "softmax", "log_softmax"),
)

PROPERTIES: Final = (
    Property(
        name="adjoint",
        sentence="<conv(x), y> = <x, conv_transpose(y)>: each is the other read backwards.",
        operators=("conv?d",),
        jobs=_adjoint_jobs,
        compares=_adjoint,
    ),
    Property(
        name="pull-back",
        sentence="<f(x), u> = <x, J^T u>: the gradient is the transpose of what is computed forwards, where f is "
        "linear, or linear in pieces that meet at 0.",
        operators=(
            *(*_BILINEAR, *_MEANS, *_MOVES, *_JOINT, "pad", "dropout"),
            *("relu", "leaky_relu", "max_pool?d", "global_max_pool2d"),
        ),
        jobs=_pull_back_jobs,
        compares=_pull_back,
    ),
    Property(
        name="forward",
        sentence="<J v, u> = <v, J^T u>: what forward mode pushes along v is what the gradients pull back from u.",
        operators=tuple(name for name, contract in OPERATORS.items() if contract.forward_mode),
        jobs=_forward_jobs,
        compares=_forward,
        forward=True,
    ),
    Property(
        name="linearity",
        sentence="f(2 x - 3 z) = 2 f(x) - 3 f(z).",
        operators=(*_BILINEAR, *_MEANS, *_MOVES, "pad"),
        jobs=_linearity_jobs,
        compares=_linearity,
    ),
    Property(
        name="shift",
        sentence="An input that is moved by a stride gives an output that is moved by one.",
        operators=(*_CONVOLUTIONS, "max_pool?d", "average_pool?d"),
        jobs=_shift_jobs,
        compares=_shift_equivariance,
    ),
    Property(
        name="batch",
        sentence="f of a batch is f of its images, in whatever order they come; so are the gradients of the input.",
        operators=(
            *(*_CONVOLUTIONS, "max_pool?d", "average_pool?d", "global_*_pool2d", "dense"),
            *(*_MOVES, *_ACTIVATIONS),
        ),
        jobs=_batch_jobs,
        compares=_batch,
    ),
    Property(
        name="groups",
        sentence="A group of channels is a convolution of its own.",
        operators=_CONVOLUTIONS,
        jobs=_group_jobs,
        compares=_groups,
    ),
)
"""All of them, in the order of the table that people see."""
