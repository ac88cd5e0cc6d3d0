"""What layers of Keras are, in the house's words: one function each, by the name of the layer's class.

A layer that is configured in a way that no function here reads (channels first, a quantised kernel) is nobody's: it
is listed, not guessed.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from conformance.case.contract import NoAttributes
from conformance.case.families.activations import Elu, Gelu, LeakyRelu, Softmax
from conformance.case.families.arrays import Concat, Pad
from conformance.case.families.convolution import Convolution, TransposedConvolution
from conformance.case.families.normalization import BatchNorm, BatchNormTraining, GroupNorm, LayerNorm
from conformance.case.families.pooling import AveragePool, MaxPool
from conformance.case.families.resizing import Resize
from conformance.models.base import per_axis
from conformance.models.recording import CROP, Call, Crop, Native

Read = Callable[[Any, Sequence[Native]], Call | None]
# A parameter of a layer: the operand, and the attribute that holds it.
Held = tuple[tuple[str, str], ...]

_KERNEL: Final[Held] = (("w", "kernel"), ("b", "bias"))


def held_by(layer: Any, held: Held) -> dict[str, Any]:
    """The variables of a layer by operand, those that it has."""
    found = {operand: getattr(layer, name, None) for operand, name in held}
    return {operand: variable for operand, variable in found.items() if variable is not None}


def _operands(layer: Any, xs: Sequence[Native], held: Held) -> dict[str, Native]:
    return {"x": xs[0], **{operand: variable.value for operand, variable in held_by(layer, held).items()}}


def _last(layer: Any) -> bool:
    return getattr(layer, "data_format", "channels_last") == "channels_last"


def _convolution(layer: Any, xs: Sequence[Native]) -> Call | None:
    rank = layer.rank
    if not _last(layer) or layer.padding not in ("same", "valid") or xs[0].ndim != rank + 2:
        return None
    attributes = Convolution(
        stride=per_axis(layer.strides, rank),
        dilation=per_axis(layer.dilation_rate, rank),
        groups=layer.groups,
        padding=layer.padding,
    )
    kernel = per_axis(layer.kernel_size, rank)
    return Call(operator=f"conv{rank}d", operands=_operands(layer, xs, _KERNEL), attributes=attributes, kernel=kernel)


def _depthwise(layer: Any, xs: Sequence[Native]) -> Call | None:
    rank = layer.rank
    if not _last(layer) or layer.padding not in ("same", "valid"):
        return None
    attributes = Convolution(
        stride=per_axis(layer.strides, rank),
        dilation=per_axis(layer.dilation_rate, rank),
        groups=xs[0].shape[-1],
        padding=layer.padding,
    )
    operands = _operands(layer, xs, _KERNEL)
    kernel = per_axis(layer.kernel_size, rank)
    return Call(operator=f"conv{rank}d", operands=operands, attributes=attributes, kernel=kernel, depthwise=True)


def _transposed(layer: Any, xs: Sequence[Native]) -> Call | None:
    rank = layer.rank
    if not _last(layer) or layer.padding not in ("same", "valid") or layer.output_padding is not None:
        return None
    attributes = TransposedConvolution(
        stride=per_axis(layer.strides, rank),
        dilation=per_axis(layer.dilation_rate, rank),
        padding=layer.padding,
        output_padding=(0,) * rank,
    )
    kernel = per_axis(layer.kernel_size, rank)
    return Call(
        operator=f"conv{rank}d_transpose",
        operands=_operands(layer, xs, _KERNEL),
        attributes=attributes,
        kernel=kernel,
    )


def _dense(layer: Any, xs: Sequence[Native]) -> Call | None:
    return Call(operator="dense", operands=_operands(layer, xs, _KERNEL))


_BATCH_NORM: Final[Held] = (
    ("mean", "moving_mean"),
    ("variance", "moving_variance"),
    ("scale", "gamma"),
    ("offset", "beta"),
)
_AFFINE: Final[Held] = (("scale", "gamma"), ("offset", "beta"))


def _batch_norm(layer: Any, xs: Sequence[Native]) -> Call | None:
    if layer.axis % xs[0].ndim != xs[0].ndim - 1:
        return None
    attributes = BatchNorm(epsilon=layer.epsilon)
    return Call(operator="batch_norm", operands=_operands(layer, xs, _BATCH_NORM), attributes=attributes)


def batch_norm_training(layer: Any, xs: Sequence[Native], kept: Mapping[str, Native]) -> Call | None:
    """A batch normalisation by the batch's own statistics; `kept` are copies of the running ones before the call."""
    if layer.axis % xs[0].ndim != xs[0].ndim - 1 or getattr(layer, "renorm", False) or layer.synchronized:
        return None
    attributes = BatchNormTraining(epsilon=layer.epsilon, momentum=layer.momentum, bessel=False)
    operands = {**_operands(layer, xs, _BATCH_NORM), **kept}
    return Call(operator="batch_norm_training", operands=operands, attributes=attributes)


def _layer_norm(layer: Any, xs: Sequence[Native]) -> Call | None:
    axes = layer.axis if isinstance(layer.axis, (list, tuple)) else (layer.axis,)
    places = tuple(sorted(axis % xs[0].ndim for axis in axes))
    attributes = LayerNorm(axes=places, epsilon=layer.epsilon)
    return Call(operator="layer_norm", operands=_operands(layer, xs, _AFFINE), attributes=attributes)


def _group_norm(layer: Any, xs: Sequence[Native]) -> Call | None:
    if layer.axis % xs[0].ndim != xs[0].ndim - 1:
        return None
    attributes = GroupNorm(groups=layer.groups, epsilon=layer.epsilon)
    return Call(operator="group_norm", operands=_operands(layer, xs, _AFFINE), attributes=attributes)


def _max_pool(layer: Any, xs: Sequence[Native]) -> Call | None:
    if not _last(layer):
        return None
    rank = xs[0].ndim - 2
    attributes = MaxPool(
        window=per_axis(layer.pool_size, rank),
        stride=per_axis(layer.strides, rank),
        dilation=(1,) * rank,
        padding=layer.padding,
    )
    return Call(operator=f"max_pool{rank}d", operands={"x": xs[0]}, attributes=attributes)


def _average_pool(layer: Any, xs: Sequence[Native]) -> Call | None:
    if not _last(layer):
        return None
    rank = xs[0].ndim - 2
    attributes = AveragePool(
        window=per_axis(layer.pool_size, rank), stride=per_axis(layer.strides, rank), padding=layer.padding
    )
    return Call(operator=f"average_pool{rank}d", operands={"x": xs[0]}, attributes=attributes)


def _global_pool(operator: str) -> Read:
    def read(layer: Any, xs: Sequence[Native]) -> Call | None:
        if not _last(layer):
            return None
        return Call(operator=operator, operands={"x": xs[0]}, squeezed=layer.keepdims)

    return read


def _flatten(layer: Any, xs: Sequence[Native]) -> Call | None:
    return Call(operator="flatten", operands={"x": xs[0]}) if _last(layer) else None


def _two(operator: str) -> Read:
    def read(layer: Any, xs: Sequence[Native]) -> Call | None:
        if len(xs) != 2 or xs[0].shape != xs[1].shape:
            return None
        return Call(operator=operator, operands={"x": xs[0], "y": xs[1]})

    return read


def _concat(layer: Any, xs: Sequence[Native]) -> Call | None:
    if len(xs) != 2:
        return None
    attributes = Concat(axis=layer.axis % xs[0].ndim)
    return Call(operator="concat", operands={"x": xs[0], "y": xs[1]}, attributes=attributes)


def _pads(amounts: Any, rank: int) -> tuple[tuple[int, int], ...]:
    """A layer's own padding or cropping: of one axis a pair, of several a pair each."""
    return (tuple(amounts),) if rank == 1 else tuple((low, high) for low, high in amounts)


def _zero_pad(layer: Any, xs: Sequence[Native]) -> Call | None:
    if not _last(layer):
        return None
    pads = _pads(layer.padding, xs[0].ndim - 2)
    return Call(operator="pad", operands={"x": xs[0]}, attributes=Pad(padding=((0, 0), *pads, (0, 0))))


def _crop(layer: Any, xs: Sequence[Native]) -> Call | None:
    if not _last(layer):
        return None
    return Call(operator=CROP, operands={"x": xs[0]}, attributes=Crop(pads=_pads(layer.cropping, xs[0].ndim - 2)))


def _upsample(layer: Any, xs: Sequence[Native]) -> Call | None:
    methods: Mapping[str, Any] = {"nearest": "nearest", "bilinear": "linear"}
    # Signals and volumes are repeated, and have no such argument.
    interpolation = getattr(layer, "interpolation", "nearest")
    if not _last(layer) or interpolation not in methods:
        return None
    factors = (layer.size,) if isinstance(layer.size, int) else layer.size
    size = tuple(int(n) * factor for n, factor in zip(xs[0].shape[1:-1], factors, strict=True))
    attributes = Resize(size=size, method=methods[interpolation])
    return Call(operator=f"resize{len(size)}d", operands={"x": xs[0]}, attributes=attributes)


def _leaky(layer: Any, xs: Sequence[Native]) -> Call | None:
    return Call(operator="leaky_relu", operands={"x": xs[0]}, attributes=LeakyRelu(slope=float(layer.negative_slope)))


def _relu(layer: Any, xs: Sequence[Native]) -> Call | None:
    if layer.threshold:
        return None
    if layer.negative_slope:
        return None if layer.max_value is not None else _leaky(layer, xs)
    operators = {None: "relu", 6: "relu6"}
    return Call(operator=operators[layer.max_value], operands={"x": xs[0]}) if layer.max_value in operators else None


def _elu(layer: Any, xs: Sequence[Native]) -> Call | None:
    return Call(operator="elu", operands={"x": xs[0]}, attributes=Elu(alpha=float(layer.alpha)))


def _softmax(layer: Any, xs: Sequence[Native]) -> Call | None:
    if not isinstance(layer.axis, int):
        return None
    return Call(operator="softmax", operands={"x": xs[0]}, attributes=Softmax(axis=layer.axis % xs[0].ndim))


def _activation_layer(layer: Any, xs: Sequence[Native]) -> Call | None:
    return activation(layer.activation, xs)


# Keras' own functions by name, with the attributes that they have when nobody gives others.
_FUNCTIONS: Final[Mapping[str, tuple[str, Any]]] = {
    **{
        name: (name, NoAttributes())
        for name in ("relu", "relu6", "sigmoid", "tanh", "selu", "silu", "mish", "softplus", "softsign")
    },
    "log_sigmoid": ("log_sigmoid", NoAttributes()),
    "hard_sigmoid": ("hard_sigmoid", NoAttributes()),
    "hard_silu": ("hard_swish", NoAttributes()),
    "elu": ("elu", Elu()),
    "gelu": ("gelu", Gelu(approximate="none")),
    "leaky_relu": ("leaky_relu", LeakyRelu(slope=0.2)),
    "softmax": ("softmax", None),
    "log_softmax": ("log_softmax", None),
}


def activation(function: Any, xs: Sequence[Native]) -> Call | None:
    """What an activation function of Keras' own is; a user's is nobody's."""
    name = getattr(function, "__name__", "")
    if name not in _FUNCTIONS or not getattr(function, "__module__", "").startswith("keras."):
        return None
    operator, attributes = _FUNCTIONS[name]
    return Call(operator=operator, operands={"x": xs[0]}, attributes=attributes or Softmax(axis=xs[0].ndim - 1))


def _operation(operator: str) -> Read:
    """A node of a functional model, `x + y` or `keras.ops.relu(x)`."""

    def read(node: Any, xs: Sequence[Native]) -> Call | None:
        return (
            _two(operator)(node, xs)
            if operator in ("add", "multiply")
            else Call(operator=operator, operands={"x": xs[0]})
        )

    return read


def _pad_node(node: Any, xs: Sequence[Native], constant_values: float | None = None) -> Call | None:
    modes: Mapping[str, Any] = {"constant": "constant", "reflect": "reflect", "symmetric": "symmetric"}
    pairs = tuple((int(low), int(high)) for low, high in node.pad_width)
    if node.mode not in modes or len(pairs) != xs[0].ndim:
        return None
    value = 0.0 if constant_values is None else float(constant_values)
    attributes = Pad(padding=pairs, mode=modes[node.mode], value=value)
    return Call(operator="pad", operands={"x": xs[0]}, attributes=attributes)


# By class, and what it keeps parameters in; nodes of functional models have classes of the same names.
LAYERS: Final[Mapping[str, tuple[Read, Held]]] = {
    **dict.fromkeys(("Conv1D", "Conv2D", "Conv3D"), (_convolution, _KERNEL)),
    **dict.fromkeys(("DepthwiseConv1D", "DepthwiseConv2D"), (_depthwise, _KERNEL)),
    **dict.fromkeys(("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose"), (_transposed, _KERNEL)),
    "Dense": (_dense, _KERNEL),
    "BatchNormalization": (_batch_norm, _BATCH_NORM),
    "LayerNormalization": (_layer_norm, _AFFINE),
    "GroupNormalization": (_group_norm, _AFFINE),
    **dict.fromkeys(("MaxPooling1D", "MaxPooling2D", "MaxPooling3D"), (_max_pool, ())),
    **dict.fromkeys(("AveragePooling1D", "AveragePooling2D", "AveragePooling3D"), (_average_pool, ())),
    "GlobalAveragePooling2D": (_global_pool("global_average_pool2d"), ()),
    "GlobalMaxPooling2D": (_global_pool("global_max_pool2d"), ()),
    "Flatten": (_flatten, ()),
    "Add": (_two("add"), ()),
    "Multiply": (_two("multiply"), ()),
    "Concatenate": (_concat, ()),
    **dict.fromkeys(("ZeroPadding1D", "ZeroPadding2D", "ZeroPadding3D"), (_zero_pad, ())),
    **dict.fromkeys(("Cropping1D", "Cropping2D", "Cropping3D"), (_crop, ())),
    **dict.fromkeys(("UpSampling1D", "UpSampling2D", "UpSampling3D"), (_upsample, ())),
    "LeakyReLU": (_leaky, ()),
    "ReLU": (_relu, ()),
    "ELU": (_elu, ()),
    "Softmax": (_softmax, ()),
    "Activation": (_activation_layer, ()),
}
NODES: Final[Mapping[str, Callable[..., Call | None]]] = {
    "Pad": _pad_node,
    "Add": _operation("add"),
    "Multiply": _operation("multiply"),
    "Concatenate": _concat,
    **{name: _operation(name.lower()) for name in ("Relu", "Relu6", "Sigmoid", "Tanh", "Selu", "Silu")},
}
# Functions of `keras.ops` that a model may call between its layers, and the nodes that they are in functional ones.
FUNCTIONS: Final[Mapping[str, str]] = {
    name: name.capitalize()
    for name in (
        *("pad", "add", "multiply", "concatenate"),
        *("relu", "relu6", "sigmoid", "tanh", "selu", "silu"),
    )
}
# They give their input on as it is, in inference.
SILENT: Final = (
    *("InputLayer", "Dropout", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D", "GaussianNoise"),
    *("GaussianDropout", "AlphaDropout", "ActivityRegularization", "Identity"),
)
