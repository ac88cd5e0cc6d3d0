"""Keras's layers: `keras.layers` on channels-last data, which is the house's own order of axes."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from conformance.case.families.arrays import additions, cuts
from conformance.case.families.convolution import settled
from conformance.case.geometry import extent, nearest_places, resolve_pads, transposed_crop
from conformance.dialects import arrays, draws, dropout, losses, patches, signals, updates, windows
from conformance.dialects.model import Question, Unwritten, Weight, Written
from conformance.dialects.moves import Reshape, back, moved
from conformance.dialects.source import called, each
from conformance.dialects.statements import keras_script

_ACTIVATIONS: Final[Mapping[str, str]] = {
    "sigmoid": "sigmoid",
    "tanh": "tanh",
    "selu": "selu",
    "silu": "silu",
    "mish": "mish",
    "softplus": "softplus",
    "softsign": "softsign",
    "log_sigmoid": "log_sigmoid",
    "hard_sigmoid": "hard_sigmoid",
    "hard_swish": "hard_swish",
}


def write(question: Question) -> Written | Unwritten:
    """The layers of `keras.layers` that answer a question, or why there are none."""
    operator = question.operator
    if operator in _ACTIVATIONS:
        return Written(lines=(called("layers.Activation", _ACTIVATIONS[operator]),))
    if operator not in _WRITERS:
        return Unwritten(why=f"keras.layers has no layer that stands for {operator} here")
    return _WRITERS[operator](question)


def _pairs(pads: Sequence[tuple[int, int]]) -> object:
    """One number where all pads are alike, a pair for the one axis that there is, else pairs."""
    if len({n for pair in pads for n in pair}) == 1:
        return pads[0][0]
    return pads[0] if len(pads) == 1 else tuple(pads)


def _around(kind: str, pads: Sequence[tuple[int, int]]) -> list[str]:
    """A layer that pads or crops; none where nothing changes."""
    if not any(map(any, pads)):
        return []
    return [called(f"layers.{kind}{len(pads)}D", _pairs(pads))]


def _bias(question: Question) -> tuple[object, object]:
    return "b" in question.shapes, True


def _kernel_weights(question: Question, line: int) -> tuple[Weight, ...]:
    kernel = Weight(operand="w", name="kernel", line=line)
    return (kernel, *([Weight(operand="b", name="bias", line=line)] if "b" in question.shapes else []))


_NOT_TOGETHER: Final = Unwritten(why="Keras refuses strides together with dilations")


def _conv(question: Question) -> Written | Unwritten:
    a, x, w = question.attributes, question.shapes["x"], question.shapes["w"]
    rank = len(a.stride)
    if max(a.stride) > 1 < max(a.dilation):
        return _NOT_TOGETHER
    before: list[str] = []
    padding, remark = a.padding, ""
    if padding not in ("same", "valid"):
        pads = resolve_pads(padding, x[1:-1], w[:rank], a.stride, a.dilation)
        # SAME of strides of 1 has these pads whatever the sizes are.
        same = set(a.stride) == {1} and pads == resolve_pads("same", x[1:-1], w[:rank], a.stride, a.dilation)
        if same and any(map(any, pads)):
            padding = "same"
        elif rank == 1 and pads[0] == (extent(w[0], a.dilation[0]) - 1, 0) and any(pads[0]):
            padding = "causal"
        else:
            before, padding = _around("ZeroPadding", pads), "valid"
            remark = "Keras's convolutions have no pads of one's own, so they are a layer" if before else ""
    if rank == 2 and a.groups == x[-1] > 1 and len(set(a.stride)) == 1:
        return _depthwise(question, before, str(padding), remark)
    layer = called(
        f"layers.Conv{rank}D",
        w[-1],
        each(w[:rank]),
        strides=(each(a.stride), 1),
        padding=(padding, "valid"),
        dilation_rate=(each(a.dilation), 1),
        groups=(a.groups, 1),
        use_bias=_bias(question),
    )
    return Written(lines=(*before, layer), weights=_kernel_weights(question, len(before)), remark=remark)


def _depthwise(question: Question, before: Sequence[str], padding: str, remark: str) -> Written:
    a, x, w = question.attributes, question.shapes["x"], question.shapes["w"]
    layer = called(
        "layers.DepthwiseConv2D",
        each(w[:2]),
        strides=(each(a.stride), 1),
        padding=(padding, "valid"),
        depth_multiplier=(w[-1] // x[-1], 1),
        dilation_rate=(each(a.dilation), 1),
        use_bias=_bias(question),
    )
    kernel, *bias = _kernel_weights(question, len(before))
    moves = (Reshape(w, (*w[:2], x[-1], w[-1] // x[-1])),)
    kernel = Weight(operand="w", name="kernel", line=len(before), moves=moves)
    return Written(lines=(*before, layer), weights=(kernel, *bias), remark=remark)


def _conv_transpose(question: Question) -> Written | Unwritten:
    a, x, w = question.attributes, question.shapes["x"], question.shapes["w"]
    rank, sizes = len(a.stride), x[1:-1]
    if a.groups != 1:
        return Unwritten(why="Keras's transposed convolutions have no groups")
    if max(a.stride) > 1 < max(a.dilation):
        return _NOT_TOGETHER
    if a.pad_mode != "zeros":
        return Unwritten(why="Keras's transposed convolutions have no circular pads")
    a = settled(a, sizes, w[:rank])
    padding, output_padding, after, remark = a.padding, None, [], ""
    if padding not in ("same", "valid"):
        starts, outputs = transposed_crop(padding, sizes, w[:rank], a.stride, a.dilation, a.output_padding)
        canvas = [(n - 1) * s + extent(k, d) for n, s, k, d in zip(sizes, a.stride, w, a.dilation, strict=False)]
        longer = [max(start + size - whole, 0) for start, size, whole in zip(starts, outputs, canvas, strict=True)]
        usual = [max(s - extent(k, d), 0) for s, k, d in zip(a.stride, w, a.dilation, strict=False)]
        output_padding = each(longer) if any(m > u for m, u in zip(longer, usual, strict=True)) else None
        grown = longer if output_padding is not None else usual
        crop = [
            (start, whole + more - start - size)
            for start, size, whole, more in zip(starts, outputs, canvas, grown, strict=True)
        ]
        padding, after = "valid", _around("Cropping", crop)
        remark = "valid keeps all of the canvas; the crop is a layer of its own" if after else ""
    layer = called(
        f"layers.Conv{rank}DTranspose",
        w[-2],
        each(w[:rank]),
        strides=(each(a.stride), 1),
        padding=(padding, "valid"),
        output_padding=(output_padding, None),
        dilation_rate=(each(a.dilation), 1),
        use_bias=_bias(question),
    )
    return Written(lines=(layer, *after), weights=_kernel_weights(question, 0), remark=remark)


def _pool(question: Question) -> Written | Unwritten:
    a, sizes = question.attributes, question.shapes["x"][1:-1]
    rank = len(a.window)
    maximum = question.operator.startswith("max")
    dilation = a.dilation if maximum else (1,) * rank
    if set(dilation) != {1}:
        return Unwritten(why="Keras's pools have no dilation")
    pads = resolve_pads(a.padding, sizes, a.window, a.stride, dilation)
    same = resolve_pads("same", sizes, a.window, a.stride, dilation)
    counts = question.output[1:-1]
    before: list[str] = []
    remark = ""
    covered = [
        (low, max((count - 1) * s + k - n - low, 0))
        for count, s, k, n, (low, _) in zip(counts, a.stride, a.window, sizes, pads, strict=True)
    ]
    if not any(map(any, covered)):
        padding = "valid"
    elif (
        covered == list(same)
        and counts == tuple(-(-n // s) for n, s in zip(sizes, a.stride, strict=True))
        and (maximum or not a.count_padding)
    ):
        padding = "same"
        remark = "its windows are those of 'same' here" if a.padding != "same" else ""
    elif not maximum and a.count_padding and not a.ceil_mode:
        before, padding = _around("ZeroPadding", pads), "valid"
        remark = "pads that count are a layer of their own"
    elif maximum:
        return Unwritten(
            why="Keras's pools have 'same' and 'valid' alone, and no layer pads with what never wins; behind a ReLU, "
            f"where nothing is below 0, {called(f'layers.ZeroPadding{rank}D', _pairs(covered))} before it would do"
        )
    else:
        return Unwritten(why="Keras's average pools have 'same' and 'valid' alone, and no count of their own")
    layer = called(
        f"layers.{'Max' if maximum else 'Average'}Pooling{rank}D",
        each(a.window),
        strides=(each(a.stride), each(a.window)),
        padding=(padding, "valid"),
    )
    return Written(lines=(*before, layer), remark=remark)


def _global_pool(question: Question) -> Written:
    kind = "Average" if "average" in question.operator else "Max"
    return Written(lines=(f"layers.Global{kind}Pooling2D()",))


def _adaptive(question: Question) -> Written | Unwritten:
    sizes, size = question.shapes["x"][1:-1], question.attributes.size
    kind = "Average" if "average" in question.operator else "Max"
    if size == (1, 1):
        return Written(lines=(f"layers.Global{kind}Pooling2D(keepdims=True)",))
    if any(n % m for n, m in zip(sizes, size, strict=True)):
        name = f"layers.Adaptive{kind}Pooling2D"
        return Written(lines=(called(name, size),), remark="a layer of Keras 3.13 and later")
    window = each([n // m for n, m in zip(sizes, size, strict=True)])
    return Written(
        lines=(called(f"layers.{kind}Pooling2D", window),), remark="the sizes divide, for this input alone"
    )


def _scaled(question: Question) -> tuple[Weight, ...]:
    names = {"scale": "gamma", "offset": "beta", "mean": "moving_mean", "variance": "moving_variance"}
    return tuple(Weight(operand=name, name=names[name]) for name in question.shapes if name != "x")


def _batch_norm(question: Question) -> Written | Unwritten:
    training = question.operator == "batch_norm_training"
    if training and question.attributes.bessel:
        return Unwritten(why="Keras's running variance takes the batch's with the divisor n, not n - 1 (bessel)")
    layer = called(
        "layers.BatchNormalization",
        momentum=(question.attributes.momentum if training else 0.99, 0.99),
        epsilon=(question.attributes.epsilon, 1e-3),
        center=("offset" in question.shapes, True),
        scale=("scale" in question.shapes, True),
    )
    remark = "with the batch's statistics" if training else "with the moving statistics"
    return Written(lines=(layer,), weights=_scaled(question), remark=f"{remark}, training={training}")


def _layer_norm(question: Question) -> Written:
    axes = question.attributes.axes
    layer = called(
        "layers.LayerNormalization",
        axis=(each(axes), -1),
        epsilon=(question.attributes.epsilon, 1e-3),
        center=("offset" in question.shapes, True),
        scale=("scale" in question.shapes, True),
    )
    return Written(lines=(layer,), weights=_scaled(question))


def _group_norm(question: Question) -> Written:
    layer = called(
        "layers.GroupNormalization",
        question.attributes.groups,
        epsilon=(question.attributes.epsilon, 1e-3),
        center=("offset" in question.shapes, True),
        scale=("scale" in question.shapes, True),
    )
    return Written(lines=(layer,), weights=_scaled(question))


def _instance_norm(question: Question) -> Written:
    layer = called(
        "layers.GroupNormalization",
        -1,
        epsilon=(question.attributes.epsilon, 1e-3),
        center=("offset" in question.shapes, True),
        scale=("scale" in question.shapes, True),
    )
    return Written(lines=(layer,), weights=_scaled(question), remark="a group a channel")


def _dense(question: Question) -> Written:
    return Written(
        lines=(called("layers.Dense", question.shapes["w"][-1], use_bias=_bias(question)),),
        weights=_kernel_weights(question, 0),
    )


def _flatten(question: Question) -> Written:
    return Written(lines=("layers.Flatten()",))


def _flatten_channels_first(question: Question) -> Written:
    axes = len(question.shapes["x"]) - 1
    permuted = called("layers.Permute", (axes, *range(1, axes)))
    return Written(lines=(permuted, "layers.Flatten()"), remark="channels are laid first, as torch flattens them")


def _relu(question: Question) -> Written:
    return Written(lines=("layers.ReLU()" if question.operator == "relu" else "layers.ReLU(max_value=6.0)",))


def _softmax(question: Question) -> Written | Unwritten:
    axes = len(question.shapes["x"])
    axis = question.attributes.axis % axes
    if question.operator == "softmax":
        return Written(lines=(called("layers.Softmax", axis=(axis if axis != axes - 1 else -1, -1)),))
    if axis != axes - 1:
        return Unwritten(why="Keras's log_softmax is an activation of the last axis")
    return Written(lines=('layers.Activation("log_softmax")',))


def _leaky_relu(question: Question) -> Written:
    return Written(lines=(called("layers.LeakyReLU", question.attributes.slope),))


def _elu(question: Question) -> Written:
    return Written(lines=(called("layers.ELU", alpha=(question.attributes.alpha, 1.0)),))


def _gelu(question: Question) -> Written | Unwritten:
    if question.attributes.approximate != "none":
        return Unwritten(
            why="Keras's layers have the exact gelu; keras.activations.gelu(x, approximate=True) is a call"
        )
    return Written(lines=('layers.Activation("gelu")',))


def _hard_tanh(question: Question) -> Written | Unwritten:
    if (question.attributes.low, question.attributes.high) != (-1.0, 1.0):
        return Unwritten(why="Keras's hard_tanh ends at -1 and 1")
    return Written(lines=('layers.Activation("hard_tanh")',))


def _prelu(question: Question) -> Written:
    x = question.shapes["x"]
    shared = tuple(range(1, len(x) - 1))
    moves = (Reshape(x[-1:], (*(1 for _ in shared), x[-1])),) if shared else ()
    layer = called("layers.PReLU", shared_axes=(shared or None, None))
    return Written(lines=(layer,), weights=(Weight(operand="a", name="alpha", moves=moves),))


def _pad(question: Question) -> Written | Unwritten:
    a = question.attributes
    rank = len(a.padding) - 2
    if any(map(any, (a.padding[0], a.padding[-1]))) or rank not in (1, 2, 3):
        return Unwritten(why="Keras's layers pad one to three spatial axes")
    if a.mode != "constant" or a.value:
        return Unwritten(why="Keras's layers pad with zeros; keras.ops.pad has other modes and values")
    spatial = a.padding[1:-1]
    lines = [*_around("Cropping", cuts(spatial)), *_around("ZeroPadding", additions(spatial))]
    return Written(lines=tuple(lines) or ("layers.Identity()",))


def _resize(question: Question) -> Written | Unwritten:
    a, sizes = question.attributes, question.shapes["x"][1:-1]
    layer = f"layers.UpSampling{len(sizes)}D"
    if a.antialias or a.method == "area":
        return Unwritten(why=f"{layer} takes the elements around a coordinate, not all that is covered")
    if any(m % n for n, m in zip(sizes, a.size, strict=True)):
        return Unwritten(why=f"{layer} takes whole factors")
    factors = each([m // n for n, m in zip(sizes, a.size, strict=True)])
    if a.method == "nearest":
        repeated = [tuple(o * n // m for o in range(m)) for n, m in zip(sizes, a.size, strict=True)]
        taken = [nearest_places(n, m, a.coordinates, a.rounding) for n, m in zip(sizes, a.size, strict=True)]
        if taken != repeated:
            return Unwritten(why=f"{layer} repeats every element, which are others here")
    elif len(sizes) != 2:
        return Unwritten(why=f"{layer} repeats elements, and interpolates none")
    elif a.method == "cubic":
        return Unwritten(
            why="layers.UpSampling2D has the cubic kernel of its backend, which TensorFlow reads from a table"
        )
    elif a.coordinates != "half_pixel":
        return Unwritten(why="layers.UpSampling2D interpolates between the centres of pixels")
    method = {"nearest": "nearest", "linear": "bilinear"}[a.method]
    return Written(lines=(called(layer, factors, interpolation=(method, "nearest")),))


def _crop(question: Question) -> Written:
    return Written(lines=tuple(_around("Cropping", question.attributes.cropping)) or ("layers.Identity()",))


_WRITERS: Final[Mapping[str, Callable[[Question], Written | Unwritten]]] = {
    **{f"conv{rank}d": _conv for rank in (1, 2, 3)},
    **{f"conv{rank}d_transpose": _conv_transpose for rank in (1, 2, 3)},
    **{f"{kind}_pool{rank}d": _pool for kind in ("max", "average") for rank in (1, 2, 3)},
    "adaptive_average_pool2d": _adaptive,
    "adaptive_max_pool2d": _adaptive,
    "global_average_pool2d": _global_pool,
    "global_max_pool2d": _global_pool,
    "batch_norm": _batch_norm,
    "batch_norm_training": _batch_norm,
    "instance_norm": _instance_norm,
    "group_norm": _group_norm,
    "layer_norm": _layer_norm,
    "dense": _dense,
    "flatten": _flatten,
    "relu": _relu,
    "relu6": _relu,
    "softmax": _softmax,
    "log_softmax": _softmax,
    "leaky_relu": _leaky_relu,
    "elu": _elu,
    "gelu": _gelu,
    "hard_tanh": _hard_tanh,
    "prelu": _prelu,
    "pad": _pad,
    **{f"resize{rank}d": _resize for rank in (1, 2, 3)},
    "crop": _crop,
    "spread": lambda question: Written(lines=(called("layers.Reshape", question.output[1:]),)),
    "flatten_channels_first": _flatten_channels_first,
    "identity": lambda question: Written(lines=("layers.Identity()",)),
    **losses.KERAS,
    **dropout.KERAS,
    **arrays.KERAS,
    **windows.KERAS,
    **patches.KERAS,
    **signals.KERAS,
    **updates.KERAS,
    **draws.KERAS,
}

PRELUDE: Final = (
    "import tensorflow as tf",
    "import keras",
    "from keras import initializers, layers, losses, ops, optimizers",
)


def script(written: Written, question: Question) -> tuple[str, ...]:
    """The body of a function that asks `given`, NumPy arrays in the house's order, and makes `found` of the same.

    Gradients are there where the output has its cotangent's shape.
    """
    if written.statements:
        return keras_script(written, question)
    training = bool(question.contract.state)
    learned = [w for w in written.weights if question.contract.operand(w.operand).differentiable]
    sources = "".join(f", {_parameter(weight)}" for weight in learned)
    lines = [
        'x = tf.constant(given["x"])',
        f"stack = [{', '.join(written.lines)}]",
        "y = x",
        "for layer in stack:",
        "    y = layer(y)  # builds its parameters",
    ]
    for weight in written.weights:
        given = moved(f'given["{weight.operand}"]', weight.moves)
        lines.append(f"{_parameter(weight)}.assign({given})")
    lines += [
        "with tf.GradientTape() as tape:",
        "    tape.watch(x)",
        "    y = x",
        "    for layer in stack:",
        f"        y = layer(y, training={training}) if layer.name.startswith('batch_norm') else layer(y)",
        'found = {"output": y.numpy()}',
        *(
            f'found["{weight.operand}"] = {_parameter(weight)}.numpy()'
            for weight in written.weights
            if weight.operand in question.contract.state
        ),
        'pulled = tf.constant(given["cotangent"])',
        "if y.shape == pulled.shape:",
        f"    gradients = tape.gradient(y, [x{sources}], output_gradients=pulled, unconnected_gradients='zero')",
        '    found["gradient x"] = gradients[0].numpy()',
    ]
    for place, weight in enumerate(learned, 1):
        gradient = moved(f"gradients[{place}].numpy()", back(weight.moves))
        lines.append(f'    found["gradient {weight.operand}"] = {gradient}')
    return tuple(lines)


def _parameter(weight: Weight) -> str:
    return f"stack[{weight.line}].{weight.name}"
