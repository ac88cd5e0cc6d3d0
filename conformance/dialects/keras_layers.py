"""Layers of `keras.layers`, read: what they ask of the data that they are given, which is the house's own."""

from collections.abc import Callable, Mapping
from typing import Final

from conformance.case.contract import NoAttributes, require
from conformance.case.families.activations import Elu, Gelu, HardTanh, LeakyRelu, Softmax
from conformance.case.families.arrays import Mean, Pad
from conformance.case.families.convolution import Convolution, TransposedConvolution
from conformance.case.families.normalization import BatchNorm, GroupNorm, InstanceNorm, LayerNorm
from conformance.case.families.pooling import AveragePool, MaxPool
from conformance.case.families.resizing import Resize
from conformance.case.families.windows import AdaptivePool
from conformance.case.geometry import Padding, extent
from conformance.case.model import Shape
from conformance.dialects import loss_layers, window_layers
from conformance.dialects.model import Crop, Drop, Question, Step, Weight
from conformance.dialects.moves import Reshape
from conformance.dialects.source import REQUIRED, Call, Grammar, Signature
from conformance.errors import ImpossibleShape

Read = Callable[[Call, Shape], Step]

_RANKS: Final = (1, 2, 3)
_CONV: Final[Signature] = {
    "filters": REQUIRED,
    "kernel_size": REQUIRED,
    "strides": 1,
    "padding": "valid",
    "data_format": None,
    "dilation_rate": 1,
    "groups": 1,
    "activation": None,
    "use_bias": True,
}
_CONV_TRANSPOSE: Final[Signature] = {
    "filters": REQUIRED,
    "kernel_size": REQUIRED,
    "strides": 1,
    "padding": "valid",
    "output_padding": None,
    "data_format": None,
    "dilation_rate": 1,
    "activation": None,
    "use_bias": True,
}
_DEPTHWISE: Final[Signature] = {
    "kernel_size": REQUIRED,
    "strides": 1,
    "padding": "valid",
    "depth_multiplier": 1,
    "data_format": None,
    "dilation_rate": 1,
    "activation": None,
    "use_bias": True,
}
_SEPARABLE: Final[Signature] = {
    "filters": REQUIRED,
    "kernel_size": REQUIRED,
    "strides": 1,
    "padding": "valid",
    "data_format": None,
    "dilation_rate": 1,
    "depth_multiplier": 1,
    "activation": None,
    "use_bias": True,
}
_POOLS: Final = ("MaxPooling", "MaxPool", "AveragePooling", "AvgPool")
_POOL: Final[Signature] = {"pool_size": 2, "strides": None, "padding": "valid", "data_format": None}
_GLOBAL: Final[Signature] = {"data_format": None, "keepdims": False}
_ACTIVATIONS: Final = (
    "linear",
    "relu",
    "sigmoid",
    "tanh",
    "softmax",
    "log_softmax",
    "relu6",
    "leaky_relu",
    "elu",
    "selu",
    "gelu",
    "silu",
    "swish",
    "mish",
    "softplus",
    "softsign",
    "log_sigmoid",
    "hard_sigmoid",
    "hard_swish",
    "hard_silu",
    "hard_tanh",
)
# Keras's own defaults for the names that stand for a number, too.
_NUMBERED: Final = {
    "leaky_relu": LeakyRelu(slope=0.2),
    "elu": Elu(),
    "gelu": Gelu(approximate="none"),
    "hard_tanh": HardTanh(),
}
_SAME_AS: Final = {"swish": "silu", "hard_silu": "hard_swish"}

GRAMMAR: Final = Grammar(
    name="keras.layers",
    modules=(
        *("layers", "keras.layers", "tf.keras.layers", "tensorflow.keras.layers", "keras"),
        *("losses", "keras.losses", "tf.keras.losses"),
    ),
    unread=frozenset(
        {
            "name",
            "dtype",
            "trainable",
            "input_shape",
            "kernel_initializer",
            "bias_initializer",
            "depthwise_initializer",
            "pointwise_initializer",
            "gamma_initializer",
            "beta_initializer",
            "alpha_initializer",
            "moving_mean_initializer",
            "moving_variance_initializer",
            "kernel_regularizer",
            "bias_regularizer",
            "activity_regularizer",
            "kernel_constraint",
            "bias_constraint",
            "seed",
        }
    ),
    layers={
        **{f"Conv{rank}D": _CONV for rank in _RANKS},
        **{f"Conv{rank}DTranspose": _CONV_TRANSPOSE for rank in _RANKS},
        "DepthwiseConv2D": _DEPTHWISE,
        "SeparableConv2D": _SEPARABLE,
        **{f"{kind}{rank}D": _POOL for kind in _POOLS for rank in _RANKS},
        **{f"GlobalAveragePooling{rank}D": _GLOBAL for rank in _RANKS},
        "GlobalAvgPool2D": _GLOBAL,
        "GlobalMaxPooling2D": _GLOBAL,
        "GlobalMaxPool2D": _GLOBAL,
        "AdaptiveAveragePooling2D": {"output_size": REQUIRED, "data_format": None},
        "AdaptiveMaxPooling2D": {"output_size": REQUIRED, "data_format": None},
        "BatchNormalization": {"axis": -1, "momentum": 0.99, "epsilon": 1e-3, "center": True, "scale": True},
        "LayerNormalization": {"axis": -1, "epsilon": 1e-3, "center": True, "scale": True},
        "GroupNormalization": {"groups": 32, "axis": -1, "epsilon": 1e-3, "center": True, "scale": True},
        "Dense": {"units": REQUIRED, "activation": None, "use_bias": True},
        "Flatten": {"data_format": None},
        "Activation": {"activation": REQUIRED},
        "ReLU": {"max_value": None, "negative_slope": 0.0, "threshold": 0.0},
        "LeakyReLU": {"negative_slope": 0.3},
        "ELU": {"alpha": 1.0},
        "PReLU": {
            "alpha_initializer": None,
            "alpha_regularizer": None,
            "alpha_constraint": None,
            "shared_axes": None,
        },
        "Softmax": {"axis": -1},
        **{name: {"rate": REQUIRED} for name in ("Dropout", *(f"SpatialDropout{r}D" for r in _RANKS))},
        "Identity": {},
        **{f"ZeroPadding{rank}D": {"padding": 1, "data_format": None} for rank in _RANKS},
        **{f"Cropping{rank}D": {"cropping": 1 if rank != 2 else 0, "data_format": None} for rank in _RANKS},
        "UpSampling1D": {"size": 2},
        "UpSampling3D": {"size": 2, "data_format": None},
        "UpSampling2D": {"size": 2, "data_format": None, "interpolation": "nearest"},
        **loss_layers.KERAS_SIGNATURES,
        **window_layers.KERAS_SIGNATURES,
    },
)


def read(call: Call, x: Shape) -> Step:
    """What a layer asks of data of a shape.

    Raises:
        UnreadableLayer: if an argument is not what the layer takes.
        ImpossibleShape: if the layer cannot be given such data; the text has the remedy.
    """
    if "data_format" in call.arguments:
        call.only("data_format", None, "channels_last")
    step = _READERS[call.layer](call, x)
    for question in step.questions:
        _ = question.output  # refuses what has no answer
    return step


def _rank(call: Call, x: Shape) -> int:
    """The spatial axes that the layer's name counts.

    Raises:
        ImpossibleShape: if the data has others.
    """
    rank = int(call.layer[call.layer.rindex("D") - 1])
    if len(x) != rank + 2:
        axes = "(length, channels)", "(rows, columns, channels)", "(depth, rows, columns, channels)"
        raise ImpossibleShape(
            f"it takes data of {rank} spatial axes, {axes[rank - 1]} without the batch; this has {len(x) - 2}"
        )
    return rank


def _activated(call: Call, *questions: Question, weights: tuple[Weight, ...] = ()) -> Step:
    """A step, with the activation that the layer names behind it."""
    name = call.arguments.get("activation")
    if name is not None:
        active = _active(call, questions[-1].output)
        questions = (*questions, active) if active.operator != "identity" else questions
    return Step(text=call.text, questions=questions, weights=weights)


def _active(call: Call, x: Shape) -> Question:
    given = call.word("activation", _ACTIVATIONS)
    name = _SAME_AS.get(given, given)
    attributes = _NUMBERED.get(name, NoAttributes())
    if name in ("softmax", "log_softmax"):
        return Question(operator=name, attributes=Softmax(axis=-1), shapes={"x": x})
    return Question(operator="identity" if name == "linear" else name, attributes=attributes, shapes={"x": x})


def _kernel_weights(call: Call, *, moves: tuple[Reshape, ...] = (), line: int = 0) -> tuple[Weight, ...]:
    kernel = Weight(operand="w", name="kernel", line=line, moves=moves)
    return (kernel, *([Weight(operand="b", name="bias", line=line)] if call.flag("use_bias") else []))


def _padding(call: Call, kernel: Shape, dilation: Shape) -> Padding:
    words = ("same", "valid", "causal") if call.layer == "Conv1D" else ("same", "valid")
    word = call.word("padding", words)
    if word == "causal":
        return ((extent(kernel[0], dilation[0]) - 1, 0),)
    return "same" if word == "same" else "valid"


def _not_together(call: Call, stride: Shape, dilation: Shape) -> None:
    if max(stride) > 1 < max(dilation):
        raise call.fault(f"Keras refuses strides together with dilations, got {stride} and {dilation}")


def _conv(call: Call, x: Shape) -> Step:
    rank = _rank(call, x)
    filters, groups = call.integer("filters"), call.integer("groups")
    kernel, stride = call.sizes("kernel_size", rank), call.sizes("strides", rank)
    dilation = call.sizes("dilation_rate", rank)
    _not_together(call, stride, dilation)
    require(x[-1] % groups == 0, f"groups is {groups}, and does not divide the data's {x[-1]} channels")
    if filters % groups:
        raise call.fault(f"groups must divide the {filters} filters, got {groups}")
    attributes = Convolution(
        stride=stride, dilation=dilation, groups=groups, padding=_padding(call, kernel, dilation)
    )
    bias = {"b": (filters,)} if call.flag("use_bias") else {}
    shapes = {"x": x, "w": (*kernel, x[-1] // groups, filters), **bias}
    question = Question(operator=f"conv{rank}d", attributes=attributes, shapes=shapes)
    return _activated(call, question, weights=_kernel_weights(call))


def _conv_transpose(call: Call, x: Shape) -> Step:
    rank = _rank(call, x)
    filters, kernel = call.integer("filters"), call.sizes("kernel_size", rank)
    stride, dilation = call.sizes("strides", rank), call.sizes("dilation_rate", rank)
    _not_together(call, stride, dilation)
    padding = call.word("padding", ("same", "valid"))
    attributes = TransposedConvolution(
        stride=stride,
        dilation=dilation,
        padding="same" if padding == "same" else "valid",
        output_padding=(0,) * rank,
    )
    if call.arguments["output_padding"] is not None:
        attributes = _told_output(call, x, kernel, attributes, call.sizes("output_padding", rank, 0))
    bias = {"b": (filters,)} if call.flag("use_bias") else {}
    question = Question(
        operator=f"conv{rank}d_transpose",
        attributes=attributes,
        shapes={"x": x, "w": (*kernel, filters, x[-1]), **bias},
    )
    return _activated(call, question, weights=_kernel_weights(call))


def _told_output(
    call: Call, x: Shape, kernel: Shape, a: TransposedConvolution, output_padding: tuple[int, ...]
) -> TransposedConvolution:
    """The same with the size that Keras makes of `output_padding`, cropped where TensorFlow crops it.

    Keras's sizes: (n - 1) s + extent + p for 'valid', (n - 1) s + extent mod 2 + p for 'same'.
    """
    pads, more = [], []
    for n, k, s, d, p in zip(x[1:-1], kernel, a.stride, a.dilation, output_padding, strict=True):
        if p >= max(s, 1):
            raise call.fault(f"output_padding must be below the stride {s}, got {p}")
        span = extent(k, d)
        canvas = (n - 1) * s + span
        size = (canvas if a.padding == "valid" else (n - 1) * s + span % 2) + p
        if a.padding == "same" and -(-size // s) != n:
            raise ImpossibleShape(
                f"'same' of the {size} elements that output_padding={p} asks for has not {n} windows"
            )
        total = max(canvas - size, 0)
        low = total // 2 if a.padding == "same" else 0
        pads.append((low, total - low))
        more.append(max(size - canvas, 0))
    return TransposedConvolution(
        stride=a.stride, dilation=a.dilation, padding=tuple(pads), output_padding=tuple(more)
    )


def _depthwise(call: Call, x: Shape) -> Step:
    _rank(call, x)
    question = _spread(call, x, bias=call.flag("use_bias"))
    w = question.shapes["w"]
    moves = (Reshape(w, (*w[:2], x[-1], w[-1] // x[-1])),)
    return _activated(call, question, weights=_kernel_weights(call, moves=moves))


def _spread(call: Call, x: Shape, *, bias: bool) -> Question:
    """A convolution of every channel by itself."""
    kernel, stride = call.sizes("kernel_size", 2), call.sizes("strides", 2)
    dilation, times = call.sizes("dilation_rate", 2), call.integer("depth_multiplier")
    _not_together(call, stride, dilation)
    if len(set(stride)) > 1:
        raise call.fault(f"TensorFlow takes equal strides alone where channels stay apart, got {stride}")
    outside = x[-1] * times
    attributes = Convolution(stride=stride, dilation=dilation, groups=x[-1], padding=_padding(call, kernel, dilation))
    shapes = {"x": x, "w": (*kernel, 1, outside), **({"b": (outside,)} if bias else {})}
    return Question(operator="conv2d", attributes=attributes, shapes=shapes)


def _separable(call: Call, x: Shape) -> Step:
    _rank(call, x)
    spread = _spread(call, x, bias=False)
    w, filters, between = spread.shapes["w"], call.integer("filters"), spread.output
    ones = (1, 1)
    bias = {"b": (filters,)} if call.flag("use_bias") else {}
    mixed = Question(
        operator="conv2d",
        attributes=Convolution(stride=ones, dilation=ones),
        shapes={"x": between, "w": (1, 1, between[-1], filters), **bias},
    )
    depthwise = Weight(operand="w", name="depthwise_kernel", moves=(Reshape(w, (*w[:2], x[-1], w[-1] // x[-1])),))
    pointwise = Weight(operand="w", name="pointwise_kernel", line=1)
    biases = [Weight(operand="b", name="bias", line=1)] if bias else []
    return _activated(call, spread, mixed, weights=(depthwise, pointwise, *biases))


def _pool(call: Call, x: Shape) -> Step:
    rank = _rank(call, x)
    window = call.sizes("pool_size", rank)
    stride = window if call.arguments["strides"] is None else call.sizes("strides", rank)
    padding = "same" if call.word("padding", ("same", "valid")) == "same" else "valid"
    attributes: MaxPool | AveragePool
    if call.layer.startswith("Max"):
        attributes = MaxPool(window=window, stride=stride, dilation=(1,) * rank, padding=padding)  # type: ignore[arg-type]
    else:
        attributes = AveragePool(window=window, stride=stride, padding=padding)  # type: ignore[arg-type]
    kind = "max" if call.layer.startswith("Max") else "average"
    question = Question(operator=f"{kind}_pool{rank}d", attributes=attributes, shapes={"x": x})
    return Step(text=call.text, questions=(question,))


def _global_pool(call: Call, x: Shape) -> Step:
    rank = _rank(call, x)
    kind = "max" if "Max" in call.layer else "average"
    kept = call.flag("keepdims")
    if rank != 2:
        mean = Mean(axes=tuple(range(1, rank + 1)), keepdims=kept)
        return Step(text=call.text, questions=(Question(operator="mean", attributes=mean, shapes={"x": x}),))
    question = Question(operator=f"global_{kind}_pool2d", attributes=NoAttributes(), shapes={"x": x})
    if kept:
        question = Question(operator=f"adaptive_{kind}_pool2d", attributes=AdaptivePool(size=(1, 1)), shapes={"x": x})
    return Step(text=call.text, questions=(question,))


def _adaptive(call: Call, x: Shape) -> Step:
    _rank(call, x)
    kind = "max" if "Max" in call.layer else "average"
    rows, columns = call.sizes("output_size", 2)
    attributes = AdaptivePool(size=(rows, columns))
    question = Question(operator=f"adaptive_{kind}_pool2d", attributes=attributes, shapes={"x": x})
    return Step(text=call.text, questions=(question,))


def _scales(call: Call, shape: Shape) -> tuple[dict[str, Shape], tuple[Weight, ...]]:
    there = [
        ("scale", "gamma", call.flag("scale")),
        ("offset", "beta", call.flag("center")),
    ]
    names = {operand: name for operand, name, given in there if given}
    return dict.fromkeys(names, shape), tuple(Weight(operand=o, name=name) for o, name in names.items())


def _channels_only(call: Call, x: Shape) -> None:
    axis = call.arguments["axis"]
    if axis not in (-1, len(x) - 1):
        raise call.fault(f"axis is read as that of the channels alone, -1 or {len(x) - 1}, got {axis!r}")


def _batch_norm(call: Call, x: Shape) -> Step:
    _channels_only(call, x)
    shapes, weights = _scales(call, x[-1:])
    running = (Weight(operand="mean", name="moving_mean"), Weight(operand="variance", name="moving_variance"))
    question = Question(
        operator="batch_norm",
        attributes=BatchNorm(epsilon=call.number("epsilon")),
        shapes={"x": x, "mean": x[-1:], "variance": x[-1:], **shapes},
    )
    return Step(text=call.text, questions=(question,), weights=(*weights, *running))


def _layer_norm(call: Call, x: Shape) -> Step:
    given = call.arguments["axis"]
    entries = given if isinstance(given, tuple) else (given,)
    axes = sorted(axis % len(x) for axis in entries if isinstance(axis, int) and -len(x) <= axis < len(x))
    if len(axes) != len(entries):
        raise call.fault(f"axis must name axes of data that has {len(x)}, got {given!r}")
    shapes, weights = _scales(call, tuple(x[axis] for axis in axes))
    attributes = LayerNorm(axes=tuple(axes), epsilon=call.number("epsilon"))
    question = Question(operator="layer_norm", attributes=attributes, shapes={"x": x, **shapes})
    return Step(text=call.text, questions=(question,), weights=weights)


def _group_norm(call: Call, x: Shape) -> Step:
    _channels_only(call, x)
    groups = call.integer("groups", -1)
    shapes, weights = _scales(call, x[-1:])
    epsilon = call.number("epsilon")
    if groups in (-1, x[-1]) and len(x) > 2:
        question = Question(
            operator="instance_norm", attributes=InstanceNorm(epsilon=epsilon), shapes={"x": x, **shapes}
        )
    else:
        require(
            groups > 0 and x[-1] % groups == 0,
            f"groups is {groups} (32 if it is left out), and does not divide the data's {x[-1]} channels",
        )
        question = Question(
            operator="group_norm",
            attributes=GroupNorm(groups=groups, epsilon=epsilon),
            shapes={"x": x, **shapes},
        )
    return Step(text=call.text, questions=(question,), weights=weights)


def _dense(call: Call, x: Shape) -> Step:
    units = call.integer("units")
    bias = {"b": (units,)} if call.flag("use_bias") else {}
    question = Question(operator="dense", attributes=NoAttributes(), shapes={"x": x, "w": (x[-1], units), **bias})
    return _activated(call, question, weights=_kernel_weights(call))


def _flatten(call: Call, x: Shape) -> Step:
    return Step(text=call.text, questions=(Question(operator="flatten", attributes=NoAttributes(), shapes={"x": x}),))


def _activation(call: Call, x: Shape) -> Step:
    return Step(text=call.text, questions=(_active(call, x),))


def _relu(call: Call, x: Shape) -> Step:
    call.only("threshold", 0, 0.0)
    slope = call.number("negative_slope")
    most = call.arguments["max_value"]
    if slope:
        call.only("max_value", None)
        question = Question(operator="leaky_relu", attributes=LeakyRelu(slope=slope), shapes={"x": x})
    else:
        call.only("max_value", None, 6, 6.0)
        operator = "relu" if most is None else "relu6"
        question = Question(operator=operator, attributes=NoAttributes(), shapes={"x": x})
    return Step(text=call.text, questions=(question,))


def _leaky_relu(call: Call, x: Shape) -> Step:
    attributes = LeakyRelu(slope=call.number("negative_slope"))
    return Step(text=call.text, questions=(Question(operator="leaky_relu", attributes=attributes, shapes={"x": x}),))


def _elu(call: Call, x: Shape) -> Step:
    attributes = Elu(alpha=call.number("alpha"))
    return Step(text=call.text, questions=(Question(operator="elu", attributes=attributes, shapes={"x": x}),))


def _prelu(call: Call, x: Shape) -> Step:
    shared = tuple(range(1, len(x) - 1))
    given = call.arguments["shared_axes"] or ()
    if given != shared:
        raise call.fault(
            f"shared_axes is read as all spatial axes alone, one slope a channel: {shared or None!r}, got {given!r}"
        )
    moves = (Reshape(x[-1:], (*(1 for _ in shared), x[-1])),) if shared else ()
    question = Question(operator="prelu", attributes=NoAttributes(), shapes={"x": x, "a": x[-1:]})
    return Step(text=call.text, questions=(question,), weights=(Weight(operand="a", name="alpha", moves=moves),))


def _softmax(call: Call, x: Shape) -> Step:
    axis = call.arguments["axis"]
    if not isinstance(axis, int) or isinstance(axis, bool):
        raise call.fault(f"axis must be an integer, got {axis!r}")
    question = Question(operator="softmax", attributes=Softmax(axis=axis), shapes={"x": x})
    return Step(text=call.text, questions=(question,))


def _idle(call: Call, x: Shape) -> Step:
    return Step(
        text=call.text, questions=(Question(operator="identity", attributes=NoAttributes(), shapes={"x": x}),)
    )


def _dropout(call: Call, x: Shape) -> Step:
    attributes = Drop(rate=call.number("rate"), channels=call.layer != "Dropout")
    if attributes.channels:
        _rank(call, x)
    return Step(text=call.text, questions=(Question(operator="drop", attributes=attributes, shapes={"x": x}),))


def _pairs(call: Call, name: str, rank: int) -> tuple[tuple[int, int], ...]:
    """One number, one a spatial axis (for one axis: its pair), or a pair each."""
    given = call.arguments[name]
    entries = given if isinstance(given, tuple) else (given,) * rank
    if rank == 1 and len(entries) == 2 and all(isinstance(entry, int) for entry in entries):
        entries = (entries,)
    pairs = [entry if isinstance(entry, tuple) else (entry, entry) for entry in entries]
    numbers = [n for pair in pairs for n in pair if isinstance(n, int) and not isinstance(n, bool) and n >= 0]
    if len(pairs) != rank or any(len(pair) != 2 for pair in pairs) or len(numbers) != 2 * rank:
        one = "a pair (low, high)" if rank == 1 else f"{rank} integers, or {rank} pairs (low, high)"
        raise call.fault(f"{name} must be an integer of at least 0, {one}, got {given!r}")
    return tuple((numbers[2 * i], numbers[2 * i + 1]) for i in range(rank))


def _pad(call: Call, x: Shape) -> Step:
    pads = _pairs(call, "padding", _rank(call, x))
    attributes = Pad(padding=((0, 0), *pads, (0, 0)))
    return Step(text=call.text, questions=(Question(operator="pad", attributes=attributes, shapes={"x": x}),))


def _crop(call: Call, x: Shape) -> Step:
    attributes = Crop(cropping=_pairs(call, "cropping", _rank(call, x)))
    return Step(text=call.text, questions=(Question(operator="crop", attributes=attributes, shapes={"x": x}),))


def _upsample(call: Call, x: Shape) -> Step:
    rank = _rank(call, x)
    size = tuple(n * factor for n, factor in zip(x[1:-1], call.sizes("size", rank), strict=True))
    method = "nearest" if rank != 2 else call.word("interpolation", ("nearest", "bilinear", "bicubic"))
    attributes = {
        "nearest": Resize(size=size, method="nearest", coordinates="asymmetric", rounding="floor"),
        "bilinear": Resize(size=size, method="linear"),
        "bicubic": Resize(size=size, method="cubic", edge="renormalize"),
    }[method]
    question = Question(operator=f"resize{rank}d", attributes=attributes, shapes={"x": x})
    return Step(text=call.text, questions=(question,))


_READERS: Final[Mapping[str, Read]] = {
    **{f"Conv{rank}D": _conv for rank in _RANKS},
    **{f"Conv{rank}DTranspose": _conv_transpose for rank in _RANKS},
    "DepthwiseConv2D": _depthwise,
    "SeparableConv2D": _separable,
    **{f"{kind}{rank}D": _pool for kind in _POOLS for rank in _RANKS},
    **{f"GlobalAveragePooling{rank}D": _global_pool for rank in _RANKS},
    **dict.fromkeys(("GlobalAvgPool2D", "GlobalMaxPooling2D", "GlobalMaxPool2D"), _global_pool),
    "AdaptiveAveragePooling2D": _adaptive,
    "AdaptiveMaxPooling2D": _adaptive,
    "BatchNormalization": _batch_norm,
    "LayerNormalization": _layer_norm,
    "GroupNormalization": _group_norm,
    "Dense": _dense,
    "Flatten": _flatten,
    "Activation": _activation,
    "ReLU": _relu,
    "LeakyReLU": _leaky_relu,
    "ELU": _elu,
    "PReLU": _prelu,
    "Softmax": _softmax,
    "Identity": _idle,
    **dict.fromkeys(("Dropout", *(f"SpatialDropout{r}D" for r in _RANKS)), _dropout),
    **{f"ZeroPadding{rank}D": _pad for rank in _RANKS},
    **{f"Cropping{rank}D": _crop for rank in _RANKS},
    **{f"UpSampling{rank}D": _upsample for rank in (1, 2, 3)},
    **loss_layers.KERAS,
    **window_layers.KERAS,
}
