"""TensorFlow's own calls: `tf.nn` on channels-last data, kernels as the house has them."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from conformance.case.families.convolution import settled
from conformance.case.geometry import Pads, covering_pads, extent, nearest_places, resolve_pads, transposed_crop
from conformance.dialects import arrays, backward, draws, dropout, losses, patches, signals, updates, windows
from conformance.dialects.model import Question, Unwritten, Weight, Written
from conformance.dialects.source import Name, called, each, rest
from conformance.dialects.statements import plain_script

_ELEMENTWISE: Final[Mapping[str, tuple[str, ...]]] = {
    "relu": ("y = tf.nn.relu(x)",),
    "sigmoid": ("y = tf.math.sigmoid(x)",),
    "tanh": ("y = tf.math.tanh(x)",),
    "relu6": ("y = tf.nn.relu6(x)",),
    "selu": ("y = tf.nn.selu(x)",),
    "silu": ("y = tf.nn.silu(x)",),
    "mish": ("y = x * tf.math.tanh(tf.math.softplus(x))",),
    "softplus": ("y = tf.math.softplus(x)",),
    "softsign": ("y = tf.nn.softsign(x)",),
    "log_sigmoid": ("y = tf.math.log_sigmoid(x)",),
    "hard_sigmoid": ("y = tf.nn.relu6(x + 3.0) / 6.0",),
    "hard_swish": ("y = x * tf.nn.relu6(x + 3.0) / 6.0",),
    "flatten": ("y = tf.reshape(x, (x.shape[0], -1))",),
    "flatten_channels_first": ("y = tf.reshape(tf.experimental.numpy.moveaxis(x, -1, 1), (x.shape[0], -1))",),
    "global_average_pool2d": ("y = tf.reduce_mean(x, axis=(1, 2))",),
    "global_max_pool2d": ("y = tf.reduce_max(x, axis=(1, 2))",),
    "identity": ("y = x",),
}
_X: Final = Name("x")
_Y: Final = Name("y")
_W: Final = Name("w")
_B: Final = Name("b")


def write(question: Question) -> Written | Unwritten:
    """Statements from `x` and the operands' names to `y`, or why there are none."""
    operator = question.operator
    if operator in _ELEMENTWISE:
        return _written(question, *_ELEMENTWISE[operator])
    if operator not in _WRITERS:
        return Unwritten(why=f"tf.nn has no call that stands for {operator} here")
    return _WRITERS[operator](question)


def _written(question: Question, *lines: str, remark: str = "") -> Written:
    if "b" in question.shapes:
        lines = (*lines, f"y = {called('tf.nn.bias_add', _Y, _B)}")
    names = [name for name in question.shapes if name != "x"]
    return Written(lines=lines, weights=tuple(Weight(operand=name, name=name) for name in names), remark=remark)


def _whole(pads: Sequence[tuple[int, int]]) -> Pads:
    return ((0, 0), *pads, (0, 0))


def _padded(name: str, pads: Sequence[tuple[int, int]], value: float = 0.0) -> list[str]:
    if not any(map(any, pads)):
        return []
    return [f"{name} = {called('tf.pad', Name(name), _whole(pads), constant_values=(value, 0.0))}"]


# On the CPU it refuses the gradients of everything else that has explicit pads.
_PADS_ALONE: Final = "TensorFlow has explicit pads for two axes, without groups and dilations"


def _conv(question: Question) -> Written:
    a, x, w = question.attributes, question.shapes["x"], question.shapes["w"]
    rank = len(a.stride)
    lines: list[str] = []
    padding: object = "VALID"
    remark = ""
    if a.padding in ("same", "valid"):
        padding = a.padding.upper()
    else:
        pads = resolve_pads(a.padding, x[1:-1], w[:rank], a.stride, a.dilation)
        if rank == 2 and a.groups == 1 and set(a.dilation) == {1}:
            padding = _whole(pads) if any(map(any, pads)) else "VALID"
        else:
            lines = _padded("x", pads)
            remark = _PADS_ALONE if lines else ""
    if rank == 3:
        if a.groups > 1:
            lines += _split(a.groups)
        call = called(
            "tf.nn.conv3d",
            Name("part" if a.groups > 1 else "x"),
            Name("kernel" if a.groups > 1 else "w"),
            strides=((1, *a.stride, 1), None),
            padding=(padding, None),
            dilations=((1, *a.dilation, 1), (1,) * 5),
        )
        lines.append(_joined(call) if a.groups > 1 else f"y = {call}")
        return _written(question, *lines, remark="tf.nn.conv3d has no groups" if a.groups > 1 else remark)
    if rank == 1:
        call = called(
            "tf.nn.conv1d", _X, _W, stride=(a.stride[0], None), padding=(padding, None), dilations=(a.dilation[0], 1)
        )
    else:
        call = called(
            "tf.nn.conv2d",
            _X,
            _W,
            strides=(each(a.stride), None),
            padding=(padding, None),
            dilations=(each(a.dilation), 1),
        )
    return _written(question, *lines, f"y = {call}", remark=remark)


def _split(groups: int) -> list[str]:
    return [f"parts = zip(tf.split(x, {groups}, axis=-1), tf.split(w, {groups}, axis=-1))"]


def _joined(call: str) -> str:
    return f"y = tf.concat([{call} for part, kernel in parts], axis=-1)"


def _conv_transpose(question: Question) -> Written | Unwritten:
    a, x, w = question.attributes, question.shapes["x"], question.shapes["w"]
    rank, sizes = len(a.stride), x[1:-1]
    if a.pad_mode != "zeros":
        return Unwritten(why="TensorFlow's transposed convolutions have no circular pads")
    a = settled(a, sizes, w[:rank])
    starts, outputs = transposed_crop(a.padding, sizes, w[:rank], a.stride, a.dilation, a.output_padding)
    canvas = [(n - 1) * s + extent(k, d) for n, s, k, d in zip(sizes, a.stride, w, a.dilation, strict=False)]
    after = [whole - start - size for whole, start, size in zip(canvas, starts, outputs, strict=True)]
    padding: object = "VALID"
    shape = tuple(outputs)
    remark = ""
    if a.padding in ("same", "valid"):
        padding = a.padding.upper()
    elif rank == 2 and set(a.dilation) == {1} and all(-end < s for end, s in zip(after, a.stride, strict=True)):
        padding = _whole([(start, max(end, 0)) for start, end in zip(starts, after, strict=True)])
    else:
        # Everything that VALID can give, then a slice of it.
        shape = tuple(
            min(max(whole, start + size), whole + s - 1)
            for whole, start, size, s in zip(canvas, starts, outputs, a.stride, strict=True)
        )
        remark = "the canvas, then the slice of it: " + _PADS_ALONE
    channels = w[-2]
    size = f"({', '.join(['x.shape[0]', *map(str, shape), str(channels)])})"
    grouped = a.groups > 1
    call = called(
        f"tf.nn.conv{rank}d_transpose",
        Name("part" if grouped else "x"),
        Name("kernel" if grouped else "w"),
        output_shape=(Name(size), None),
        strides=(each(a.stride), None),
        padding=(padding, None),
        dilations=(each(a.dilation), 1),
    )
    lines = [*_split(a.groups), _joined(call)] if grouped else [f"y = {call}"]
    if shape != tuple(outputs):
        missing = [(0, max(start + n - whole, 0)) for start, n, whole in zip(starts, outputs, shape, strict=True)]
        lines += _padded("y", missing)
        taken = ", ".join(f"{start}:{start + n}" for start, n in zip(starts, outputs, strict=True))
        lines.append(f"y = y[:, {taken}]")
    if grouped:
        remark = "TensorFlow's transposed convolutions have no groups"
    return _written(question, *lines, remark=remark)


def _max_pool(question: Question) -> Written:
    a, sizes = question.attributes, question.shapes["x"][1:-1]
    rank = len(a.window)
    dilated = set(a.dilation) != {1}
    lines: list[str] = []
    padding: object = "VALID"
    remark = ""
    if a.padding == "same" and not dilated:
        padding = "SAME"
    elif a.padding != "valid" or a.ceil_mode:
        pads = resolve_pads(a.padding, sizes, a.window, a.stride, a.dilation)
        covered = covering_pads(sizes, pads, a.window, a.stride, a.dilation, ceil_mode=True) if a.ceil_mode else pads
        if rank == 2 and not dilated:
            padding = _whole(covered) if any(map(any, covered)) else "VALID"
            remark = "what ceil_mode takes more is padded" if a.ceil_mode and padding != "VALID" else ""
        else:
            lines = _padded("x", covered, -math.inf)
            remark = "padded before, with what never wins" if lines else ""
    if not dilated:
        call = called(f"tf.nn.max_pool{rank}d", _X, each(a.window), each(a.stride), padding)
        return _written(question, *lines, f"y = {call}", remark=remark)
    call = called("tf.nn.pool", _X, a.window, "MAX", padding=(padding, None), dilations=(a.dilation, None))
    lines.append(f"y = {call}")
    if set(a.stride) != {1}:
        lines.append(f"y = y[:, {', '.join(f'::{s}' for s in a.stride)}]")
        remark = "tf.nn.pool takes dilations without strides, so every stride's window is picked"
    return _written(question, *lines, remark=remark)


def _average_pool(question: Question) -> Written:
    a, sizes = question.attributes, question.shapes["x"][1:-1]
    rank, ones = len(a.window), (1,) * len(a.window)
    function = f"tf.nn.avg_pool{rank}d"
    tail = (each(a.window), each(a.stride))
    if (a.padding == "same" and not a.count_padding) or (a.padding == "valid" and not a.ceil_mode):
        return _written(question, f"y = {called(function, _X, *tail, a.padding.upper())}")
    pads = resolve_pads(a.padding, sizes, a.window, a.stride, ones)
    covered = covering_pads(sizes, pads, a.window, a.stride, ones, ceil_mode=True) if a.ceil_mode else pads
    mean = called(function, Name("t"), *tail, "VALID")
    start = ["t = x", *_padded("t", covered)]
    if a.count_padding:
        inside = [(low, min(high, end)) for (low, high), (_, end) in zip(pads, covered, strict=True)]
        over = [(0, end - high) for (_, end), (_, high) in zip(covered, inside, strict=True)]
        if not any(map(any, over)):
            return _written(question, *start, f"y = {mean}", remark="pads that count are padded before")
        counted = ["n = tf.ones_like(x)", *_padded("n", inside, 1.0), *_padded("n", over)]
    else:
        counted = ["n = tf.ones_like(x)", *_padded("n", covered)]
    share = called(function, Name("n"), *tail, "VALID")
    remark = "the mean over the padded input, divided by the share of elements that count"
    return _written(question, *start, *counted, f"y = {mean} / {share}", remark=remark)


def _dense(question: Question) -> Written:
    product = "tf.matmul(x, w)" if len(question.shapes["x"]) == 2 else "tf.tensordot(x, w, axes=1)"
    return _written(question, f"y = {product}")


def _pad(question: Question) -> Written | Unwritten:
    a = question.attributes
    if any(min(pair) < 0 for pair in a.padding):
        return Unwritten(why="tf.pad cuts nothing off; slice first")
    if a.mode == "constant":
        return _written(question, f"y = {called('tf.pad', _X, a.padding, constant_values=(a.value, 0.0))}")
    if a.mode not in ("reflect", "symmetric"):
        return Unwritten(why=f"tf.pad has no mode {a.mode}")
    return _written(question, f"y = {called('tf.pad', _X, a.padding, mode=(a.mode.upper(), ''))}")


def _softmax(question: Question) -> Written:
    name = f"tf.nn.{question.operator}"
    return _written(question, f"y = {called(name, _X, axis=(question.attributes.axis, -1))}")


def _leaky_relu(question: Question) -> Written:
    return _written(question, f"y = {called('tf.nn.leaky_relu', _X, alpha=(question.attributes.slope, None))}")


def _elu(question: Question) -> Written:
    alpha = question.attributes.alpha
    if alpha == 1.0:
        return _written(question, "y = tf.nn.elu(x)")
    return _written(question, f"y = tf.where(x > 0, x, {alpha!r} * tf.nn.elu(x))", remark="tf.nn.elu has no alpha")


def _gelu(question: Question) -> Written:
    tanh = question.attributes.approximate == "tanh"
    return _written(question, f"y = {called('tf.nn.gelu', _X, approximate=(tanh, False))}")


def _hard_tanh(question: Question) -> Written:
    return _written(question, f"y = tf.clip_by_value(x, {question.attributes.low!r}, {question.attributes.high!r})")


def _prelu(question: Question) -> Written:
    return _written(question, "y = tf.where(x > 0, x, a * x)")


def _batch_norm(question: Question) -> Written:
    there = question.shapes
    names = [Name(name if name in there else "None") for name in ("offset", "scale")]
    call = called(
        "tf.nn.batch_normalization",
        _X,
        Name("mean"),
        Name("variance"),
        *names,
        variance_epsilon=(question.attributes.epsilon, None),
    )
    return _written(question, f"y = {call}")


def _batch_norm_training(question: Question) -> Written:
    a, x, there = question.attributes, question.shapes["x"], question.shapes
    names = [Name(name if name in there else "None") for name in ("offset", "scale")]
    call = called("tf.nn.batch_normalization", _X, Name("m"), Name("v"), *names, variance_epsilon=(a.epsilon, None))
    share = f"{rest(a.momentum)} * v" + (" * n / (n - 1)" if a.bessel else "")
    return _written(
        question,
        f"m, v = tf.nn.moments(x, axes={list(range(len(x) - 1))})",
        f"y = {call}",
        *(["n = x.shape.num_elements() // x.shape[-1]"] if a.bessel else []),
        f"mean = {a.momentum!r} * mean + {rest(a.momentum)} * m",
        f"variance = {a.momentum!r} * variance + {share}",
        remark="tf.nn keeps no running statistics",
    )


def _indexed_pool(question: Question) -> Written | Unwritten:
    a, channels = question.attributes, question.shapes["x"][-1]
    if a.indexed not in ("image", "images", "plane"):
        return Unwritten(why="TensorFlow's indices count pixels with their channels (image, images)")
    if a.padding not in ("same", "valid") or a.ceil_mode or set(a.dilation) != {1}:
        return Unwritten(why="tf.nn.max_pool_with_argmax has SAME and VALID alone, and no dilation")
    flat = len(a.window) == 1
    call = called(
        "tf.nn.max_pool_with_argmax",
        Name("x[:, None]" if flat else "x"),
        (1, *a.window) if flat else each(a.window),
        (1, *a.stride) if flat else each(a.stride),
        a.padding.upper(),
        include_batch_in_index=(a.indexed == "images", False),
    )
    lines, remarks = [f"y, indices = {call}"], []
    if flat:
        lines.append("y, indices = y[:, 0], indices[:, 0]")
        remarks.append("TensorFlow tells the indices of two spatial axes alone")
    if a.indexed == "plane":
        lines.append(f"indices = indices // {channels}")
        remarks.append("TensorFlow's indices count pixels with their channels")
    return _written(question, *lines, remark="; ".join(remarks))


def _affine(question: Question) -> list[str]:
    return [
        line for name, line in (("scale", "y = y * scale"), ("offset", "y = y + offset")) if name in question.shapes
    ]


def _standardized(axes: Sequence[int], epsilon: float, name: str) -> list[str]:
    return [
        f"mean, variance = tf.nn.moments({name}, axes={list(axes)}, keepdims=True)",
        f"y = ({name} - mean) * tf.math.rsqrt(variance + {epsilon!r})",
    ]


def _layer_norm(question: Question) -> Written | Unwritten:
    x, a = question.shapes["x"], question.attributes
    axes = [axis % len(x) for axis in a.axes]
    lines = _standardized(axes, a.epsilon, "x")
    if len(question.shapes) > 1 and axes != list(range(axes[0], len(x))):
        return Unwritten(
            why=f"scale and offset of the axes {tuple(axes)} are not the last ones, so they do not broadcast"
        )
    return _written(question, *lines, *_affine(question), remark="TensorFlow has moments, no layer norm")


def _group_norm(question: Question) -> Written:
    x, a = question.shapes["x"], question.attributes
    groups = a.groups if question.operator == "group_norm" else x[-1]
    axes = [*range(1, len(x) - 1), len(x)]
    return _written(
        question,
        f"t = tf.reshape(x, (*x.shape[:-1], {groups}, {x[-1] // groups}))",
        *_standardized(axes, a.epsilon, "t"),
        "y = tf.reshape(y, x.shape)",
        *_affine(question),
        remark="TensorFlow has moments, no norm of groups",
    )


def _resize(question: Question) -> Written | Unwritten:
    a, sizes = question.attributes, question.shapes["x"][1:-1]
    if a.antialias or a.method == "area":
        own = a.cover == "share" if a.method == "area" else a.edge == "renormalize" and a.coefficient == -0.5
        if not own:
            return Unwritten(why="tf.image.resize weighs by shares, and renormalizes weights of -0.5 that it widens")
        method = {"linear": "bilinear", "cubic": "bicubic", "area": "area"}[a.method]
        more: dict[str, tuple[object, object]] = {"antialias": (a.antialias, False)}
        return _resized(question, "tf.image.resize", method=(method, "bilinear"), **more)
    if a.method == "cubic":
        return Unwritten(
            why="tf.image.resize reads its cubic weights from a table, which is no cubic kernel to the last bits"
        )
    # Looking elsewhere than at the centres of pixels is left to TensorFlow 1's functions.
    coordinates = a.coordinates
    if a.method == "nearest":
        taken, *own = (
            [nearest_places(n, m, *how) for n, m in zip(sizes, a.size, strict=True)]
            for how in ((a.coordinates, a.rounding), *_NEAREST.values())
        )
        if taken not in own:
            return Unwritten(why="TensorFlow takes other nearest elements, in any of its ways")
        coordinates = list(_NEAREST)[own.index(taken)]
    method = {"nearest": "nearest", "linear": "bilinear"}[a.method]
    if coordinates == "half_pixel":
        return _resized(question, "tf.image.resize", method=(method, "bilinear"))
    name = {"nearest": "resize_nearest_neighbor", "linear": "resize_bilinear"}[a.method]
    return _resized(question, f"tf.compat.v1.image.{name}", align_corners=(coordinates == "align_corners", False))


# How TensorFlow finds the nearest elements: by `tf.image.resize`, and by the functions that it had before.
_NEAREST: Final = {
    "half_pixel": ("half_pixel", "half_up"),
    "asymmetric": ("asymmetric", "floor"),
    "align_corners": ("align_corners", "half_up"),
}


def _resized(question: Question, name: str, **settings: tuple[object, object]) -> Written:
    """By a function of images of two axes: others are laid so that their further axes stay."""
    a, sizes, channels = question.attributes, question.shapes["x"][1:-1], question.shapes["x"][-1]

    def call(array: str, size: tuple[int, ...]) -> str:
        return called(name, Name(array), size, **settings)

    own = name == "tf.image.resize"
    remark = "" if own else "tf.image.resize looks at the centres of pixels alone, TensorFlow 1's function does not"
    if len(sizes) == 2:
        return _written(question, f"y = {call('x', a.size)}", remark=remark)
    remark = remark or "tf.image.resize takes images of two axes"
    if len(sizes) == 1:
        return _written(question, f"y = {call('x[:, :, None]', (*a.size, 1))}[:, :, 0]", remark=remark)
    (slices, *sides), pixels = sizes, math.prod(sizes[1:])
    return _written(
        question,
        f"t = tf.reshape(x, (-1, {slices}, {pixels}, {channels}))",
        f"t = {call('t', (a.size[0], pixels))}",
        f"t = tf.reshape(t, (-1, {', '.join(map(str, (*sides, channels)))}))",
        f"t = {call('t', a.size[1:])}",
        f"y = tf.reshape(t, (-1, {', '.join(map(str, (*a.size, channels)))}))",
        remark=f"{remark}: the slices first, then their rows and columns",
    )


def _adaptive(question: Question) -> Written | Unwritten:
    sizes, size = question.shapes["x"][1:-1], question.attributes.size
    if any(n % m for n, m in zip(sizes, size, strict=True)):
        return Unwritten(why="TensorFlow has no adaptive pools, and the sizes do not divide")
    window = each([n // m for n, m in zip(sizes, size, strict=True)])
    kind = "avg" if "average" in question.operator else "max"
    call = called(f"tf.nn.{kind}_pool2d", _X, window, window, "VALID")
    return _written(question, f"y = {call}", remark="the sizes divide, for this input alone")


def _crop(question: Question) -> Written:
    sizes = question.shapes["x"][1:-1]
    kept = (f"{low}:{n - high}" for n, (low, high) in zip(sizes, question.attributes.cropping, strict=True))
    return _written(question, f"y = x[:, {', '.join(kept)}]")


_WRITERS: Final[Mapping[str, Callable[[Question], Written | Unwritten]]] = {
    **{f"conv{rank}d": _conv for rank in (1, 2, 3)},
    **{f"conv{rank}d_transpose": _conv_transpose for rank in (1, 2, 3)},
    **{f"max_pool{rank}d": _max_pool for rank in (1, 2, 3)},
    **{f"average_pool{rank}d": _average_pool for rank in (1, 2, 3)},
    "adaptive_average_pool2d": _adaptive,
    "adaptive_max_pool2d": _adaptive,
    "dense": _dense,
    "pad": _pad,
    "softmax": _softmax,
    "log_softmax": _softmax,
    "leaky_relu": _leaky_relu,
    "elu": _elu,
    "gelu": _gelu,
    "hard_tanh": _hard_tanh,
    "prelu": _prelu,
    "batch_norm": _batch_norm,
    "batch_norm_training": _batch_norm_training,
    "max_pool1d_with_indices": _indexed_pool,
    "max_pool2d_with_indices": _indexed_pool,
    "layer_norm": _layer_norm,
    "group_norm": _group_norm,
    "instance_norm": _group_norm,
    **{f"resize{rank}d": _resize for rank in (1, 2, 3)},
    "crop": _crop,
    "spread": lambda question: _written(question, f"y = tf.reshape(x, {(-1, *question.output[1:])})"),
    "fold": patches.folded("tf", "tf.reshape(tf.eye({}), {})", "TensorFlow has no fold", _conv_transpose),
    **losses.TENSORFLOW,
    **dropout.TENSORFLOW,
    **arrays.TENSORFLOW,
    **windows.TENSORFLOW,
    **patches.TENSORFLOW,
    **signals.TENSORFLOW,
    **backward.TENSORFLOW,
    **updates.TENSORFLOW,
    **draws.TENSORFLOW,
}

PRELUDE: Final = ("import tensorflow as tf",)


def script(written: Written, question: Question) -> tuple[str, ...]:
    """The body of a function that asks `given`, NumPy arrays in the house's order, and makes `found` of the same.

    Gradients are there where the output has its cotangent's shape.
    """
    if not question.learned:
        return plain_script(written, question, "tf")
    names, sources = tuple(question.shapes), question.learned
    lines = [
        *(["training = False"] if question.operator == "drop" else []),
        *(f'{name} = tf.constant(given["{name}"])' for name in names),
        f"sources = [{', '.join(sources)}]",
        "with tf.GradientTape() as tape:",
        "    tape.watch(sources)",
        *(f"    {line}" for line in written.lines),
        'found = {"output": y.numpy()}',
        *(f'found["{name}"] = {name}.numpy()' for name in question.contract.state),
        'pulled = tf.constant(given["cotangent"])',
        "gradients = ()",
        "try:",
        "    if y.shape == pulled.shape:",
        "        gradients = tape.gradient(y, sources, output_gradients=pulled, unconnected_gradients='zero')",
        "except LookupError as error:  # some of TensorFlow's own kernels have no gradient",
        '    found["no gradients"] = np.array(f"{type(error).__name__}: {error}")',
        f"for name, gradient in zip({sources!r}, gradients):",
        '    found[f"gradient {name}"] = gradient.numpy()',
    ]
    return tuple(lines)
