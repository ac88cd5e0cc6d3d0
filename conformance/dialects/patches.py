"""Windows as vectors, and the image that they were, overlaps added up."""

import math
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from conformance.case.families.windows import as_transposed
from conformance.case.geometry import Pads, extent, resolve_pads, transposed_crop
from conformance.dialects.arrays import reordered
from conformance.dialects.model import Question, Unwritten, Writer, Written
from conformance.dialects.source import Name, called, each
from conformance.dialects.statements import stated
from conformance.dialects.windows import torch_pad, whole

_X: Final = Name("x")


def _pads(question: Question) -> Pads:
    a = question.attributes
    return resolve_pads(a.padding, question.first[1:-1], a.window, a.stride, a.dilation)


def _torch_patches(question: Question) -> Written:
    a, pads = question.attributes, _pads(question)
    channels, elements = question.first[-1], math.prod(a.window)
    lines, padding, remark = [], tuple(low for low, _ in pads), ""
    if any(low != high for low, high in pads):
        lines, padding = [f"x = {torch_pad(pads)}(x)"], (0, 0)
        remark = "nn.Unfold pads both ends alike, so the pads are a layer of their own"
    layer = called(
        "nn.Unfold",
        each(a.window),
        dilation=(each(a.dilation), 1),
        padding=(each(padding), 0),
        stride=(each(a.stride), 1),
    )
    lines.append(f"y = {layer}(x)")
    if a.order == "channels_last" and channels > 1:
        lines.append(reordered("torch", "y", channels, elements))
        remark = remark or "nn.Unfold lays the channels first in a vector, TensorFlow last"
    lines.append(f"y = y.unflatten(2, {question.output[1:-1]})")
    return stated(question, *lines, remark=remark)


def _torch_fold(question: Question) -> Written:
    a, depth, elements = question.attributes, question.first[-1], math.prod(question.attributes.window)
    pads = resolve_pads(a.padding, a.size, a.window, a.stride, a.dilation)
    lines, remark = ["y = x.flatten(2)"], ""
    if a.order == "channels_last" and depth > elements:
        lines.append(reordered("torch", "y", elements, depth // elements))
        remark = "nn.Fold takes vectors with the channels first"
    padding, size = tuple(low for low, _ in pads), a.size
    cropped = any(low != high for low, high in pads)
    if cropped:
        padding, size = (0, 0), tuple(n + low + high for n, (low, high) in zip(a.size, pads, strict=True))
        remark = "nn.Fold crops both ends alike"
    layer = called(
        "nn.Fold",
        size,
        each(a.window),
        dilation=(each(a.dilation), 1),
        padding=(each(padding), 0),
        stride=(each(a.stride), 1),
    )
    lines.append(f"y = {layer}(y)")
    if cropped:
        kept = ", ".join(f"{low}:{low + n}" for n, (low, _) in zip(a.size, pads, strict=True))
        lines.append(f"y = y[:, :, {kept}]")
    return stated(question, *lines, remark=remark)


def _keras_patches(question: Question) -> Written:
    a, pads = question.attributes, _pads(question)
    both = max(a.stride) > 1 < max(a.dilation)
    lines, remark, padding = [], "", "valid"
    if a.padding == "same" and not both:
        padding = "same"
    elif any(map(any, pads)):
        lines.append(f"x = ops.pad(x, {whole(pads)})")
    call = called(
        "ops.image.extract_patches",
        _X,
        a.window,
        strides=((1, 1) if both else a.stride, None),
        dilation_rate=(each(a.dilation), 1),
        padding=(padding, "valid"),
    )
    lines.append(f"y = {call}")
    if both:
        lines.append(f"y = y[:, ::{a.stride[0]}, ::{a.stride[1]}]")
        remark = "Keras's patches have no strides where they are dilated"
    return _ordered(question, lines, "keras", remark)


def _tf_patches(question: Question) -> Written:
    a, pads = question.attributes, _pads(question)
    lines, remark, padding = [], "", "VALID"
    if a.padding == "same":
        padding = "SAME"
    elif any(map(any, pads)):
        lines, remark = [f"x = tf.pad(x, {whole(pads)})"], "TensorFlow's patches have no pads of one's own"
    call = called(
        "tf.image.extract_patches",
        _X,
        sizes=((1, *a.window, 1), None),
        strides=((1, *a.stride, 1), None),
        rates=((1, *a.dilation, 1), None),
        padding=(padding, None),
    )
    return _ordered(question, [*lines, f"y = {call}"], "tf", remark)


def _ordered(question: Question, lines: list[str], framework: str, remark: str) -> Written:
    """Vectors with the channels last, made to count them as asked."""
    a, channels = question.attributes, question.first[-1]
    if a.order == "channels_first" and channels > 1:
        lines = [*lines, reordered(framework, "y", math.prod(a.window), channels)]
        remark = remark or "the framework lays the channels last in a vector, PyTorch first"
    return stated(question, *lines, remark=remark)


def _jax_patches(question: Question) -> Written:
    a, channels = question.attributes, question.first[-1]
    padding = a.padding.upper() if isinstance(a.padding, str) else a.padding
    call = called(
        "lax.conv_general_dilated_patches",
        _X,
        a.window,
        a.stride,
        padding,
        rhs_dilation=(a.dilation, (1, 1)),
        dimension_numbers=(("NHWC", "HWIO", "NHWC"), None),
    )
    lines, remark = [f"y = {call}"], ""
    if a.order == "channels_last" and channels > 1:
        lines.append(reordered("jax", "y", channels, math.prod(a.window)))
        remark = "JAX lays the channels first in a vector, TensorFlow last"
    return stated(question, *lines, remark=remark)


def _kernel(question: Question, framework: str, eye: str) -> tuple[list[str], Question]:
    """A fold as a transposed convolution: what makes its kernel, which sets every number in its place."""
    a, x = question.attributes, question.first
    depth, elements = x[-1], math.prod(a.window)
    w = (*a.window, depth // elements, depth)
    lines = []
    if a.order == "channels_first" and depth > elements:
        lines.append(reordered(framework, "x", depth // elements, elements))
    lines.append(f"w = {eye.format(depth, w)}")
    transposed = Question(operator="conv2d_transpose", attributes=as_transposed(a, x[1:-1]), shapes={"x": x, "w": w})
    return lines, transposed


def folded(framework: str, eye: str, lacking: str, transposed: Writer) -> Writer:
    """A fold by a framework's own transposed convolution, which `transposed` writes as statements."""

    def write(question: Question) -> Written | Unwritten:
        before, as_convolution = _kernel(question, framework, eye)
        said = transposed(as_convolution)
        if isinstance(said, Unwritten):
            return said
        lines = (*before, *said.lines)
        return replace(said, lines=lines, weights=(), statements=True, remark=f"{lacking}; this kernel sets numbers")

    return write


def keras_transposed(question: Question) -> Written | Unwritten:
    """A transposed convolution as a function, cropped to what is asked."""
    a, x, w = question.attributes, question.first, question.shapes["w"]
    if max(a.stride) > 1 < max(a.dilation):
        return Unwritten(why="Keras refuses strides together with dilations")
    starts, sizes = transposed_crop(a.padding, x[1:-1], w[:2], a.stride, a.dilation, a.output_padding)
    call = called(
        "ops.conv_transpose",
        _X,
        Name("w"),
        strides=(each(a.stride), 1),
        padding=("valid", ""),
        dilation_rate=(each(a.dilation), 1),
    )
    given = [
        (n - 1) * s + max(extent(k, d), s) for n, s, k, d in zip(x[1:-1], a.stride, w[:2], a.dilation, strict=True)
    ]
    missing = [(0, max(start + n - own, 0)) for start, n, own in zip(starts, sizes, given, strict=True)]
    lines = [f"y = {call}"]
    if any(map(any, missing)):
        lines.append(f"y = ops.pad(y, {whole(missing)})")
    if any(starts) or sizes != tuple(given):
        kept = ", ".join(f"{start}:{start + n}" for start, n in zip(starts, sizes, strict=True))
        lines.append(f"y = y[:, {kept}]")
    return Written(lines=tuple(lines), statements=True)


TORCH: Final[Mapping[str, Writer]] = MappingProxyType({"extract_patches": _torch_patches, "fold": _torch_fold})
KERAS: Final[Mapping[str, Writer]] = MappingProxyType(
    {
        "extract_patches": _keras_patches,
        "fold": folded("keras", "ops.reshape(ops.eye({}), {})", "Keras has no fold", keras_transposed),
    }
)
TENSORFLOW: Final[Mapping[str, Writer]] = MappingProxyType({"extract_patches": _tf_patches})
JAX: Final[Mapping[str, Writer]] = MappingProxyType({"extract_patches": _jax_patches})
