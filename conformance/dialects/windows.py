"""What windows do beside the ordinary pools, as statements: norms, responses of neighbouring channels, unpooling."""

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from conformance.case.geometry import Pads, resolve_pads
from conformance.dialects.model import Question, Unwritten, Writer, Written
from conformance.dialects.source import Name, called, each
from conformance.dialects.statements import stated

_X: Final = Name("x")


def torch_pad(pads: Sequence[tuple[int, int]]) -> str:
    """Torch's layer of zeros around, of the last axis first."""
    return called(f"nn.ZeroPad{len(pads)}d", each([n for pair in reversed(pads) for n in pair]))


def whole(pads: Sequence[tuple[int, int]]) -> Pads:
    """Pads of spatial axes as those of all axes."""
    return ((0, 0), *pads, (0, 0))


# Responses of neighbouring channels ---------------------------------------------------------------------------------


def _ends(question: Question) -> tuple[int, int]:
    """How many channels of a window lie before its own and behind it."""
    a = question.attributes
    smaller, larger = (a.size - 1) // 2, a.size // 2
    return (larger, smaller) if a.extra == "low" else (smaller, larger)


def _share(question: Question, *, of: str) -> float:
    """Alpha, for a framework that multiplies the `sum` or the `mean` by it."""
    a = question.attributes
    if a.alpha_of == of:
        return float(a.alpha)
    return float(a.alpha / a.size if of == "sum" else a.alpha * a.size)


def _torch_responses(question: Question) -> Written:
    a = question.attributes
    alpha = _share(question, of="mean")
    layer = called("nn.LocalResponseNorm", a.size, alpha=(alpha, 1e-4), beta=(a.beta, 0.75), k=(float(a.bias), 1.0))
    remark = "torch multiplies the mean by alpha, where TensorFlow multiplies the sum" if a.alpha_of == "sum" else ""
    turned = a.extra == "high" and a.size % 2 == 0
    flat = len(question.first) == 2
    if not turned and not flat:
        return Written(lines=(layer,), remark=remark)
    x = "x[..., None]" if flat else "x"
    call = f"{layer}({x}.flip(1)).flip(1)" if turned else f"{layer}({x})"
    if turned:
        remark = "the longer half of torch's even windows lies before the channel"
    return stated(question, f"y = {call}{'[..., 0]' * flat}", remark=remark)


def _keras_responses(question: Question) -> Written:
    a, channels = question.attributes, question.first[-1]
    alpha = _share(question, of="mean")
    return stated(
        question,
        f"t = ops.reshape(ops.square(x), (-1, {channels}, 1))",
        f"t = ops.pad(t, {whole([_ends(question)])})",
        f"t = ops.reshape({called('layers.AveragePooling1D', a.size, strides=(1, a.size))}(t), x.shape)",
        f"y = x / ({a.bias!r} + {alpha!r} * t) ** {a.beta!r}",
        remark="Keras has no such layer: means of squares along the channels",
    )


def _tf_responses(question: Question) -> Written:
    a, channels = question.attributes, question.first[-1]
    alpha = _share(question, of="sum")
    if a.size % 2 == 0:
        pads = (*[(0, 0)] * (len(question.first) - 1), _ends(question))
        return stated(
            question,
            f"t = tf.pad(tf.square(x), {pads})",
            f"t = tf.add_n([t[..., start : start + {channels}] for start in range({a.size})])",
            f"y = x / ({a.bias!r} + {alpha!r} * t) ** {a.beta!r}",
            remark="TensorFlow's window has a radius, and so an odd size",
        )
    remark = "TensorFlow multiplies the sum by alpha, where PyTorch multiplies the mean"
    images = len(question.first) == 4
    call = called(
        "tf.nn.local_response_normalization",
        Name("x" if images else f"tf.reshape(x, (-1, 1, 1, {channels}))"),
        depth_radius=(a.size // 2, 5),
        bias=(float(a.bias), 1.0),
        alpha=(alpha, 1.0),
        beta=(float(a.beta), 0.5),
    )
    line = f"y = {call}" if images else f"y = tf.reshape({call}, x.shape)"
    return stated(question, line, remark=remark if a.alpha_of == "mean" else "")


def _jax_responses(question: Question) -> Written:
    a, rank = question.attributes, len(question.first)
    ones = (1,) * (rank - 1)
    pads = (*[(0, 0)] * (rank - 1), _ends(question))
    return stated(
        question,
        f"t = lax.reduce_window(x * x, 0.0, lax.add, {(*ones, a.size)}, {(*ones, 1)}, {pads})",
        f"y = x / ({a.bias!r} + {_share(question, of='sum')!r} * t) ** {a.beta!r}",
        remark="JAX has no such function: sums of squares along the channels",
    )


# Norms of windows ---------------------------------------------------------------------------------------------------


def _pads(question: Question) -> Pads:
    a = question.attributes
    return resolve_pads(a.padding, question.first[1:-1], a.window, a.stride, (1, 1))


def _torch_norms(question: Question) -> Written:
    a, pads = question.attributes, _pads(question)
    layer = called("nn.LPPool2d", a.p, each(a.window), stride=(each(a.stride), each(a.window)))
    before = [torch_pad(pads)] if any(map(any, pads)) else []
    remark = "torch's pools of norms have no pads" if before else ""
    if a.p == 2 or a.signed:
        return Written(lines=(*before, layer), remark=remark)
    padded = [f"x = {pad}(x)" for pad in before]
    return stated(question, *padded, f"y = {layer}(x.abs())", remark="torch takes the power of x as it is")


# x to its power, and the root of the sum of these.
_POWERS: Final = {1: "{absolute}({x})", 2: "{square}({x})", 3: "{absolute}({x}) ** 3"}
_SIGNED: Final = {1: "{x}", 2: "{square}({x})", 3: "{x} ** 3"}


def _norms(functions: Mapping[str, str], pool: Callable[[Question], str], pad: str, remark: str) -> Writer:
    """Sums of powers over windows, and their root."""

    def write(question: Question) -> Written:
        a, pads = question.attributes, _pads(question)
        lines = [f"x = {pad.format(whole(pads))}"] if pad and any(map(any, pads)) else []
        power = (_SIGNED if a.signed else _POWERS)[a.p].format(x="x", **functions)
        total = pool(question).format(power)
        roots = {1: "{}", 2: f"{functions['root']}({{}})", 3: "({}) ** (1 / 3)"}
        return stated(question, *lines, f"y = {roots[a.p].format(total)}", remark=remark)

    return write


def _keras_pool(question: Question) -> str:
    a = question.attributes
    layer = called("layers.AveragePooling2D", each(a.window), strides=(each(a.stride), each(a.window)))
    return f"{layer}({{}}) * {math.prod(a.window)}"


def _tf_pool(question: Question) -> str:
    a = question.attributes
    tail = called("", Name("{}"), each(a.window), each(a.stride), "VALID")
    return f"tf.nn.avg_pool2d{tail} * {math.prod(a.window)}"


def _jax_pool(question: Question) -> str:
    a, pads = question.attributes, _pads(question)
    padding = '"VALID"' if not any(map(any, pads)) else str(whole(pads))
    return f"lax.reduce_window({{}}, 0.0, lax.add, {(1, *a.window, 1)}, {(1, *a.stride, 1)}, {padding})"


# Unpooling ----------------------------------------------------------------------------------------------------------


def _torch_unpool(question: Question) -> Written | Unwritten:
    a, counts = question.attributes, question.first[1:-1]
    if a.indexed != "plane":
        return Unwritten(why="torch's indices count the rows and columns of one channel (plane)")
    window = tuple(max(n // count, 1) for n, count in zip(a.size, counts, strict=True))
    stride = window
    # torch takes sizes that lie less than a stride away from the pool's own.
    if not all(abs(n - count * k) < k for n, count, k in zip(a.size, counts, window, strict=True)):
        window, stride = tuple(n - count + 1 for n, count in zip(a.size, counts, strict=True)), (1, 1)
    if min(window) < 1:
        return Unwritten(why="torch unpools to no fewer rows and columns than there are")
    layer = called("nn.MaxUnpool2d", each(window), stride=(each(stride), each(window)))
    return stated(question, f"y = {layer}(x, indices, output_size={a.size})")


def _scattered(question: Question, segment: str, reshape: str, arange: str, lacking: str) -> Written:
    """Numbers added up in their places of all images, one after the other."""
    a, channels = question.attributes, question.first[-1]
    image = math.prod(a.size) * channels
    lines = []
    if a.indexed == "plane":
        lines.append(f"indices = indices * {channels} + {arange.format(channels)}")
    first = reshape.format(f"{arange.format('x.shape[0]')} * {image}", "(-1, 1, 1, 1)")
    lines += [
        f"places = {reshape.format(f'indices + {first}', '(-1,)')}",
        f"y = {segment.format(reshape.format('x', '(-1,)'), 'places', f'x.shape[0] * {image}')}",
        f"y = {reshape.format('y', (-1, *a.size, channels))}",
    ]
    return stated(question, *lines, remark=lacking)


def _unpool(segment: str, reshape: str, arange: str, lacking: str) -> Writer:
    return lambda question: _scattered(question, segment, reshape, arange, lacking)


def _keras_unpool(lacking: str) -> Writer:
    return _unpool("ops.segment_sum({}, {}, {})", "ops.reshape({}, {})", 'ops.arange({}, dtype="int64")', lacking)


def _tf_unpool(lacking: str) -> Writer:
    segment = "tf.math.unsorted_segment_sum({}, {}, {})"
    return _unpool(segment, "tf.reshape({}, {})", "tf.range({}, dtype=tf.int64)", lacking)


def jax_unpool(lacking: str) -> Writer:
    """Sums of segments, as JAX has no unpooling and no gradient kernel."""
    return _unpool("jax.ops.segment_sum({}, {}, {})", "jnp.reshape({}, {})", "jnp.arange({})", lacking)


def _torch_fractional(question: Question) -> Written:
    a = question.attributes
    samples = (Name("samples.flip(-1)"), None)
    layer = called(
        "nn.FractionalMaxPool2d", each(a.window), output_size=(each(a.size), None), _random_samples=samples
    )
    return stated(
        question,
        f"y = {layer}(x)",
        remark="torch draws the samples itself where it is given none; its are of columns, then of rows",
        lies={"samples": ()},
    )


_KERAS_WORDS: Final = {"absolute": "ops.absolute", "square": "ops.square", "root": "ops.sqrt"}
_TF_WORDS: Final = {"absolute": "tf.abs", "square": "tf.square", "root": "tf.sqrt"}
_JAX_WORDS: Final = {"absolute": "jnp.abs", "square": "jnp.square", "root": "jnp.sqrt"}

TORCH: Final[Mapping[str, Writer]] = MappingProxyType(
    {
        "local_response_norm": _torch_responses,
        "lp_pool2d": _torch_norms,
        "max_unpool2d": _torch_unpool,
        "fractional_max_pool2d": _torch_fractional,
    }
)
KERAS: Final[Mapping[str, Writer]] = MappingProxyType(
    {
        "local_response_norm": _keras_responses,
        "lp_pool2d": _norms(_KERAS_WORDS, _keras_pool, "ops.pad(x, {})", "Keras has no pools of norms"),
        "max_unpool2d": _keras_unpool("Keras has no unpooling"),
    }
)
TENSORFLOW: Final[Mapping[str, Writer]] = MappingProxyType(
    {
        "local_response_norm": _tf_responses,
        "lp_pool2d": _norms(_TF_WORDS, _tf_pool, "tf.pad(x, {})", "TensorFlow has no pools of norms"),
        "max_unpool2d": _tf_unpool("TensorFlow has no unpooling"),
    }
)
JAX: Final[Mapping[str, Writer]] = MappingProxyType(
    {
        "local_response_norm": _jax_responses,
        "lp_pool2d": _norms(_JAX_WORDS, _jax_pool, "", "JAX has no pools of norms"),
        "max_unpool2d": jax_unpool("JAX has no unpooling"),
    }
)
