"""What may be set on an operator: one frozen dataclass for every kind of attributes."""

from collections.abc import Hashable
from dataclasses import dataclass, fields
from functools import cache
from typing import Annotated, Any, Literal, cast, get_type_hints

from conformance.case.geometry import Padding


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
    """A pair (low, high) for every axis, batch and channels included; the value stands in the mode constant alone.

    Modes are NumPy's: reflect leaves the edge out, symmetric repeats it (TensorFlow's names as well); edge is
    PyTorch's replicate, wrap its circular.
    """

    padding: tuple[tuple[int, int], ...]
    mode: Literal["constant", "reflect", "symmetric", "edge", "wrap"] = "constant"
    value: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Softmax:
    """softmax, log_softmax: the axis along which the probabilities sum to 1."""

    axis: int = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Concat:
    """The axis along which one array lies behind the other."""

    axis: int = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Mean:
    """The axes that are averaged, and whether they stay with size 1."""

    axes: tuple[int, ...]
    keepdims: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocks:
    """depth_to_space, space_to_depth: the side of a block, and how its pixels lie in the channels.

    "dcr" keeps the channels of one pixel together (TensorFlow), "crd" the pixels of one channel (PyTorch).
    """

    block: int
    order: Literal["dcr", "crd"] = "dcr"


@dataclass(frozen=True, slots=True, kw_only=True)
class LeakyRelu:
    """The slope of the negative side. Frameworks disagree on a default (0.01, 0.2, 0.3), so there is none."""

    slope: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Elu:
    """What exp(x) - 1 is multiplied by."""

    alpha: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Gelu:
    """The normal distribution function itself, or an approximation with a tanh; frameworks differ in the default."""

    approximate: Literal["none", "tanh"]


@dataclass(frozen=True, slots=True, kw_only=True)
class HardTanh:
    """Where the line ends on either side."""

    low: float = -1.0
    high: float = 1.0


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


def per_axis_names(attributes: type[Any]) -> tuple[str, ...]:
    """The names of the attributes that have one entry for every spatial axis."""
    return _per_axis_names(cast("Hashable", attributes))


@cache  # evaluating annotations takes longer than a small convolution
def _per_axis_names(attributes: Hashable) -> tuple[str, ...]:
    kind = cast("type[Any]", attributes)
    hints = get_type_hints(kind, include_extras=True)
    return tuple(field.name for field in fields(kind) if PerAxis in getattr(hints[field.name], "__metadata__", ()))
