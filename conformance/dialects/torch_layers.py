"""Layers of `torch.nn`, read: what they ask of the data that they are given.

Data is the house's, channels-last; what counts axes in torch's order is turned round here.
"""

import math
from collections.abc import Callable, Mapping
from typing import Final

from conformance.case.contract import NoAttributes, require
from conformance.case.families.activations import Elu, Gelu, HardTanh, LeakyRelu, Softmax
from conformance.case.families.arrays import Blocks, Pad
from conformance.case.families.convolution import Convolution, TransposedConvolution
from conformance.case.families.normalization import BatchNorm, GroupNorm, InstanceNorm, LayerNorm
from conformance.case.families.pooling import AveragePool, MaxPool
from conformance.case.families.resizing import Resize
from conformance.case.families.windows import AdaptivePool
from conformance.case.geometry import Padding
from conformance.case.model import Shape
from conformance.dialects import loss_layers, window_layers
from conformance.dialects.model import Crop, Drop, Question, Step, Weight
from conformance.dialects.moves import Transpose, kernel_first
from conformance.dialects.source import REQUIRED, Call, Grammar, Signature
from conformance.errors import ImpossibleShape

Read = Callable[[Call, Shape], Step]

_RANKS: Final = (1, 2, 3)
_CONV: Final[Signature] = {
    "in_channels": REQUIRED,
    "out_channels": REQUIRED,
    "kernel_size": REQUIRED,
    "stride": 1,
    "padding": 0,
    "dilation": 1,
    "groups": 1,
    "bias": True,
    "padding_mode": "zeros",
}
_CONV_TRANSPOSE: Final[Signature] = {
    "in_channels": REQUIRED,
    "out_channels": REQUIRED,
    "kernel_size": REQUIRED,
    "stride": 1,
    "padding": 0,
    "output_padding": 0,
    "groups": 1,
    "bias": True,
    "dilation": 1,
    "padding_mode": "zeros",
}
_MAX_POOL: Final[Signature] = {
    "kernel_size": REQUIRED,
    "stride": None,
    "padding": 0,
    "dilation": 1,
    "return_indices": False,
    "ceil_mode": False,
}
_AVERAGE_POOL: Final[Signature] = {
    "kernel_size": REQUIRED,
    "stride": None,
    "padding": 0,
    "ceil_mode": False,
    "count_include_pad": True,
}
_BATCH_NORM: Final[Signature] = {
    "num_features": REQUIRED,
    "eps": 1e-5,
    "momentum": 0.1,
    "affine": True,
    "track_running_stats": True,
}
_INSTANCE_NORM: Final[Signature] = {**_BATCH_NORM, "affine": False, "track_running_stats": False}
_INPLACE: Final[Signature] = {"inplace": False}
_PLAIN: Final[Mapping[str, str]] = {
    "ReLU": "relu",
    "ReLU6": "relu6",
    "SELU": "selu",
    "SiLU": "silu",
    "Mish": "mish",
    "Hardsigmoid": "hard_sigmoid",
    "Hardswish": "hard_swish",
    "Sigmoid": "sigmoid",
    "Tanh": "tanh",
    "Softsign": "softsign",
    "LogSigmoid": "log_sigmoid",
    "Softplus": "softplus",
}
_MODES: Final = {"zeros": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}
_PADS: Final = {"Zero": "constant", "Constant": "constant", "Reflection": "reflect", "Replication": "edge"}

GRAMMAR: Final = Grammar(
    name="torch.nn",
    modules=("nn", "torch.nn"),
    unread=frozenset({"device", "dtype"}),
    layers={
        **{f"Conv{rank}d": _CONV for rank in _RANKS},
        **{f"ConvTranspose{rank}d": _CONV_TRANSPOSE for rank in _RANKS},
        **{f"MaxPool{rank}d": _MAX_POOL for rank in _RANKS},
        "AvgPool1d": _AVERAGE_POOL,
        **{f"AvgPool{rank}d": {**_AVERAGE_POOL, "divisor_override": None} for rank in (2, 3)},
        "AdaptiveAvgPool2d": {"output_size": REQUIRED},
        "AdaptiveMaxPool2d": {"output_size": REQUIRED, "return_indices": False},
        **{f"BatchNorm{rank}d": _BATCH_NORM for rank in _RANKS},
        **{f"InstanceNorm{rank}d": _INSTANCE_NORM for rank in _RANKS},
        "LayerNorm": {"normalized_shape": REQUIRED, "eps": 1e-5, "elementwise_affine": True, "bias": True},
        "GroupNorm": {"num_groups": REQUIRED, "num_channels": REQUIRED, "eps": 1e-5, "affine": True},
        "Linear": {"in_features": REQUIRED, "out_features": REQUIRED, "bias": True},
        "Flatten": {"start_dim": 1, "end_dim": -1},
        **dict.fromkeys(("ReLU", "ReLU6", "SELU", "SiLU", "Mish", "Hardsigmoid", "Hardswish"), _INPLACE),
        **{name: {} for name in ("Sigmoid", "Tanh", "Softsign", "LogSigmoid", "Identity")},
        "Softplus": {"beta": 1.0, "threshold": 20.0},
        "LeakyReLU": {"negative_slope": 0.01, "inplace": False},
        "ELU": {"alpha": 1.0, "inplace": False},
        "GELU": {"approximate": "none"},
        "Hardtanh": {"min_val": -1.0, "max_val": 1.0, "inplace": False},
        "PReLU": {"num_parameters": 1, "init": 0.25},
        "Softmax": {"dim": REQUIRED},
        "LogSoftmax": {"dim": REQUIRED},
        **{name: {"p": 0.5, "inplace": False} for name in ("Dropout", "Dropout1d", "Dropout2d", "Dropout3d")},
        **{f"{kind}Pad{rank}d": {"padding": REQUIRED} for kind in ("Zero", "Reflection") for rank in _RANKS},
        **{f"{kind}Pad{rank}d": {"padding": REQUIRED} for kind in ("Replication", "Circular") for rank in _RANKS},
        **{f"ConstantPad{rank}d": {"padding": REQUIRED, "value": REQUIRED} for rank in _RANKS},
        "Upsample": {
            "size": None,
            "scale_factor": None,
            "mode": "nearest",
            "align_corners": None,
            "recompute_scale_factor": None,
        },
        "PixelShuffle": {"upscale_factor": REQUIRED},
        "PixelUnshuffle": {"downscale_factor": REQUIRED},
        **loss_layers.TORCH_SIGNATURES,
        **window_layers.TORCH_SIGNATURES,
    },
)


def read(call: Call, x: Shape) -> Step:
    """What a layer asks of data of a shape.

    Raises:
        UnreadableLayer: if an argument is not what the layer takes.
        ImpossibleShape: if the layer cannot be given such data; the text has the remedy.
    """
    step = _READERS[call.layer](call, x)
    for question in step.questions:
        _ = question.output  # refuses what has no answer
    return step


def _rank(call: Call, x: Shape) -> int:
    """The spatial axes that the layer's name counts.

    Raises:
        ImpossibleShape: if the data has others.
    """
    rank = int(call.layer[-2])
    if len(x) != rank + 2:
        axes = "(channels, length)", "(channels, height, width)", "(channels, depth, height, width)"
        raise ImpossibleShape(
            f"it takes data of {rank} spatial axes, {axes[rank - 1]} without the batch; this has {len(x) - 2}"
        )
    return rank


def _channels(name: str, expected: int, x: Shape) -> None:
    require(expected == x[-1], f"{name} is {expected}, and the data has {x[-1]} channels: write {name}={x[-1]}")


def _step(call: Call, *questions: Question, weights: tuple[Weight, ...] = ()) -> Step:
    return Step(text=call.text, questions=questions, weights=weights)


def _kernel_weights(rank: int, question: int, *, bias: bool) -> tuple[Weight, ...]:
    kernel = Weight(operand="w", name="weight", line=question, moves=kernel_first(rank))
    return (kernel, *([Weight(operand="b", name="bias", line=question)] if bias else []))


def _conv(call: Call, x: Shape) -> Step:
    rank = _rank(call, x)
    inside, outside, groups = call.integer("in_channels"), call.integer("out_channels"), call.integer("groups")
    _channels("in_channels", inside, x)
    if inside % groups or outside % groups:
        raise call.fault(f"groups must divide both {inside} and {outside} channels, got {groups}")
    kernel, stride = call.sizes("kernel_size", rank), call.sizes("stride", rank)
    dilation = call.sizes("dilation", rank)
    padding: Padding
    if isinstance(call.arguments["padding"], str):
        word = call.word("padding", ("same", "valid"))
        if word == "same" and set(stride) != {1}:
            raise call.fault("padding='same' goes with strides of 1 alone; pad by hand with nn.ZeroPad2d before it")
        padding = "same" if word == "same" else "valid"
    else:
        padding = tuple((pad, pad) for pad in call.sizes("padding", rank, 0))
    mode = _MODES[call.word("padding_mode", tuple(_MODES))]
    questions: list[Question] = []
    if mode != "constant":
        if not isinstance(padding, tuple):
            raise call.fault("padding_mode is read with pads in numbers alone")
        questions.append(_padded(x, padding, mode))
        x, padding = questions[-1].output, "valid"
    bias = call.flag("bias")
    shapes = {"x": x, "w": (*kernel, inside // groups, outside), **({"b": (outside,)} if bias else {})}
    attributes = Convolution(stride=stride, dilation=dilation, groups=groups, padding=padding)
    question = Question(operator=f"conv{rank}d", attributes=attributes, shapes=shapes)
    return _step(call, *questions, question, weights=_kernel_weights(rank, len(questions), bias=bias))


def _padded(x: Shape, pads: tuple[tuple[int, int], ...], mode: str, value: float = 0.0) -> Question:
    attributes = Pad(padding=((0, 0), *pads, (0, 0)), mode=mode, value=value)  # type: ignore[arg-type]
    return Question(operator="pad", attributes=attributes, shapes={"x": x})


def _conv_transpose(call: Call, x: Shape) -> Step:
    rank = _rank(call, x)
    inside, outside, groups = call.integer("in_channels"), call.integer("out_channels"), call.integer("groups")
    _channels("in_channels", inside, x)
    if inside % groups or outside % groups:
        raise call.fault(f"groups must divide both {inside} and {outside} channels, got {groups}")
    call.only("padding_mode", "zeros")
    attributes = TransposedConvolution(
        stride=call.sizes("stride", rank),
        dilation=call.sizes("dilation", rank),
        groups=groups,
        padding=tuple((pad, pad) for pad in call.sizes("padding", rank, 0)),
        output_padding=call.sizes("output_padding", rank, 0),
    )
    bias, kernel = call.flag("bias"), call.sizes("kernel_size", rank)
    shapes = {"x": x, "w": (*kernel, outside // groups, inside), **({"b": (outside,)} if bias else {})}
    question = Question(operator=f"conv{rank}d_transpose", attributes=attributes, shapes=shapes)
    return _step(call, question, weights=_kernel_weights(rank, 0, bias=bias))


def _pool(call: Call, x: Shape) -> Step:
    rank = _rank(call, x)
    window = call.sizes("kernel_size", rank)
    stride = window if call.arguments["stride"] is None else call.sizes("stride", rank)
    padding = tuple((pad, pad) for pad in call.sizes("padding", rank, 0))
    ceil = call.flag("ceil_mode")
    attributes: MaxPool | AveragePool
    if call.layer.startswith("Max"):
        call.only("return_indices", False)
        dilation = call.sizes("dilation", rank)
        attributes = MaxPool(window=window, stride=stride, dilation=dilation, padding=padding, ceil_mode=ceil)
    else:
        if "divisor_override" in call.arguments:
            call.only("divisor_override", None)
        counted = call.flag("count_include_pad")
        attributes = AveragePool(window=window, stride=stride, padding=padding, ceil_mode=ceil, count_padding=counted)
    kind = "max" if call.layer.startswith("Max") else "average"
    return _step(call, Question(operator=f"{kind}_pool{rank}d", attributes=attributes, shapes={"x": x}))


def _adaptive(call: Call, x: Shape) -> Step:
    require(len(x) == 4, f"it takes (channels, height, width) without the batch; this has {len(x) - 2} spatial axes")
    given = call.arguments["output_size"]
    entries = given if isinstance(given, tuple) else (given, given)
    filled = tuple(n if entry is None else entry for entry, n in zip(entries, x[1:-1], strict=False))
    numbers = [entry for entry in filled if isinstance(entry, int) and not isinstance(entry, bool) and entry >= 1]
    if len(entries) != 2 or len(numbers) != 2:
        raise call.fault(f"output_size must be an integer of at least 1, or 2 of them, got {given!r}")
    kind = "average" if "Avg" in call.layer else "max"
    attributes = AdaptivePool(size=(numbers[0], numbers[1]))
    return _step(call, Question(operator=f"adaptive_{kind}_pool2d", attributes=attributes, shapes={"x": x}))


def _affine(shape: Shape, names: Mapping[str, str]) -> tuple[dict[str, Shape], tuple[Weight, ...]]:
    weights = tuple(Weight(operand=operand, name=name) for operand, name in names.items())
    return dict.fromkeys(names, shape), weights


_SCALES: Final = {"scale": "weight", "offset": "bias"}
_RUNNING: Final = {"mean": "running_mean", "variance": "running_var"}


def _batch_norm(call: Call, x: Shape) -> Step:
    rank = int(call.layer[-2])
    if not (rank == 1 and len(x) == 2):
        _rank(call, x)
    _channels("num_features", call.integer("num_features"), x)
    call.only("track_running_stats", True)
    shapes, weights = _affine(x[-1:], {**(_SCALES if call.flag("affine") else {}), **_RUNNING})
    question = Question(
        operator="batch_norm", attributes=BatchNorm(epsilon=call.number("eps")), shapes={"x": x, **shapes}
    )
    return _step(call, question, weights=weights)


def _instance_norm(call: Call, x: Shape) -> Step:
    _rank(call, x)
    _channels("num_features", call.integer("num_features"), x)
    call.only("track_running_stats", False)
    shapes, weights = _affine(x[-1:], _SCALES if call.flag("affine") else {})
    question = Question(
        operator="instance_norm", attributes=InstanceNorm(epsilon=call.number("eps")), shapes={"x": x, **shapes}
    )
    return _step(call, question, weights=weights)


def _group_norm(call: Call, x: Shape) -> Step:
    _channels("num_channels", call.integer("num_channels"), x)
    shapes, weights = _affine(x[-1:], _SCALES if call.flag("affine") else {})
    attributes = GroupNorm(groups=call.integer("num_groups"), epsilon=call.number("eps"))
    return _step(
        call, Question(operator="group_norm", attributes=attributes, shapes={"x": x, **shapes}), weights=weights
    )


def _first(axes: int) -> list[int]:
    """The house's axes in torch's order."""
    return [0, *([axes - 1] if axes > 1 else []), *range(1, axes - 1)]


def _layer_norm(call: Call, x: Shape) -> Step:
    given = call.arguments["normalized_shape"]
    shape = call.sizes("normalized_shape", len(given) if isinstance(given, tuple) else 1)
    trailing = _first(len(x))[len(x) - len(shape) :]
    own = tuple(x[axis] for axis in trailing)
    require(
        len(shape) < len(x) and shape == own,
        f"normalized_shape is {shape}, and the last axes of the data have {own}: channels come first in torch",
    )
    axes = tuple(sorted(trailing))
    affine, biased = call.flag("elementwise_affine"), call.flag("bias")
    moves = (Transpose(tuple(axes.index(axis) for axis in trailing)),)
    names = {"scale": "weight", **({"offset": "bias"} if biased else {})} if affine else {}
    weights = tuple(Weight(operand=operand, name=name, moves=moves) for operand, name in names.items())
    shapes = {"x": x, **dict.fromkeys(names, tuple(x[axis] for axis in axes))}
    attributes = LayerNorm(axes=axes, epsilon=call.number("eps"))
    return _step(call, Question(operator="layer_norm", attributes=attributes, shapes=shapes), weights=weights)


def _linear(call: Call, x: Shape) -> Step:
    inside, outside, bias = call.integer("in_features"), call.integer("out_features"), call.flag("bias")
    if len(x) > 2:
        flat = math.prod(x[1:])
        raise ImpossibleShape(
            f"it takes the last axis, which has {x[-2]} elements of the image's width and no channels; "
            f"write nn.Flatten() before it, then nn.Linear({flat}, {outside})"
        )
    require(
        inside == x[-1],
        f"in_features is {inside}, and {x[-1]} features come in: write nn.Linear({x[-1]}, {outside})",
    )
    weights = [Weight(operand="w", name="weight", moves=(Transpose((1, 0)),))]
    weights += [Weight(operand="b", name="bias")] if bias else []
    shapes = {"x": x, "w": (inside, outside), **({"b": (outside,)} if bias else {})}
    question = Question(operator="dense", attributes=NoAttributes(), shapes=shapes)
    return _step(call, question, weights=tuple(weights))


def _flatten(call: Call, x: Shape) -> Step:
    call.only("start_dim", 1)
    call.only("end_dim", -1, len(x) - 1)
    # Channels first: the same numbers as the house's in another order, where there are channels and pixels.
    operator = "flatten" if len(x) == 2 or x[-1] == 1 or math.prod(x[1:-1]) == 1 else "flatten_channels_first"
    return _step(call, Question(operator=operator, attributes=NoAttributes(), shapes={"x": x}))


def _plain(call: Call, x: Shape) -> Step:
    if call.layer == "Softplus":
        call.only("beta", 1, 1.0)
    return _step(call, Question(operator=_PLAIN[call.layer], attributes=NoAttributes(), shapes={"x": x}))


def _idle(call: Call, x: Shape) -> Step:
    return _step(call, Question(operator="identity", attributes=NoAttributes(), shapes={"x": x}))


def _dropout(call: Call, x: Shape) -> Step:
    attributes = Drop(rate=call.number("p"), channels=call.layer != "Dropout")
    if attributes.channels:
        _rank(call, x)
    return _step(call, Question(operator="drop", attributes=attributes, shapes={"x": x}))


def _leaky_relu(call: Call, x: Shape) -> Step:
    attributes = LeakyRelu(slope=call.number("negative_slope"))
    return _step(call, Question(operator="leaky_relu", attributes=attributes, shapes={"x": x}))


def _elu(call: Call, x: Shape) -> Step:
    return _step(call, Question(operator="elu", attributes=Elu(alpha=call.number("alpha")), shapes={"x": x}))


def _gelu(call: Call, x: Shape) -> Step:
    tanh = call.word("approximate", ("none", "tanh")) == "tanh"
    attributes = Gelu(approximate="tanh" if tanh else "none")
    return _step(call, Question(operator="gelu", attributes=attributes, shapes={"x": x}))


def _hard_tanh(call: Call, x: Shape) -> Step:
    attributes = HardTanh(low=call.number("min_val"), high=call.number("max_val"))
    return _step(call, Question(operator="hard_tanh", attributes=attributes, shapes={"x": x}))


def _prelu(call: Call, x: Shape) -> Step:
    _channels("num_parameters", call.integer("num_parameters"), x)
    question = Question(operator="prelu", attributes=NoAttributes(), shapes={"x": x, "a": x[-1:]})
    return _step(call, question, weights=(Weight(operand="a", name="weight"),))


def _softmax(call: Call, x: Shape) -> Step:
    dim = call.arguments["dim"]
    if not isinstance(dim, int) or isinstance(dim, bool):
        raise call.fault(f"dim must be an integer, got {dim!r}")
    require(-len(x) <= dim < len(x), f"data of {len(x)} axes, batch included, has no dim {dim}")
    operator = "softmax" if call.layer == "Softmax" else "log_softmax"
    attributes = Softmax(axis=_first(len(x))[dim])
    return _step(call, Question(operator=operator, attributes=attributes, shapes={"x": x}))


def _pad(call: Call, x: Shape) -> Step:
    rank = _rank(call, x)
    kind = call.layer.removesuffix(f"Pad{rank}d")
    given = call.arguments["padding"]
    entries = given if isinstance(given, tuple) else (given,) * (2 * rank)
    numbers = [entry for entry in entries if isinstance(entry, int) and not isinstance(entry, bool)]
    if len(numbers) != 2 * rank or len(entries) != 2 * rank:
        raise call.fault(
            f"padding must be an integer or {2 * rank} of them, (low, high) of the last axis first, got {given!r}"
        )
    pads = tuple((numbers[2 * i], numbers[2 * i + 1]) for i in reversed(range(rank)))
    value = call.number("value") if kind == "Constant" else 0.0
    if min(numbers) < 0:
        if max(numbers) > 0 or kind not in ("Zero", "Constant"):
            raise call.fault(f"pads are read as all positive, or all negative, which crop, got {given!r}")
        cropping = tuple((-low, -high) for low, high in pads)
        return _step(call, Question(operator="crop", attributes=Crop(cropping=cropping), shapes={"x": x}))
    return _step(call, _padded(x, pads, _PADS.get(kind, "wrap"), value))


# The modes that weigh elements, by the number of spatial axes.
_WEIGHTED: Final = {1: ("linear",), 2: ("bilinear", "bicubic"), 3: ("trilinear",)}


def _upsample(call: Call, x: Shape) -> Step:
    rank = len(x) - 2
    require(rank in (1, 2, 3), f"it is read for one to three spatial axes; this has {rank}")
    mode = call.word("mode", ("nearest", "nearest-exact", *_WEIGHTED[rank]))
    if (call.arguments["size"] is None) == (call.arguments["scale_factor"] is None):
        raise call.fault("size or scale_factor must be given, and not both")
    call.only("recompute_scale_factor", None, False)
    if call.arguments["size"] is not None:
        size = call.sizes("size", rank)
    else:
        factors = call.sizes("scale_factor", rank)
        size = tuple(n * factor for n, factor in zip(x[1:-1], factors, strict=True))
    aligned = call.arguments["align_corners"] is True
    coordinates = "align_corners" if aligned else "half_pixel"
    if mode == "nearest":
        attributes = Resize(size=size, method="nearest", coordinates="asymmetric", rounding="floor")
    elif mode == "nearest-exact":
        attributes = Resize(size=size, method="nearest")
    elif mode != "bicubic":
        attributes = Resize(size=size, method="linear", coordinates=coordinates)  # type: ignore[arg-type]
    else:
        attributes = Resize(size=size, method="cubic", coordinates=coordinates, coefficient=-0.75)  # type: ignore[arg-type]
    return _step(call, Question(operator=f"resize{rank}d", attributes=attributes, shapes={"x": x}))


def _blocks(call: Call, x: Shape) -> Step:
    up = call.layer == "PixelShuffle"
    block = call.integer("upscale_factor" if up else "downscale_factor", 2)
    operator = "depth_to_space" if up else "space_to_depth"
    return _step(call, Question(operator=operator, attributes=Blocks(block=block, order="crd"), shapes={"x": x}))


_READERS: Final[Mapping[str, Read]] = {
    **{f"Conv{rank}d": _conv for rank in _RANKS},
    **{f"ConvTranspose{rank}d": _conv_transpose for rank in _RANKS},
    **{f"{kind}Pool{rank}d": _pool for kind in ("Max", "Avg") for rank in _RANKS},
    "AdaptiveAvgPool2d": _adaptive,
    "AdaptiveMaxPool2d": _adaptive,
    **{f"BatchNorm{rank}d": _batch_norm for rank in _RANKS},
    **{f"InstanceNorm{rank}d": _instance_norm for rank in _RANKS},
    "GroupNorm": _group_norm,
    "LayerNorm": _layer_norm,
    "Linear": _linear,
    "Flatten": _flatten,
    **dict.fromkeys(_PLAIN, _plain),
    "Identity": _idle,
    **dict.fromkeys(("Dropout", "Dropout1d", "Dropout2d", "Dropout3d"), _dropout),
    "LeakyReLU": _leaky_relu,
    "ELU": _elu,
    "GELU": _gelu,
    "Hardtanh": _hard_tanh,
    "PReLU": _prelu,
    "Softmax": _softmax,
    "LogSoftmax": _softmax,
    **{
        f"{kind}Pad{r}d": _pad
        for kind in ("Zero", "Constant", "Reflection", "Replication", "Circular")
        for r in _RANKS
    },
    "Upsample": _upsample,
    "PixelShuffle": _blocks,
    "PixelUnshuffle": _blocks,
    **loss_layers.TORCH,
    **window_layers.TORCH,
}
