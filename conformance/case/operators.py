"""The contract of every operator: attributes, operands, outputs, shapes.

Data is channels-last; kernels are `(*spatial, in / groups, out)`, transposed kernels `(*spatial, out / groups, in)`.
A shape function raises `ImpossibleShape` where the question has no answer. To add an operator, add its attributes (if
no dataclass here has them) and one entry of `OPERATORS`; `reference/operators.py` names the same operators.
"""

import math
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, fields, replace
from functools import cache
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal, cast, get_type_hints

from conformance.case.geometry import Padding, resolve_pads, transposed_crop, window_count
from conformance.case.model import DataSet, Shape
from conformance.errors import ImpossibleShape


class PerAxis:
    """Marks an attribute with one entry for every spatial axis; in a case file one number serves them all."""


Spatial = Annotated[tuple[int, ...], PerAxis]
SpatialPadding = Annotated[Padding, PerAxis]


@dataclass(frozen=True, slots=True, kw_only=True)
class NoAttributes:
    """For operators that have none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Convolution:
    """conv1d, conv2d, conv3d. Strides and dilations left out are 1."""

    stride: Spatial = ()
    dilation: Spatial = ()
    groups: int = 1
    padding: SpatialPadding = "valid"


@dataclass(frozen=True, slots=True, kw_only=True)
class TransposedConvolution:
    """conv1d_transpose, conv2d_transpose, conv3d_transpose. Output padding goes with explicit pads alone."""

    stride: Spatial = ()
    dilation: Spatial = ()
    groups: int = 1
    padding: SpatialPadding = "valid"
    output_padding: Spatial = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class MaxPool:
    """Maxima of windows; padding never wins. A stride left out is the window."""

    window: Spatial
    stride: Spatial = ()
    dilation: Spatial = ()
    padding: SpatialPadding = "valid"
    ceil_mode: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AveragePool:
    """Means of windows, over the elements inside the input or, with `count_padding`, inside the padded input."""

    window: Spatial
    stride: Spatial = ()
    padding: SpatialPadding = "valid"
    ceil_mode: bool = False
    count_padding: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Pad:
    """Constant padding: a pair (low, high) for every axis, batch and channels included."""

    padding: tuple[tuple[int, int], ...]
    value: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Softmax:
    """The axis that sums to 1."""

    axis: int = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossEntropy:
    """How the losses of a batch become one."""

    reduction: Literal["mean", "sum", "none"] = "mean"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropout:
    """The probability with which an element was kept: what is kept is divided by it."""

    keep: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Sgd:
    """parameter - learning_rate * gradient."""

    learning_rate: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Adam:
    """Kingma and Ba's Algorithm 1; `epsilon_hat` adds epsilon before the bias correction (their section 2).

    `step` counts from 1: the step that is being made.
    """

    learning_rate: float = 0.001
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    step: int = 1
    epsilon_hat: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """SciPy's modes; `same` is centred on `full`."""

    mode: Literal["full", "same", "valid"] = "full"


@dataclass(frozen=True, slots=True, kw_only=True)
class Polynomial:
    """Coefficients, the highest power first."""

    coefficients: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One operator of a chain, by name; its operands beside `x` are called `name/operand` in the chain."""

    name: str
    operator: str
    attributes: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """Operators in sequence: the single output of each is the `x` of the next."""

    layers: tuple[Layer, ...]


Shapes = Mapping[str, Shape]


@dataclass(frozen=True, slots=True, kw_only=True)
class Operand:
    """An input of an operator."""

    name: str
    kind: Literal["float", "integer", "mask"] = "float"
    differentiable: bool = True
    optional: bool = False
    domain: Literal["real", "non_negative", "unit"] = "real"


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """What an operator is.

    Attributes:
        name: the field's name for it.
        attributes: its frozen dataclass.
        operands: in the order of a call.
        outputs: names; "output" where there is one.
        shapes: (attributes, operand shapes) -> output shapes; raises ImpossibleShape.
        rank: spatial axes (0: not a sliding operator).
        linear: in each float operand when the others are held; its results on wide integers are exact.
        data: the data sets that a case asks when it gives no numbers.
        special: the values that the data set `special` draws from: ties, kinks, tails.
    """

    name: str
    attributes: type[Any]
    operands: tuple[Operand, ...]
    shapes: Callable[[Any, Shapes], dict[str, Shape]]
    outputs: tuple[str, ...] = ("output",)
    rank: int = 0
    linear: bool = False
    data: tuple[DataSet, ...] = ("normal", "special")
    special: tuple[float, ...] = ()

    def operand(self, name: str) -> Operand:
        """The operand of that name.

        Raises:
            KeyError: if there is none.
        """
        return {operand.name: operand for operand in self.operands}[name]

    def resolve(self, attributes: Any) -> Any:
        """The attributes with every default that depends on the rank filled in."""
        given: dict[str, Any] = {}
        for name in per_axis_names(self.attributes):
            if getattr(attributes, name) == ():
                if name == "stride" and hasattr(attributes, "window"):
                    given[name] = attributes.window
                else:
                    given[name] = (0 if name == "output_padding" else 1,) * self.rank
        return replace(attributes, **given) if given else attributes


def per_axis_names(attributes: type[Any]) -> tuple[str, ...]:
    """The names of the attributes that have one entry for every spatial axis."""
    return _per_axis_names(cast("Hashable", attributes))


@cache  # evaluating annotations takes longer than a small convolution
def _per_axis_names(attributes: Hashable) -> tuple[str, ...]:
    kind = cast("type[Any]", attributes)
    hints = get_type_hints(kind, include_extras=True)
    return tuple(field.name for field in fields(kind) if PerAxis in getattr(hints[field.name], "__metadata__", ()))


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ImpossibleShape(message)


def _spatial(x: Shape, rank: int) -> Shape:
    _require(len(x) == rank + 2, f"x must have {rank + 2} axes (batch, {rank} spatial, channels), got shape {x}")
    return x[1:-1]


def _channels(x: Shape, w: Shape, groups: int, *, transposed: bool) -> int:
    """Checks a kernel against data and groups, and gives the output's channels."""
    _require(len(w) == len(x), f"w must have {len(x)} axes, got shape {w}")
    _require(groups >= 1, f"groups must be at least 1, got {groups}")
    inside, outside = (w[-1], w[-2] * groups) if transposed else (w[-2] * groups, w[-1])
    _require(
        x[-1] == inside,
        f"x has {x[-1]} channels, w of shape {w} with {groups} group(s) reads {inside}",
    )
    divided = inside if transposed else outside
    _require(divided % groups == 0, f"{groups} groups do not divide {divided} channels")
    _require(inside > 0 and outside > 0, f"w must have channels, got shape {w}")
    return outside


def _check_bias(shapes: Shapes, channels: int) -> None:
    if "b" in shapes:
        _require(shapes["b"] == (channels,), f"b must have shape ({channels},), got {shapes['b']}")


def _check_padding(attributes: Any, rank: int, channels: int | None = None) -> None:
    for name in per_axis_names(type(attributes)):
        value = getattr(attributes, name)
        if isinstance(value, tuple):
            _require(len(value) == rank, f"{name} must have {rank} entries, got {value}")
    if isinstance(attributes.padding, tuple):
        for pair in attributes.padding:
            _require(min(pair) >= 0, f"pads must not be negative, got {pair}")


def convolution_shapes(attributes: Convolution, shapes: Shapes) -> dict[str, Shape]:
    """Output (batch, windows, out)."""
    x, w = shapes["x"], shapes["w"]
    rank = len(attributes.stride)
    sizes = _spatial(x, rank)
    channels = _channels(x, w, attributes.groups, transposed=False)
    _check_bias(shapes, channels)
    _check_padding(attributes, rank)
    for name in ("stride", "dilation"):
        _require(min(getattr(attributes, name)) >= 1, f"{name} must be at least 1, got {getattr(attributes, name)}")
    pads = resolve_pads(attributes.padding, sizes, w[:rank], attributes.stride, attributes.dilation)
    counts = window_count(sizes, pads, w[:rank], attributes.stride, attributes.dilation)
    return {"output": (x[0], *counts, channels)}


def transposed_shapes(attributes: TransposedConvolution, shapes: Shapes) -> dict[str, Shape]:
    """Output (batch, cropped canvas, out)."""
    x, w = shapes["x"], shapes["w"]
    rank = len(attributes.stride)
    sizes = _spatial(x, rank)
    channels = _channels(x, w, attributes.groups, transposed=True)
    _check_bias(shapes, channels)
    _check_padding(attributes, rank)
    _, outputs = transposed_crop(
        attributes.padding, sizes, w[:rank], attributes.stride, attributes.dilation, attributes.output_padding
    )
    return {"output": (x[0], *outputs, channels)}


def pool_shapes(attributes: MaxPool | AveragePool, shapes: Shapes) -> dict[str, Shape]:
    """Output (batch, windows, channels)."""
    x = shapes["x"]
    rank = len(attributes.window)
    sizes = _spatial(x, rank)
    _check_padding(attributes, rank)
    dilation = attributes.dilation if isinstance(attributes, MaxPool) else (1,) * rank
    for name, values in (("window", attributes.window), ("stride", attributes.stride), ("dilation", dilation)):
        _require(min(values) >= 1, f"{name} must be at least 1, got {values}")
    pads = resolve_pads(attributes.padding, sizes, attributes.window, attributes.stride, dilation)
    if isinstance(attributes.padding, tuple):
        for window, d, pair in zip(attributes.window, dilation, pads, strict=True):
            _require(
                max(pair) <= ((window - 1) * d + 1) // 2,
                f"pads of a pool must be at most half its window ({window}), or a window may hold padding alone; "
                f"got {pair}",
            )
    counts = window_count(sizes, pads, attributes.window, attributes.stride, dilation, ceil_mode=attributes.ceil_mode)
    return {"output": (x[0], *counts, x[-1])}


def pad_shapes(attributes: Pad, shapes: Shapes) -> dict[str, Shape]:
    """Every axis grows by its pair."""
    x = shapes["x"]
    _require(len(attributes.padding) == len(x), f"padding must have {len(x)} pairs, got {len(attributes.padding)}")
    for pair in attributes.padding:
        _require(min(pair) >= 0, f"pads must not be negative, got {pair}")
    return {"output": tuple(n + low + high for n, (low, high) in zip(x, attributes.padding, strict=True))}


def dense_shapes(attributes: NoAttributes, shapes: Shapes) -> dict[str, Shape]:
    """X (..., in), w (in, out) -> (..., out)."""
    x, w = shapes["x"], shapes["w"]
    _require(len(w) == 2, f"w must have 2 axes (in, out), got shape {w}")
    _require(len(x) >= 1 and x[-1] == w[0], f"x of shape {x} does not end in w's {w[0]} inputs")
    _check_bias(shapes, w[1])
    return {"output": (*x[:-1], w[1])}


def bias_shapes(attributes: NoAttributes, shapes: Shapes) -> dict[str, Shape]:
    """B is added along the last axis."""
    x = shapes["x"]
    _require(len(x) >= 1, "x must have an axis of channels, got a scalar")
    _check_bias(shapes, x[-1])
    return {"output": x}


def flatten_shapes(attributes: NoAttributes, shapes: Shapes) -> dict[str, Shape]:
    """(batch, ...) -> (batch, everything else)."""
    x = shapes["x"]
    _require(len(x) >= 1, "x must have a batch axis, got a scalar")
    return {"output": (x[0], math.prod(x[1:]))}


def same_shape(attributes: Any, shapes: Shapes) -> dict[str, Shape]:
    """Element-wise."""
    return {"output": shapes["x"]}


def softmax_shapes(attributes: Softmax, shapes: Shapes) -> dict[str, Shape]:
    """Element-wise in shape; the axis must exist."""
    x = shapes["x"]
    _require(-len(x) <= attributes.axis < len(x), f"x of shape {x} has no axis {attributes.axis}")
    return {"output": x}


def cross_entropy_shapes(attributes: CrossEntropy, shapes: Shapes) -> dict[str, Shape]:
    """Logits (batch, classes), labels (batch,) -> () or (batch,)."""
    logits, labels = shapes["logits"], shapes["labels"]
    _require(len(logits) == 2, f"logits must have 2 axes (batch, classes), got shape {logits}")
    _require(labels == logits[:1], f"labels must have shape {logits[:1]}, one a row of logits, got {labels}")
    return {"output": labels if attributes.reduction == "none" else ()}


def dropout_shapes(attributes: Dropout, shapes: Shapes) -> dict[str, Shape]:
    """X and its mask have one shape."""
    _require(shapes["mask"] == shapes["x"], f"mask must have x's shape {shapes['x']}, got {shapes['mask']}")
    _require(0 < attributes.keep <= 1, f"keep must be in (0, 1], got {attributes.keep}")
    return {"output": shapes["x"]}


def update_shapes(attributes: Any, shapes: Shapes) -> dict[str, Shape]:
    """A parameter, its gradient and its slots have one shape."""
    first = shapes["parameter"]
    for name, shape in shapes.items():
        _require(shape == first, f"{name} must have the parameter's shape {first}, got {shape}")
    return {name: first for name in shapes if name != "gradient"}


def glorot_shapes(attributes: NoAttributes, shapes: Shapes) -> dict[str, Shape]:
    """A kernel of at least two axes, (*receptive field, in, out)."""
    _require(len(shapes["u"]) >= 2, f"u must have at least 2 axes (..., in, out), got shape {shapes['u']}")
    return {"output": shapes["u"]}


def signal_shapes(attributes: Signal, shapes: Shapes) -> dict[str, Shape]:
    """SciPy's sizes; in `valid` mode one operand must cover the other on every axis."""
    x, w = shapes["x"], shapes["w"]
    _require(len(x) == len(w) and len(x) in (1, 2), f"x and w must both have 1 or 2 axes, got {x} and {w}")
    _require(min(x + w) >= 1, f"x and w must not be empty, got {x} and {w}")
    if attributes.mode == "same":
        return {"output": x}
    if attributes.mode == "full":
        return {"output": tuple(n + k - 1 for n, k in zip(x, w, strict=True))}
    covers = [n >= k for n, k in zip(x, w, strict=True)]
    covered = [n <= k for n, k in zip(x, w, strict=True)]
    _require(all(covers) or all(covered), f"in valid mode one of x {x} and w {w} must cover the other on every axis")
    return {"output": tuple(abs(n - k) + 1 for n, k in zip(x, w, strict=True))}


def chain_shapes(attributes: Chain, shapes: Shapes) -> dict[str, Shape]:
    """The output of every layer, by the layer's name, in order."""
    outputs: dict[str, Shape] = {}
    x = shapes["x"]
    for layer in attributes.layers:
        operator = OPERATORS[layer.operator]
        own = {name.partition("/")[2]: s for name, s in shapes.items() if name.startswith(f"{layer.name}/")}
        try:
            x = operator.shapes(layer.attributes, {operator.operands[0].name: x, **own})["output"]
        except ImpossibleShape as error:
            raise ImpossibleShape(f"layer {layer.name!r} ({layer.operator}) given {x}: {error}") from error
        outputs[layer.name] = x
    return outputs


_X, _W, _B = Operand(name="x"), Operand(name="w"), Operand(name="b", optional=True)
_LINEAR: Final[tuple[DataSet, ...]] = ("wide", "normal")
# All negative or zero: a maximum that pads with 0 shows, and ties are everywhere.
_TIES: Final = (-3.0, -2.0, -1.0, -0.5)
_KINKS_AND_TAILS: Final = (0.0, -0.0, 0.5, -0.5, 3.0, -3.0, 9.0, -9.0, 30.0, -30.0, math.inf, -math.inf)
_LARGE_LOGITS: Final = (-120.0, -60.0, -1.0, 0.0, 0.0, 1.0, 60.0, 120.0)


def _table() -> dict[str, Operator]:
    operators = []
    for rank in (1, 2, 3):
        operators += [
            Operator(
                name=f"conv{rank}d",
                attributes=Convolution,
                operands=(_X, _W, _B),
                shapes=convolution_shapes,
                rank=rank,
                linear=True,
                data=_LINEAR,
            ),
            Operator(
                name=f"conv{rank}d_transpose",
                attributes=TransposedConvolution,
                operands=(_X, _W, _B),
                shapes=transposed_shapes,
                rank=rank,
                linear=True,
                data=_LINEAR,
            ),
            Operator(
                name=f"max_pool{rank}d",
                attributes=MaxPool,
                operands=(_X,),
                shapes=pool_shapes,
                rank=rank,
                special=_TIES,
            ),
            Operator(
                # The division makes a mean of integers inexact, so wide integers are no exact gate here.
                name=f"average_pool{rank}d",
                attributes=AveragePool,
                operands=(_X,),
                shapes=pool_shapes,
                rank=rank,
                data=("normal",),
            ),
        ]
    operators += [
        Operator(name="pad", attributes=Pad, operands=(_X,), shapes=pad_shapes, linear=True, data=_LINEAR),
        Operator(
            name="dense",
            attributes=NoAttributes,
            operands=(_X, _W, _B),
            shapes=dense_shapes,
            linear=True,
            data=_LINEAR,
        ),
        Operator(
            name="bias_add",
            attributes=NoAttributes,
            operands=(_X, Operand(name="b")),
            shapes=bias_shapes,
            linear=True,
            data=_LINEAR,
        ),
        Operator(
            name="flatten",
            attributes=NoAttributes,
            operands=(_X,),
            shapes=flatten_shapes,
            linear=True,
            data=_LINEAR,
        ),
        *(
            Operator(name=name, attributes=NoAttributes, operands=(_X,), shapes=same_shape, special=_KINKS_AND_TAILS)
            for name in ("relu", "sigmoid", "tanh")
        ),
        Operator(
            name="softmax",
            attributes=Softmax,
            operands=(_X,),
            shapes=softmax_shapes,
            special=_LARGE_LOGITS,
        ),
        Operator(
            name="softmax_cross_entropy",
            attributes=CrossEntropy,
            operands=(
                Operand(name="logits"),
                Operand(name="labels", kind="integer", differentiable=False),
            ),
            shapes=cross_entropy_shapes,
            special=_LARGE_LOGITS,
        ),
        Operator(
            name="dropout",
            attributes=Dropout,
            operands=(_X, Operand(name="mask", kind="mask", differentiable=False)),
            shapes=dropout_shapes,
            data=("normal",),
        ),
        Operator(
            name="sgd",
            attributes=Sgd,
            operands=(
                Operand(name="parameter", differentiable=False),
                Operand(name="gradient", differentiable=False),
            ),
            outputs=("parameter",),
            shapes=update_shapes,
            data=("normal",),
        ),
        Operator(
            name="adam",
            attributes=Adam,
            operands=(
                Operand(name="parameter", differentiable=False),
                Operand(name="gradient", differentiable=False),
                Operand(name="m", differentiable=False),
                Operand(name="v", differentiable=False, domain="non_negative"),
            ),
            outputs=("parameter", "m", "v"),
            shapes=update_shapes,
            data=("normal",),
        ),
        Operator(
            name="glorot_uniform",
            attributes=NoAttributes,
            operands=(Operand(name="u", differentiable=False, domain="unit"),),
            shapes=glorot_shapes,
            data=("normal",),
        ),
        *(
            Operator(
                name=name,
                attributes=Signal,
                operands=(_X, _W),
                shapes=signal_shapes,
                linear=True,
                data=_LINEAR,
            )
            for name in ("convolve", "correlate")
        ),
        Operator(name="polynomial", attributes=Polynomial, operands=(_X,), shapes=same_shape, data=("normal",)),
        Operator(name="chain", attributes=Chain, operands=(_X,), shapes=chain_shapes, data=("normal",)),
    ]
    return {operator.name: operator for operator in operators}


OPERATORS: Final[Mapping[str, Operator]] = MappingProxyType(_table())


def operand_of(operator: str, attributes: Any, name: str) -> Operand:
    """The operand that a job's tensor stands for; in a chain `layer/operand` is looked up in its layer.

    Raises:
        KeyError: if there is none.
    """
    if operator == "chain" and "/" in name:
        layer_name, _, own = name.partition("/")
        layer = {layer.name: layer for layer in attributes.layers}[layer_name]
        return OPERATORS[layer.operator].operand(own)
    return OPERATORS[operator].operand(name)


def inference_chain(network: Chain) -> Chain:
    """The chain that predicts: without the layers that take masks or labels."""
    return Chain(
        layers=tuple(
            layer
            for layer in network.layers
            if all(operand.kind == "float" for operand in OPERATORS[layer.operator].operands)
        )
    )


def operators_of(operator: str, attributes: Any) -> tuple[str, ...]:
    """The operators that a question asks: itself and, of a chain, every layer's."""
    layers = attributes.layers if isinstance(attributes, Chain) else ()
    return (operator, *(layer.operator for layer in layers))
