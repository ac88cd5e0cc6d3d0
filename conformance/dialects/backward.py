"""Gradient kernels called alone, as statements: what a framework's own backward pass calls."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from conformance.case.geometry import Pads, resolve_pads
from conformance.dialects.model import Question, Unwritten, Writer, Written
from conformance.dialects.moves import kernel_first
from conformance.dialects.source import Name, called, each
from conformance.dialects.statements import stated
from conformance.dialects.windows import jax_unpool, torch_pad, whole

_X: Final = Name("x")
_G: Final = Name("g")


def _pads(question: Question) -> Pads:
    a = question.attributes
    return resolve_pads(a.padding, question.first[1:-1], a.kernel, a.stride, a.dilation)


def _torch_kernel(question: Question) -> Written:
    a, pads, rank = question.attributes, _pads(question), len(question.attributes.kernel)
    inside, outside = question.output[-2:]
    lines, padding, remark = [], tuple(low for low, _ in pads), ""
    if any(low != high for low, high in pads):
        lines, padding = [f"x = {torch_pad(pads)}(x)"], (0,) * rank
        remark = "torch's convolutions pad both ends alike; "
    call = called(
        f"nn.grad.conv{rank}d_weight",
        _X,
        (outside, inside, *a.kernel),
        _G,
        stride=(each(a.stride), 1),
        padding=(each(padding), 0),
        dilation=(each(a.dilation), 1),
        groups=(a.groups, 1),
    )
    remark += "y is (out, in / groups, *kernel)"
    return stated(question, *lines, f"y = {call}", remark=remark, lies={"output": kernel_first(rank)})


def _torch_maxima(question: Question) -> Written | Unwritten:
    a, counts = question.attributes, question.first[1:-1]
    if a.indexed != "plane":
        return Unwritten(why="torch's indices count the rows and columns of one channel (plane)")
    pads = resolve_pads(a.padding, a.size, a.window, a.stride, (1, 1))
    window, stride, padding = tuple(a.window), tuple(a.stride), tuple(low for low, _ in pads)
    remark = "torch's own kernel: the image's shape, windows, strides, pads, dilation, ceil mode, indices"
    if any(low != high for low, high in pads):
        # As many windows of another size: torch checks how many, and goes by the indices.
        window = tuple(n - m + 1 for n, m in zip(a.size, counts, strict=True))
        stride, padding = (1, 1), (0, 0)
        remark = "torch's pools pad both ends alike; its kernel goes by the indices, so that other windows do as well"
    rows, columns = a.size
    image = f"x.new_zeros((*x.shape[:2], {rows}, {columns}))"
    tail = f"{window}, {stride}, {padding}, (1, 1), False, indices"
    return stated(question, f"y = torch.ops.aten.max_pool2d_with_indices_backward(x, {image}, {tail})", remark=remark)


def _tf_kernel(question: Question) -> Written:
    a, pads, rank = question.attributes, _pads(question), len(question.attributes.kernel)
    lines, padding, explicit = [], "VALID", None
    if a.padding in ("same", "valid"):
        padding = a.padding.upper()
    elif any(map(any, pads)) and rank == 2 and a.groups == 1 and set(a.dilation) == {1}:
        padding, explicit = "EXPLICIT", [n for pair in whole(pads) for n in pair]
    elif any(map(any, pads)):
        lines = [f"x = tf.pad(x, {whole(pads)})"]
    grouped = rank == 3 and a.groups > 1
    inside, outside = question.output[-2:]
    call = called(
        "tf.raw_ops.Conv2DBackpropFilter" if rank == 2 else "tf.raw_ops.Conv3DBackpropFilterV2",
        input=(Name("part" if grouped else "x"), None),
        filter_sizes=((*a.kernel, inside, outside // a.groups if grouped else outside), None),
        out_backprop=(Name("pulled" if grouped else "g"), None),
        strides=((1, *a.stride, 1), None),
        padding=(padding, None),
        explicit_paddings=(explicit, None),
        dilations=((1, *a.dilation, 1), (1,) * (rank + 2)),
    )
    if not grouped:
        return stated(question, *lines, f"y = {call}", remark="TensorFlow's own kernel, which tf.GradientTape calls")
    parts = f"zip(tf.split(x, {a.groups}, axis=-1), tf.split(g, {a.groups}, axis=-1))"
    line = f"y = tf.concat([{call} for part, pulled in {parts}], axis=-1)"
    return stated(question, *lines, line, remark="TensorFlow has groups for two axes alone")


def _tf_maxima(question: Question) -> Written:
    a, channels, (rows, columns) = question.attributes, question.first[-1], question.attributes.size
    lines, remark = [], "TensorFlow's own kernel, which tf.GradientTape calls"
    if a.indexed == "plane":
        lines = [f"indices = indices * {channels} + tf.range({channels}, dtype=indices.dtype)"]
        remark = "TensorFlow's indices count pixels with their channels"
    call = called(
        "tf.raw_ops.MaxPoolGradWithArgmax",
        input=(Name(f"tf.zeros((x.shape[0], {rows}, {columns}, {channels}))"), None),
        grad=(_X, None),
        argmax=(Name("indices"), None),
        ksize=((1, *a.window, 1), None),
        strides=((1, *a.stride, 1), None),
        padding=(a.padding.upper(), None),
    )
    return stated(question, *lines, f"y = {call}", remark=remark)


def _jax_kernel(question: Question) -> Written:
    a, rank = question.attributes, len(question.attributes.kernel)
    letters = "DHW"[3 - rank :]
    call = called(
        "lax.conv_general_dilated",
        _X,
        Name("w"),
        window_strides=(tuple(a.stride), None),
        padding=(a.padding.upper() if isinstance(a.padding, str) else a.padding, None),
        rhs_dilation=(tuple(a.dilation), (1,) * rank),
        dimension_numbers=((f"N{letters}C", f"{letters}IO", f"N{letters}C"), None),
        feature_group_count=(a.groups, 1),
    )
    return stated(
        question,
        f"kernel = jax.ShapeDtypeStruct({question.output}, x.dtype)",
        f"convolved = lambda w: {call}",
        "(y,) = jax.linear_transpose(convolved, kernel)(g)",
        remark="JAX has no gradient kernels of its own: the convolution, transposed by its kernel",
    )


TORCH: Final[Mapping[str, Writer]] = MappingProxyType(
    {
        "conv2d_weight_gradient": _torch_kernel,
        "conv3d_weight_gradient": _torch_kernel,
        "max_pool2d_gradient": _torch_maxima,
    }
)
TENSORFLOW: Final[Mapping[str, Writer]] = MappingProxyType(
    {
        "conv2d_weight_gradient": _tf_kernel,
        "conv3d_weight_gradient": _tf_kernel,
        "max_pool2d_gradient": _tf_maxima,
    }
)
JAX: Final[Mapping[str, Writer]] = MappingProxyType(
    {
        "conv2d_weight_gradient": _jax_kernel,
        "conv3d_weight_gradient": _jax_kernel,
        "max_pool2d_gradient": jax_unpool("JAX has no gradient kernels of its own: sums of segments"),
    }
)
