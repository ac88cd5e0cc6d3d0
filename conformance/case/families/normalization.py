"""Normalisations: by mean and variance of a batch, a layer, groups, an instance; and by neighbouring channels.

No attribute in which frameworks differ has a default: epsilon is 1e-3 or 1e-5, momentum the share that stays or the
share that comes, alpha a factor of a sum or of a mean.
"""

import math
from dataclasses import dataclass
from typing import Any, Final, Literal

from conformance.case.contract import IMAGES, Operand, Operator, Shapes, X, require
from conformance.case.model import Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchNorm:
    """batch_norm, with given statistics: epsilon is added to the variance, inside the root."""

    epsilon: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchNormTraining:
    """batch_norm_training: the batch's own statistics, of which a part goes into the running ones.

    `momentum` is the share of the OLD running value that stays, as Keras has it; PyTorch's momentum is 1 - this one.
    With `bessel` the running variance takes the batch's with the divisor n - 1 (PyTorch, TensorFlow's fused kernel),
    else n (Keras, Flax). The normalisation itself divides by n everywhere.
    """

    epsilon: float
    momentum: float
    bessel: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerNorm:
    """The axes that share a mean, in ascending order; scale and offset have their shape."""

    axes: tuple[int, ...]
    epsilon: float


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupNorm:
    """How many groups of neighbouring channels there are."""

    groups: int
    epsilon: float


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceNorm:
    """Epsilon is added to the variance, inside the root."""

    epsilon: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalResponseNorm:
    """x / (bias + alpha * sum of squares)^beta over a window of `size` channels, zeros beyond the ends.

    TensorFlow counts a radius, size = 2 radius + 1, and multiplies the sum (`alpha_of: sum`); PyTorch divides alpha
    by size first (`alpha_of: mean`, whatever the window holds at the ends). An even window has one channel more on
    the side `extra`: low in PyTorch, high in ONNX.
    """

    size: int
    alpha: float
    beta: float
    bias: float
    alpha_of: Literal["sum", "mean"]
    extra: Literal["low", "high"] = "low"


def _check(attributes: Any, shapes: Shapes, shape: Shape) -> None:
    """Refuses an epsilon that is not positive, and operands beside x of another shape."""
    require(attributes.epsilon > 0, f"epsilon must be positive, got {attributes.epsilon}")
    for name, given in shapes.items():
        require(name == "x" or given == shape, f"{name} must have shape {shape}, got {given}")


def _check_channels(attributes: Any, shapes: Shapes, least: int = 2) -> Shape:
    """Refuses an x of too few axes, and operands beside it that have not one number a channel."""
    x = shapes["x"]
    require(len(x) >= least, f"x must have at least {least} axes (batch, ..., channels), got shape {x}")
    _check(attributes, shapes, x[-1:])
    return x


def batch_norm_shapes(attributes: BatchNorm, shapes: Shapes) -> dict[str, Shape]:
    """X (batch, ..., channels); everything else has one number a channel."""
    return {"output": _check_channels(attributes, shapes)}


def batch_norm_training_shapes(attributes: BatchNormTraining, shapes: Shapes) -> dict[str, Shape]:
    """As at inference; a channel needs a number, or two where n - 1 divides."""
    x = _check_channels(attributes, shapes)
    require(0 <= attributes.momentum <= 1, f"momentum must be in [0, 1], got {attributes.momentum}")
    count, least = math.prod(x[:-1]), 2 if attributes.bessel else 1
    require(count >= least, f"a channel must have at least {least} numbers, x of shape {x} gives it {count}")
    return {"output": x, "mean": shapes["mean"], "variance": shapes["variance"]}


def layer_norm_shapes(attributes: LayerNorm, shapes: Shapes) -> dict[str, Shape]:
    """X of any shape; scale and offset have the sizes of the axes."""
    x, axes = shapes["x"], attributes.axes
    require(len(axes) > 0, "axes must name one axis at least")
    for axis in axes:
        require(-len(x) <= axis < len(x), f"x of shape {x} has no axis {axis}")
    places = [axis % len(x) for axis in axes]
    require(places == sorted(set(places)), f"axes must be distinct and in ascending order, got {axes}")
    sizes = tuple(x[place] for place in places)
    require(all(sizes), f"the mean of no elements is asked, x has shape {x}")
    _check(attributes, shapes, sizes)
    return {"output": x}


def group_norm_shapes(attributes: GroupNorm, shapes: Shapes) -> dict[str, Shape]:
    """X (batch, ..., channels); groups divide the channels."""
    x = _check_channels(attributes, shapes)
    groups = attributes.groups
    require(groups >= 1 and x[-1] % groups == 0, f"groups must divide the {x[-1]} channels, got {groups}")
    require(all(x[1:]), f"a group must have a number, x has shape {x}")
    return {"output": x}


def instance_norm_shapes(attributes: InstanceNorm, shapes: Shapes) -> dict[str, Shape]:
    """X (batch, spatial axes, channels), at least one pixel."""
    x = _check_channels(attributes, shapes, least=3)
    require(all(x[1:-1]), f"an image must have a pixel, x has shape {x}")
    return {"output": x}


def local_response_norm_shapes(attributes: LocalResponseNorm, shapes: Shapes) -> dict[str, Shape]:
    """Element-wise in shape; channels are the last of at least two axes."""
    x = shapes["x"]
    require(len(x) >= 2, f"x must have a batch and channels, got shape {x}")
    require(attributes.size >= 1, f"size must be at least 1, a channel alone, got {attributes.size}")
    require(attributes.alpha >= 0, f"alpha must not be negative, got {attributes.alpha}")
    require(attributes.beta >= 0, f"beta must not be negative, got {attributes.beta}")
    require(attributes.bias > 0, f"bias must be positive, got {attributes.bias}")
    return {"output": x}


_SCALE: Final = Operand(name="scale", optional=True)
_OFFSET: Final = Operand(name="offset", optional=True)
_MEAN: Final = Operand(name="mean", differentiable=False)
_VARIANCE: Final = Operand(name="variance", differentiable=False, domain="non_negative")
_AFFINE: Final = (X, _SCALE, _OFFSET)

# Sets that are constant, or nearly so around 0 or 30, beside numbers that differ by orders of magnitude.
_SPREAD: Final = (0.0, -0.0, 1.0, -1.0, 0.25, 30.0, 30.5, -100.0)
# Squares far above and far below the bias.
_LOUD: Final = (0.0, -0.0, 0.01, -0.5, 2.0, -30.0, 1000.0)

OPERATORS: Final = (
    Operator(
        name="batch_norm",
        attributes=BatchNorm,
        operands=(X, _MEAN, _VARIANCE, _SCALE, _OFFSET),
        shapes=batch_norm_shapes,
        images=IMAGES,
        special=_SPREAD,
    ),
    Operator(
        name="batch_norm_training",
        attributes=BatchNormTraining,
        operands=(X, _MEAN, _VARIANCE, _SCALE, _OFFSET),
        outputs=("output", "mean", "variance"),
        state=("mean", "variance"),
        shapes=batch_norm_training_shapes,
        images=IMAGES,
        special=_SPREAD,
    ),
    Operator(name="layer_norm", attributes=LayerNorm, operands=_AFFINE, shapes=layer_norm_shapes, special=_SPREAD),
    Operator(
        name="group_norm",
        attributes=GroupNorm,
        operands=_AFFINE,
        shapes=group_norm_shapes,
        images=IMAGES,
        special=_SPREAD,
    ),
    Operator(
        name="instance_norm",
        attributes=InstanceNorm,
        operands=_AFFINE,
        shapes=instance_norm_shapes,
        images=IMAGES,
        special=_SPREAD,
    ),
    Operator(
        name="local_response_norm",
        attributes=LocalResponseNorm,
        operands=(X,),
        shapes=local_response_norm_shapes,
        images=IMAGES,
        special=_LOUD,
    ),
)
