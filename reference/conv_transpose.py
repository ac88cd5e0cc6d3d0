"""Transposed convolution: every input element places the scaled kernel on a canvas, and overlaps add up.

Neighbouring elements place theirs one stride apart. With n input elements along an axis, and
`reach = (taps - 1) * dilation + 1`, the canvas has `(n - 1) * stride + reach` elements, of which the output shows a
part; for every group of channels

    canvas[m, q, a] = sum over i, t, b with i * stride + t * dilation = q of x[m, i, b] * w[t, a, b]
    y[m, p, a] = bias[a] + canvas[m, p + low, a]        (no terms beyond the canvas' end)

Where pads are circular, what lies beyond one end of the output is added at the other: p + low stands for every q that
is as much modulo the output's size. So it is the gradient of a convolution of an image that is padded with itself.

It is the gradient of a convolution with respect to its input (Dumoulin & Visin, A guide to convolution arithmetic for
deep learning, 2016, chapter 4), which is also how it is computed: the output is the large array of `sliding.scatter`,
the input the small one.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from conformance.reference.conv import (
    bias_gradient,
    bias_gradient_magnitude,
    require_data,
    require_groups,
)
from conformance.reference.magnitude import Array, Gradients, Magnitude, Magnitudes, Outputs, Sizes
from conformance.reference.padding import (
    InvalidShape,
    Padding,
    Window,
    named_padding,
    require_counts,
    require_pairs,
    require_shape,
    windows,
)
from conformance.reference.sliding import (
    correlate,
    correlate_magnitude,
    gather,
    gather_magnitude,
    scatter,
    scatter_magnitude,
)


def forward(
    *,
    x: Array,
    w: Array,
    b: Array | None = None,
    stride: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    padding: Padding,
    output_padding: Sequence[int],
    output_size: Sequence[int] = (),
    pad_mode: str = "zeros",
) -> Outputs:
    """Places the kernel w scaled by each element of x, adds up, and adds b.

    Args:
        x: (batch, *spatial, in), one to three spatial axes; the batch may be 0.
        w: (*taps, out / groups, in).
        b: (out,), or None.
        stride: positions between the kernels of neighbouring elements, one number a spatial axis.
        dilation: positions between neighbouring taps, one number a spatial axis.
        groups: into how many independent parts the channels are split; divides in and out.
        padding: which part of the canvas is the output. "same": `n * stride` elements, where a "same" convolution of
            an input of that size has its windows ("same_lower" likewise). "valid": the whole canvas, or `n * stride`
            elements if that is more. Pairs (low, high): so many elements fewer at each end.
        output_padding: so many elements more at the high end, one number a spatial axis; they show the canvas, and
            zeros beyond it. Zero unless padding is explicit, and below the stride or the dilation.
        output_size: the output's spatial sizes, in the place of output_padding: those of an image in which the
            convolution has as many windows as x has elements. "same" has the pads of that image.
        pad_mode: "zeros": what of the canvas is beyond the output is left out. "circular": it is added at the other
            end, once for every period of the output's size.

    Returns:
        "output", (batch, *sizes, out).

    Raises:
        InvalidShape: shapes and attributes do not fit each other, or no element of the canvas is left.
    """
    over = _windows(x, w, b, stride, dilation, groups, padding, output_padding, output_size)
    if not _circular(pad_mode):
        return {"output": scatter(x, w, over, groups=groups, bias=b)}
    output = _wrapped(scatter(x, w, _canvas(over), groups=groups), over)
    return {"output": output if b is None else output + b}


def vjp(
    cotangents: Outputs,
    *,
    x: Array,
    w: Array,
    b: Array | None = None,
    stride: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    padding: Padding,
    output_padding: Sequence[int],
    output_size: Sequence[int] = (),
    pad_mode: str = "zeros",
) -> Gradients:
    """Pulls the cotangent of "output" back to x, w and (if given) b; arguments and errors as for `forward`."""
    over = _windows(x, w, b, stride, dilation, groups, padding, output_padding, output_size)
    cotangent = _cotangent(cotangents, x, w, groups, over)
    pulled = cotangent
    if _circular(pad_mode):
        pulled, over = _repeated(cotangent, over), _canvas(over)
    gradients = {
        "x": gather(pulled, w, over, groups=groups),
        "w": correlate(pulled, x, over, groups=groups),
    }
    if b is not None:
        gradients["b"] = bias_gradient(cotangent)
    return gradients


def magnitude(
    cotangents: Outputs | None,
    *,
    x: Array,
    w: Array,
    b: Array | None = None,
    stride: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    padding: Padding,
    output_padding: Sequence[int],
    output_size: Sequence[int] = (),
    pad_mode: str = "zeros",
) -> Magnitudes:
    """Every result is a sum of products: as many terms as taps land on it, one more for a bias.

    Arguments and errors as for `forward`.
    """
    over = _windows(x, w, b, stride, dilation, groups, padding, output_padding, output_size)
    data, kernel, circular = Sizes(x), Sizes(w), _circular(pad_mode)
    if circular:
        placed = scatter_magnitude(data, kernel, _canvas(over), groups=groups)
        outputs = {"output": _wrapped_magnitude(placed, over, b)}
    else:
        outputs = {"output": scatter_magnitude(data, kernel, over, groups=groups, bias=b)}
    gradients: dict[str, Magnitude] = {}
    if cotangents is not None:
        cotangent = _cotangent(cotangents, x, w, groups, over)
        pulled = Sizes(cotangent)
        if circular:
            pulled, over = Sizes(_repeated(cotangent, over)), _canvas(over)
        gradients["x"] = gather_magnitude(pulled, kernel, over, groups=groups)
        gradients["w"] = correlate_magnitude(pulled, data, over, groups=groups)
        if b is not None:
            gradients["b"] = bias_gradient_magnitude(cotangent)
    return Magnitudes(outputs=outputs, gradients=gradients)


def _windows(
    x: Array,
    w: Array,
    b: Array | None,
    stride: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    padding: Padding,
    output_padding: Sequence[int],
    output_size: Sequence[int],
) -> tuple[Window, ...]:
    """Returns the windows of the convolution from the output to x whose gradient this is."""
    rank = require_data("x", x, kernel=w)
    require_groups(groups, divided={"input channels": x.shape[-1]})
    if w.shape[-1] != x.shape[-1]:
        raise InvalidShape("last axis of w", got=w.shape[-1], required=f"{x.shape[-1]}, the channels of x")
    if w.shape[-2] < 1:
        raise InvalidShape("output channels a group of w", got=w.shape[-2], required="at least 1")
    if b is not None:
        require_shape("b", b, (w.shape[-2] * groups,))
    kernel = w.shape[:rank]
    for name, values in (("kernel", kernel), ("stride", stride), ("dilation", dilation)):
        require_counts(name, values, rank=rank)
    if len(output_padding) != rank or min(output_padding) < 0:
        raise InvalidShape("output_padding", got=tuple(output_padding), required=f"{rank} values of at least 0")
    if isinstance(padding, str) and any(output_padding):
        raise InvalidShape(
            "output_padding", got=tuple(output_padding), required=f"zeros, the padding being {padding!r}"
        )
    limits = tuple(map(max, stride, dilation))
    if any(more >= limit for more, limit in zip(output_padding, limits, strict=True)):
        raise InvalidShape(
            "output_padding", got=tuple(output_padding), required=f"values below strides or dilations, {limits}"
        )
    if len(output_size):
        return _windows_of(output_size, x.shape[1:-1], kernel, stride, dilation, padding, output_padding)
    pairs = None if isinstance(padding, str) else require_pairs(padding, rank=rank)
    made = []
    for axis, (n, taps, step, spread) in enumerate(zip(x.shape[1:-1], kernel, stride, dilation, strict=True)):
        canvas = (n - 1) * step + (taps - 1) * spread + 1
        if pairs is not None:
            low, high = pairs[axis]
            size = canvas - low - high + output_padding[axis]
        else:
            low, high = named_padding(str(padding), n * step, taps, step, spread)
            size = max(n * step, canvas) if padding == "valid" else n * step
        if n < 1 or size < 1:
            raise InvalidShape(
                f"output elements on spatial axis {axis}",
                got=size if n else 0,
                required=f"at least 1, of a canvas of {canvas}",
            )
        made.append(Window(size, n, taps, step, spread, low, high))
    return tuple(made)


def _windows_of(
    output_size: Sequence[int],
    sizes: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
    padding: Padding,
    output_padding: Sequence[int],
) -> tuple[Window, ...]:
    """Returns the windows of the convolution over an image of that size, which must be as many as x has elements."""
    require_counts("output_size", output_size, rank=len(sizes))
    if any(output_padding):
        raise InvalidShape("output_padding", got=tuple(output_padding), required="zeros, output_size being given")
    over = windows(sizes=output_size, kernel=kernel, stride=stride, dilation=dilation, padding=padding)
    counts = tuple(window.outputs for window in over)
    if counts != tuple(sizes):
        raise InvalidShape(
            "output_size", got=tuple(output_size), required=f"an image of {tuple(sizes)} windows, it has {counts}"
        )
    return over


def _cotangent(cotangents: Outputs, x: Array, w: Array, groups: int, over: Sequence[Window]) -> Array:
    shape = (x.shape[0], *(window.size for window in over), w.shape[-2] * groups)
    return require_shape("the cotangent of output", cotangents["output"], shape)


# Circular pads ------------------------------------------------------------------------------------------------------


def _circular(pad_mode: str) -> bool:
    if pad_mode not in ("zeros", "circular"):
        raise InvalidShape("pad_mode", got=repr(pad_mode), required="'zeros' or 'circular'")
    return pad_mode == "circular"


def _canvas(over: Sequence[Window]) -> tuple[Window, ...]:
    """Returns the same windows over all of the canvas."""
    return tuple(replace(window, size=window.reach, low=0, high=0) for window in over)


@np.errstate(all="ignore")
def _wrapped(canvas: Array, over: Sequence[Window]) -> Array:
    """Returns the output: the sum of the canvas's periods, the first of which begins at or before it."""
    for axis, window in enumerate(over, start=1):
        before = -window.low % window.size
        after = -(before + window.reach) % window.size
        pads = [(0, 0)] * canvas.ndim
        pads[axis] = (before, after)
        periods = (before + window.reach + after) // window.size
        shape = (*canvas.shape[:axis], periods, window.size, *canvas.shape[axis + 1 :])
        canvas = np.pad(canvas, pads).reshape(shape).sum(axis=axis)
    return canvas


def _repeated(cotangent: Array, over: Sequence[Window]) -> Array:
    """Returns the cotangent of the canvas: every element of it has that of the output's it is added to."""
    for axis, window in enumerate(over, start=1):
        cotangent = cotangent.take((np.arange(window.reach) - window.low) % window.size, axis=axis)
    return cotangent


def _wrapped_magnitude(placed: Magnitude, over: Sequence[Window], b: Array | None) -> Magnitude:
    """Returns the magnitude of sums of the canvas's: as many terms as all of them have, and the bias."""
    terms = _wrapped(placed.terms, over)
    absolute = _wrapped(placed.absolute.astype(np.float64), over)
    if b is not None:
        terms, absolute = terms + 1, absolute + np.abs(b)
    return Magnitude(terms=terms, absolute=absolute, underflow=terms)
