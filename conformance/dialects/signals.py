"""SciPy's signals, which most frameworks only have as images of one channel."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from conformance.case.geometry import Pads
from conformance.dialects.model import Question, Writer, Written
from conformance.dialects.statements import stated


@dataclass(frozen=True, slots=True, kw_only=True)
class _Words:
    """How a framework turns an array round, pads it, and slides one signal over another; `{0}`, `{1}` are arrays."""

    flip: str
    pad: str
    slides: Mapping[int, str]
    lacking: str
    last_first: bool = False


def _pads(question: Question) -> Pads:
    """What the mode adds to the signal; `same` is centred on `full`, so it starts (k - 1) // 2 elements into it."""
    w = question.shapes["w"]
    match question.attributes.mode:
        case "full":
            return tuple((k - 1, k - 1) for k in w)
        case "same":
            return tuple((k - 1 - (k - 1) // 2, (k - 1) // 2) for k in w)
        case _:
            return ((0, 0),) * len(w)


def _signal(words: _Words) -> Writer:
    def write(question: Question) -> Written:
        x, w = question.shapes["x"], question.shapes["w"]
        flips = question.operator == "convolve"
        axes = tuple(range(len(x)))
        longer, shorter, lines = "x", "w", []
        if question.attributes.mode == "valid" and any(n < k for n, k in zip(x, w, strict=True)):
            # The larger one is slid over: a convolution commutes, a correlation then runs backwards.
            longer, shorter = "w", "x"
        given = f"{words.flip.format(shorter, axes)}" if flips else shorter
        pads = _pads(question)
        if any(map(any, pads)):
            flat = tuple(n for pair in reversed(pads) for n in pair) if words.last_first else pads
            lines.append(f"{longer} = {words.pad.format(longer, flat)}")
        y = words.slides[len(x)].format(longer, given)
        if longer == "w" and not flips:
            y = words.flip.format(y, axes)
        turned = "; these slide a kernel as it is, so that it is turned round" if flips else ""
        return stated(question, *lines, f"y = {y}", remark=words.lacking + turned)

    return write


def _jax(question: Question) -> Written:
    x, w, mode = question.shapes["x"], question.shapes["w"], question.attributes.mode
    # jnp's "same" has the size of the longer one.
    own = len(x) == 1 and (mode != "same" or w[0] <= x[0])
    module = "jnp" if own else "jax.scipy.signal"
    more = "" if own else ', method="direct"'
    remark = 'jnp\'s "same" has the size of the longer one' if len(x) == 1 and not own else ""
    return stated(question, f'y = {module}.{question.operator}(x, w, mode="{mode}"{more})', remark=remark)


def _both(writer: Writer) -> Mapping[str, Writer]:
    return MappingProxyType({"convolve": writer, "correlate": writer})


TORCH: Final = _both(
    _signal(
        _Words(
            flip="{0}.flip({1})",
            pad="nn.functional.pad({0}, {1})",
            slides={
                1: "nn.functional.conv1d({0}[None, None], {1}[None, None])[0, 0]",
                2: "nn.functional.conv2d({0}[None, None], {1}[None, None])[0, 0]",
            },
            lacking="torch has convolutions of images alone",
            last_first=True,
        )
    )
)
KERAS: Final = _both(
    _signal(
        _Words(
            flip="ops.flip({0}, axis={1})",
            pad="ops.pad({0}, {1})",
            slides={
                1: "ops.conv({0}[None, :, None], {1}[:, None, None])[0, :, 0]",
                2: "ops.conv({0}[None, ..., None], {1}[..., None, None])[0, ..., 0]",
            },
            lacking="Keras has convolutions of images alone",
        )
    )
)
TENSORFLOW: Final = _both(
    _signal(
        _Words(
            flip="tf.reverse({0}, {1})",
            pad="tf.pad({0}, {1})",
            slides={
                1: 'tf.nn.conv1d({0}[None, :, None], {1}[:, None, None], 1, "VALID")[0, :, 0]',
                2: 'tf.nn.conv2d({0}[None, ..., None], {1}[..., None, None], 1, "VALID")[0, ..., 0]',
            },
            lacking="TensorFlow has convolutions of images alone",
        )
    )
)
JAX: Final = _both(_jax)
