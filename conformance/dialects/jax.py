"""JAX's own calls: `lax`, `jnp` and `jax.nn` on channels-last data, kernels as the house has them."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from conformance.case.families.convolution import settled
from conformance.case.geometry import Pads, covering_pads, extent, nearest_places, resolve_pads, transposed_crop
from conformance.dialects import arrays, backward, draws, dropout, losses, patches, signals, updates, windows
from conformance.dialects.model import Question, Unwritten, Weight, Written
from conformance.dialects.source import Name, called, rest
from conformance.dialects.statements import plain_script

_ELEMENTWISE: Final[Mapping[str, str]] = {
    "relu": "jax.nn.relu(x)",
    "sigmoid": "jax.nn.sigmoid(x)",
    "tanh": "jnp.tanh(x)",
    "relu6": "jax.nn.relu6(x)",
    "selu": "jax.nn.selu(x)",
    "silu": "jax.nn.silu(x)",
    "mish": "jax.nn.mish(x)",
    "softplus": "jax.nn.softplus(x)",
    "softsign": "jax.nn.soft_sign(x)",
    "log_sigmoid": "jax.nn.log_sigmoid(x)",
    "hard_sigmoid": "jax.nn.hard_sigmoid(x)",
    "hard_swish": "jax.nn.hard_swish(x)",
    "flatten": "x.reshape(x.shape[0], -1)",
    "flatten_channels_first": "jnp.moveaxis(x, -1, 1).reshape(x.shape[0], -1)",
    "global_average_pool2d": "jnp.mean(x, axis=(1, 2))",
    "global_max_pool2d": "jnp.max(x, axis=(1, 2))",
    "identity": "x",
}
_DIMENSIONS: Final = {
    1: ("NWC", "WIO", "NWC"),
    2: ("NHWC", "HWIO", "NHWC"),
    3: ("NDHWC", "DHWIO", "NDHWC"),
}
_X: Final = Name("x")
_W: Final = Name("w")


def write(question: Question) -> Written | Unwritten:
    """Statements from `x` and the operands' names to `y`, or why there are none."""
    operator = question.operator
    if operator in _ELEMENTWISE:
        return _written(question, f"y = {_ELEMENTWISE[operator]}")
    if operator not in _WRITERS:
        return Unwritten(why=f"JAX has no call that stands for {operator} here")
    return _WRITERS[operator](question)


def _written(question: Question, *lines: str, remark: str = "") -> Written:
    if "b" in question.shapes:
        lines = (*lines, "y = y + b")
    names = [name for name in question.shapes if name != "x"]
    return Written(lines=lines, weights=tuple(Weight(operand=name, name=name) for name in names), remark=remark)


def _whole(pads: Sequence[tuple[int, int]]) -> Pads:
    return ((0, 0), *pads, (0, 0))


def _padding(padding: object) -> object:
    """SAME and its kin are JAX's own, by the same names."""
    return padding.upper() if isinstance(padding, str) else padding


def _conv(question: Question) -> Written:
    a = question.attributes
    rank = len(a.stride)
    call = called(
        "lax.conv_general_dilated",
        _X,
        _W,
        window_strides=(a.stride, None),
        padding=(_padding(a.padding), None),
        rhs_dilation=(a.dilation, (1,) * rank),
        dimension_numbers=(_DIMENSIONS[rank], None),
        feature_group_count=(a.groups, 1),
    )
    return _written(question, f"y = {call}")


def _conv_transpose(question: Question) -> Written | Unwritten:
    a, x, w = question.attributes, question.shapes["x"], question.shapes["w"]
    rank, ones = len(a.stride), (1,) * len(a.stride)
    if a.pad_mode != "zeros":
        return Unwritten(why="JAX's transposed convolutions have no circular pads")
    a = settled(a, x[1:-1], w[:rank])
    starts, outputs = transposed_crop(a.padding, x[1:-1], w[:rank], a.stride, a.dilation, a.output_padding)
    spans = [extent(k, d) for k, d in zip(w[:rank], a.dilation, strict=True)]
    # Pads of the convolution that runs over the input with its strides between.
    pads = tuple(
        (span - 1 - start, start + size - 1 - (n - 1) * s)
        for span, start, size, n, s in zip(spans, starts, outputs, x[1:-1], a.stride, strict=True)
    )
    if a.groups == 1:
        call = called(
            "lax.conv_transpose",
            _X,
            _W,
            strides=(a.stride, None),
            padding=(_padding(a.padding) if a.padding in ("same", "valid") else pads, None),
            rhs_dilation=(a.dilation, ones),
            dimension_numbers=(_DIMENSIONS[rank], None),
            transpose_kernel=(True, False),
        )
        remark = (
            "" if a.padding in ("same", "valid") else "pads of the convolution over the input with strides between"
        )
        return _written(question, f"y = {call}", remark=remark)
    outside, inside, groups = w[-2], w[-1] // a.groups, a.groups
    # (out / groups, in) of the kernel as (in / groups, out), group by group.
    order = ", ".join(map(str, (*range(rank), rank + 2, rank + 1, rank)))
    before = ", ".join(map(str, (*w[:rank], outside, groups, inside)))
    after = ", ".join(map(str, (*w[:rank], inside, groups * outside)))
    axes = ", ".join(map(str, range(rank))) + ("," if rank == 1 else "")
    call = called(
        "lax.conv_general_dilated",
        _X,
        Name("k"),
        window_strides=(ones, None),
        padding=(pads, None),
        lhs_dilation=(a.stride, ones),
        rhs_dilation=(a.dilation, ones),
        dimension_numbers=(_DIMENSIONS[rank], None),
        feature_group_count=(groups, 1),
    )
    return _written(
        question,
        f"k = jnp.flip(w, ({axes})).reshape({before}).transpose({order}).reshape({after})",
        f"y = {call}",
        remark="lax.conv_transpose has no groups: the flipped kernel over the input with strides between",
    )


def _windows(question: Question, dilation: Sequence[int]) -> tuple[object, Pads, Pads]:
    """JAX's padding; in ceil mode also its parts: the pads, and what the last window hangs over their end."""
    a, sizes = question.attributes, question.shapes["x"][1:-1]
    none: Pads = ((0, 0),) * len(sizes)
    if not a.ceil_mode:
        return a.padding.upper() if isinstance(a.padding, str) else _whole(a.padding), none, none
    pads = resolve_pads(a.padding, sizes, a.window, a.stride, dilation)
    covered = covering_pads(sizes, pads, a.window, a.stride, dilation, ceil_mode=True)
    over = tuple((0, max(end - high, 0)) for (_, end), (_, high) in zip(covered, pads, strict=True))
    return _whole([(low, high + more) for (low, high), (_, more) in zip(pads, over, strict=True)]), pads, over


def _max_pool(question: Question) -> Written:
    a = question.attributes
    padding, _, _ = _windows(question, a.dilation)
    ones = (1,) * (len(a.window) + 2)
    call = called(
        "lax.reduce_window",
        _X,
        Name("-jnp.inf"),
        Name("lax.max"),
        (1, *a.window, 1),
        (1, *a.stride, 1),
        padding,
        window_dilation=((1, *a.dilation, 1), ones),
    )
    return _written(question, f"y = {call}", remark="what ceil_mode takes more is padded" if a.ceil_mode else "")


# What the places of a window's elements count, by the shape of all of them.
_PLACES: Final[Mapping[str, str]] = {
    "plane": "jnp.arange({plane}).reshape(1, {sizes}, 1)",
    "image": "jnp.arange({image}).reshape(1, {sizes}, {channels})",
    "images": "jnp.arange(x.size).reshape(x.shape)",
    "planes": "jnp.moveaxis(jnp.arange(x.size).reshape(-1, {channels}, {sizes}), 1, -1)",
}


def _indexed_pool(question: Question) -> Written | Unwritten:
    a, (_, *sizes, channels) = question.attributes, question.shapes["x"]
    if a.indexed not in _PLACES:
        return Unwritten(why="places are written row after row, as JAX's arrays lie")
    maxima, plane = _max_pool(question), math.prod(sizes)
    places = _PLACES[a.indexed].format(
        plane=plane, image=plane * channels, channels=channels, sizes=", ".join(map(str, sizes))
    )
    (call,) = maxima.lines
    windows = call.removeprefix("y = lax.reduce_window(x, -jnp.inf, lax.max, ")
    return _written(
        question,
        *maxima.lines,
        f"places = jnp.broadcast_to({places}, x.shape)",
        "def first(a, b):",
        "    wins = (b[0] > a[0]) | ((b[0] == a[0]) & (b[1] < a[1]))",
        "    return jnp.where(wins, b[0], a[0]), jnp.where(wins, b[1], a[1])",
        f"_, indices = lax.reduce_window((lax.stop_gradient(x), places), (-jnp.inf, x.size), first, {windows}",
        remark="JAX's windows tell no indices: they are taken along, and the first of equal maxima wins",
    )


def _average_pool(question: Question) -> Written:
    a = question.attributes
    padding, pads, over = _windows(question, (1,) * len(a.window))

    def total(name: str, padding: object) -> str:
        window, stride = (1, *a.window, 1), (1, *a.stride, 1)
        return called("lax.reduce_window", Name(name), 0.0, Name("lax.add"), window, stride, padding)

    if not any(map(any, over)) and (a.count_padding or a.padding == "valid"):
        return _written(
            question, f"y = {total('x', padding)} / {math.prod(a.window)}", remark="JAX has sums of windows"
        )
    lines = ["n = jnp.ones((1, *x.shape[1:-1], 1), x.dtype)"]
    inside = padding
    if a.count_padding:
        lines.append(f"n = {called('jnp.pad', Name('n'), _whole(pads), constant_values=(1.0, 0.0))}")
        inside = _whole(over)
    remark = "JAX has sums of windows; divided by how many elements count"
    return _written(question, *lines, f"y = {total('x', padding)} / {total('n', inside)}", remark=remark)


def _dense(question: Question) -> Written:
    return _written(question, "y = x @ w")


def _pad(question: Question) -> Written | Unwritten:
    a = question.attributes
    if any(min(pair) < 0 for pair in a.padding):
        if a.mode != "constant":
            return Unwritten(why="jnp.pad cuts nothing off, and lax.pad has constants alone")
        pads = tuple((low, high, 0) for low, high in a.padding)
        return _written(question, f"y = lax.pad(x, jnp.array({a.value!r}, x.dtype), {pads})")
    mode = (a.mode, "constant")
    return _written(question, f"y = {called('jnp.pad', _X, a.padding, mode=mode, constant_values=(a.value, 0.0))}")


def _softmax(question: Question) -> Written:
    return _written(question, f"y = {called(f'jax.nn.{question.operator}', _X, axis=(question.attributes.axis, -1))}")


def _leaky_relu(question: Question) -> Written:
    return _written(
        question, f"y = {called('jax.nn.leaky_relu', _X, negative_slope=(question.attributes.slope, None))}"
    )


def _elu(question: Question) -> Written:
    return _written(question, f"y = {called('jax.nn.elu', _X, alpha=(question.attributes.alpha, 1.0))}")


def _gelu(question: Question) -> Written:
    tanh = question.attributes.approximate == "tanh"
    return _written(question, f"y = {called('jax.nn.gelu', _X, approximate=(tanh, None))}")


def _hard_tanh(question: Question) -> Written:
    return _written(question, f"y = jnp.clip(x, {question.attributes.low!r}, {question.attributes.high!r})")


def _prelu(question: Question) -> Written:
    return _written(question, "y = jnp.where(x > 0, x, a * x)")


def _affine(question: Question) -> list[str]:
    return [
        line for name, line in (("scale", "y = y * scale"), ("offset", "y = y + offset")) if name in question.shapes
    ]


def _batch_norm(question: Question) -> Written:
    line = f"y = (x - mean) * lax.rsqrt(variance + {question.attributes.epsilon!r})"
    return _written(question, line, *_affine(question), remark="JAX has no batch norm")


def _batch_norm_training(question: Question) -> Written:
    a, x = question.attributes, question.shapes["x"]
    axes = tuple(range(len(x) - 1))
    share = f"{rest(a.momentum)} * v" + (" * n / (n - 1)" if a.bessel else "")
    return _written(
        question,
        f"m, v = jnp.mean(x, axis={axes}), jnp.var(x, axis={axes})",
        f"y = (x - m) * lax.rsqrt(v + {a.epsilon!r})",
        *_affine(question),
        *(["n = x.size // x.shape[-1]"] if a.bessel else []),
        f"mean = {a.momentum!r} * mean + {rest(a.momentum)} * m",
        f"variance = {a.momentum!r} * variance + {share}",
        remark="JAX has no batch norm",
    )


def _standardized(axes: Sequence[int], epsilon: float, name: str) -> list[str]:
    given = f"{name}, axis={tuple(axes)}, keepdims=True"
    return [f"y = ({name} - jnp.mean({given})) * lax.rsqrt(jnp.var({given}) + {epsilon!r})"]


def _layer_norm(question: Question) -> Written | Unwritten:
    x, a = question.shapes["x"], question.attributes
    axes = [axis % len(x) for axis in a.axes]
    if len(question.shapes) > 1 and axes != list(range(axes[0], len(x))):
        return Unwritten(
            why=f"scale and offset of the axes {tuple(axes)} are not the last ones, so they do not broadcast"
        )
    lines = _standardized(axes, a.epsilon, "x")
    return _written(question, *lines, *_affine(question), remark="JAX has no layer norm")


def _group_norm(question: Question) -> Written:
    x, a = question.shapes["x"], question.attributes
    groups = a.groups if question.operator == "group_norm" else x[-1]
    axes = [*range(1, len(x) - 1), len(x)]
    return _written(
        question,
        f"t = x.reshape(*x.shape[:-1], {groups}, {x[-1] // groups})",
        *_standardized(axes, a.epsilon, "t"),
        "y = y.reshape(x.shape)",
        *_affine(question),
        remark="JAX has no norm of groups",
    )


def _resize(question: Question) -> Written | Unwritten:
    a, x = question.attributes, question.shapes["x"]
    if a.method == "nearest":
        taken, own = (
            [nearest_places(n, m, *how) for n, m in zip(x[1:-1], a.size, strict=True)]
            for how in ((a.coordinates, a.rounding), ("half_pixel", "half_up"))
        )
        fits = taken == own
    elif a.method == "area":
        fits = a.cover == "share"
    elif a.method == "linear":
        fits = a.coordinates == "half_pixel" and (not a.antialias or a.edge == "renormalize")
    else:
        fits = a.coordinates == "half_pixel" and (a.coefficient, a.edge) == (-0.5, "renormalize")
    if not fits:
        return Unwritten(why=f"jax.image.resize is {a.method} by the centres of pixels alone")
    shape = Name(f"(x.shape[0], {', '.join(map(str, a.size))}, {x[-1]})")
    call = called("jax.image.resize", _X, shape, a.method, antialias=(a.antialias or a.method == "area", True))
    return _written(question, f"y = {call}")


def _blocks(question: Question) -> Written:
    (_, height, width, channels), block = question.shapes["x"], question.attributes.block
    crd = question.attributes.order == "crd"
    if question.operator == "depth_to_space":
        kept = channels // block**2
        split = (height, width, *((kept, block, block) if crd else (block, block, kept)))
        axes = (0, 1, 4, 2, 5, 3) if crd else (0, 1, 3, 2, 4, 5)
        final = (height * block, width * block, kept)
    else:
        split = (height // block, block, width // block, block, channels)
        axes = (0, 1, 3, 5, 2, 4) if crd else (0, 1, 3, 2, 4, 5)
        final = (height // block, width // block, channels * block**2)
    sizes = ", ".join(map(str, split))
    order = ", ".join(map(str, axes))
    after = ", ".join(map(str, final))
    line = f"y = x.reshape(-1, {sizes}).transpose({order}).reshape(-1, {after})"
    return _written(question, line, remark=f"JAX has no {question.operator}")


def _adaptive(question: Question) -> Written | Unwritten:
    sizes, size = question.shapes["x"][1:-1], question.attributes.size
    if any(n % m for n, m in zip(sizes, size, strict=True)):
        return Unwritten(why="JAX has no adaptive pools, and the sizes do not divide")
    (high, wide), (rows, columns) = size, (n // m for n, m in zip(sizes, size, strict=True))
    kind = "mean" if "average" in question.operator else "max"
    line = f"y = jnp.{kind}(x.reshape(-1, {high}, {rows}, {wide}, {columns}, x.shape[-1]), axis=(2, 4))"
    return _written(question, line, remark="the sizes divide, for this input alone")


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
    "layer_norm": _layer_norm,
    "group_norm": _group_norm,
    "instance_norm": _group_norm,
    **{f"resize{rank}d": _resize for rank in (1, 2, 3)},
    "depth_to_space": _blocks,
    "space_to_depth": _blocks,
    "crop": _crop,
    "spread": lambda question: _written(question, f"y = x.reshape{(-1, *question.output[1:])}"),
    **{f"max_pool{rank}d_with_indices": _indexed_pool for rank in (1, 2, 3)},
    "fold": patches.folded("jax", "jnp.reshape(jnp.eye({}), {})", "JAX has no fold", _conv_transpose),
    **losses.JAX,
    **dropout.JAX,
    **arrays.JAX,
    **windows.JAX,
    **patches.JAX,
    **signals.JAX,
    **backward.JAX,
    **updates.JAX,
    **draws.JAX,
}

PRELUDE: Final = ("import jax", "import jax.numpy as jnp", "from jax import lax")


def script(written: Written, question: Question) -> tuple[str, ...]:
    """The body of a function that asks `given`, NumPy arrays in the house's order, and makes `found` of the same.

    Gradients are there where the output has its cotangent's shape.
    """
    if not question.learned:
        return plain_script(written, question, "jax")
    names, sources = tuple(question.shapes), question.learned
    wanted, kept = ", ".join(sources), ", ".join(f"{name}={name}" for name in sources)
    state = f"dict({', '.join(f'{name}={name}' for name in question.contract.state)})"
    lines = [
        *(["training = False"] if question.operator == "drop" else []),
        *(f'{name} = jnp.asarray(given["{name}"])' for name in names),
        f"def forward({', '.join(f'{name}={name}' for name in names)}):",
        *(f"    {line}" for line in written.lines),
        f"    return y, {state}",
        "output, state = forward()",
        'found = {name: np.asarray(value) for name, value in {"output": output, **state}.items()}',
        'pulled = jnp.asarray(given["cotangent"])',
        "try:",
        f"    _, pull, _ = jax.vjp(lambda {wanted}: forward({kept}), {wanted}, has_aux=True)",
        "    gradients = pull(pulled) if output.shape == pulled.shape else ()",
        "except NotImplementedError as error:  # some of JAX's functions have no gradient",
        "    gradients = ()",
        '    found["no gradients"] = np.array(f"{type(error).__name__}: {error}")',
        f"for name, gradient in zip({sources!r}, gradients):",
        '    found[f"gradient {name}"] = np.asarray(gradient)',
    ]
    return tuple(lines)
