"""Maximum and average pooling of channels-last data over one to three spatial axes.

With the `Window` arithmetic of `padding`, tap t of output o looks at position `p = o * stride + t * dilation - low`,
and

    maximum    y[n, o, c] = max over the taps inside the input of x[n, p, c]
    average    y[n, o, c] = (sum over the taps inside the input of x[n, p, c]) / divisor[o]

where divisor counts the taps inside the input or, with count_padding, inside the padded input; never those that
ceil_mode lets reach beyond. A window over a box is the composition of one window an axis for both operators, which is
how they are computed; only the maximum's gradient has to look at the box as a whole.
"""

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from conformance.reference.magnitude import Array, Gradients, Magnitude, Magnitudes, Outputs, absolute_values, exact
from conformance.reference.padding import InvalidShape, Padding, Window, require_shape, windows
from conformance.reference.sliding import positions, taps

# Roundings of a term beside the n - 1 additions of a sum of n terms: a division has one; where a backend multiplies
# by a rounded reciprocal instead, both count; and one for taking that reciprocal as a product of two (rows and
# columns).
DIVISION_ROUNDINGS = 3


def max_pool_forward(
    *,
    x: Array,
    window: Sequence[int],
    stride: Sequence[int],
    padding: Padding,
    ceil_mode: bool,
    dilation: Sequence[int],
) -> Outputs:
    """Takes the maximum of each window; padding never wins, NaN always does.

    Args:
        x: (batch, *spatial, channels), one to three spatial axes; the batch may be 0.
        window: taps, one number a spatial axis.
        stride: positions between neighbouring windows, one number a spatial axis.
        padding: "same", "same_lower", "valid" or (low, high) pairs, see `padding.windows`.
        ceil_mode: whether a last window that begins inside but ends beyond the padded input counts, see
            `padding.windows`.
        dilation: positions between neighbouring taps, one number a spatial axis.

    Returns:
        "output", (batch, *outputs, channels).

    Raises:
        InvalidShape: shapes and attributes do not fit each other, no window fits, or a window has no tap inside the
            input.
    """
    return {"output": _maxima(x, _windows(x, window, stride, dilation, padding, ceil_mode))}


def max_pool_vjp(
    cotangents: Outputs,
    *,
    x: Array,
    window: Sequence[int],
    stride: Sequence[int],
    padding: Padding,
    ceil_mode: bool,
    dilation: Sequence[int],
) -> Gradients:
    """Hands each window's cotangent to its first maximum in row-major order, a NaN being greater than everything.

    Arguments and errors as for `max_pool_forward`.
    """
    over = _windows(x, window, stride, dilation, padding, ceil_mode)
    return {"x": _handed_down(_cotangent(cotangents, x, over), x, _maxima(x, over), over)}


def max_pool_magnitude(
    cotangents: Outputs | None,
    *,
    x: Array,
    window: Sequence[int],
    stride: Sequence[int],
    padding: Padding,
    ceil_mode: bool,
    dilation: Sequence[int],
) -> Magnitudes:
    """The maximum is exact; its gradient adds at most as many cotangents as windows see the element.

    Arguments and errors as for `max_pool_forward`.
    """
    over = _windows(x, window, stride, dilation, padding, ceil_mode)
    y = _maxima(x, over)
    gradients: dict[str, Magnitude] = {}
    if cotangents is not None:
        absolute = _handed_down(absolute_values(_cotangent(cotangents, x, over), prod(window)), x, y, over)
        seen = positions([along.outputs_seeing() for along in over])
        gradients["x"] = Magnitude(
            terms=np.broadcast_to(np.maximum(seen - 1, 0), x.shape),
            absolute=absolute,
            underflow=np.broadcast_to(seen, x.shape),
        )
    return Magnitudes(outputs={"output": exact(y)}, gradients=gradients)


def average_pool_forward(
    *,
    x: Array,
    window: Sequence[int],
    stride: Sequence[int],
    padding: Padding,
    ceil_mode: bool,
    count_padding: bool,
) -> Outputs:
    """Takes the mean of each window.

    Args:
        x: (batch, *spatial, channels), one to three spatial axes; the batch may be 0.
        window: taps, one number a spatial axis.
        stride: positions between neighbouring windows, one number a spatial axis.
        padding: "same", "same_lower", "valid" or (low, high) pairs, see `padding.windows`.
        ceil_mode: whether a last window that begins inside but ends beyond the padded input counts, see
            `padding.windows`.
        count_padding: whether the divisor counts the padding's elements, too.

    Returns:
        "output", (batch, *outputs, channels).

    Raises:
        InvalidShape: shapes and attributes do not fit each other, no window fits, or a window's divisor is 0.
    """
    over = _windows(x, window, stride, (1,) * len(window), padding, ceil_mode, empty_allowed=count_padding)
    return {"output": _means(x, over, count_padding)}


def average_pool_vjp(
    cotangents: Outputs,
    *,
    x: Array,
    window: Sequence[int],
    stride: Sequence[int],
    padding: Padding,
    ceil_mode: bool,
    count_padding: bool,
) -> Gradients:
    """Spreads each window's cotangent evenly; arguments and errors as for `average_pool_forward`."""
    over = _windows(x, window, stride, (1,) * len(window), padding, ceil_mode, empty_allowed=count_padding)
    return {"x": _spread(_cotangent(cotangents, x, over), over, count_padding)}


def average_pool_magnitude(
    cotangents: Outputs | None,
    *,
    x: Array,
    window: Sequence[int],
    stride: Sequence[int],
    padding: Padding,
    ceil_mode: bool,
    count_padding: bool,
) -> Magnitudes:
    """A sum over the taps inside the input, divided; the gradient likewise, over the windows that see the element.

    Arguments and errors as for `average_pool_forward`.
    """
    over = _windows(x, window, stride, (1,) * len(window), padding, ceil_mode, empty_allowed=count_padding)
    most = prod(window) + DIVISION_ROUNDINGS
    absolute = _means(absolute_values(x, most), over, count_padding)
    outputs = {"output": _quotient([along.taps_inside() for along in over], absolute)}
    gradients: dict[str, Magnitude] = {}
    if cotangents is not None:
        absolute = _spread(absolute_values(_cotangent(cotangents, x, over), most), over, count_padding)
        gradients["x"] = _quotient([along.outputs_seeing() for along in over], absolute)
    return Magnitudes(outputs=outputs, gradients=gradients)


def _quotient(along: Sequence[Array], absolute: Array) -> Magnitude:
    """Returns the magnitude of divided sums whose numbers of terms are the products of the vectors."""
    terms = np.broadcast_to(positions(along) + (DIVISION_ROUNDINGS - 1), absolute.shape)
    return Magnitude(terms=terms, absolute=absolute, underflow=terms)


def _windows(
    x: Array,
    window: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
    padding: Padding,
    ceil_mode: bool,
    *,
    empty_allowed: bool = False,
) -> tuple[Window, ...]:
    if not 3 <= x.ndim <= 5:
        raise InvalidShape("axes of x", got=x.ndim, required="3 to 5: batch, one to three spatial axes, channels")
    over = windows(
        sizes=x.shape[1:-1], kernel=window, stride=stride, dilation=dilation, padding=padding, ceil_mode=ceil_mode
    )
    if not empty_allowed:
        for axis, along in enumerate(over):
            # Without padding every window's first tap is inside.
            if (along.low or along.high) and not along.taps_inside().all():
                raise InvalidShape(
                    f"taps inside the input on spatial axis {axis}",
                    got=f"{along.taps_inside().astype(int).tolist()} for the windows in turn",
                    required="at least 1 for each window",
                )
    return over


def _cotangent(cotangents: Outputs, x: Array, over: Sequence[Window]) -> Array:
    shape = (x.shape[0], *(along.outputs for along in over), x.shape[-1])
    return require_shape("the cotangent of output", cotangents["output"], shape)


def _maxima(x: Array, over: Sequence[Window]) -> Array:
    # np.maximum hands NaN on, from wherever it stands.
    for axis, along in enumerate(over, start=1):
        x = _reduced(x, axis, along, np.maximum, start=-np.inf)
    return x


@np.errstate(all="ignore")
def _means(x: Array, over: Sequence[Window], count_padding: bool) -> Array:
    for axis, along in enumerate(over, start=1):
        x = _reduced(x, axis, along, np.add, start=0.0)
    return np.asarray(x / _divisor(over, count_padding, x.dtype))


def _divisor(over: Sequence[Window], count_padding: bool, precision: Any) -> Array:
    counts = [along.taps_padded() if count_padding else along.taps_inside() for along in over]
    return positions(counts).astype(precision)


def _reduced(x: Array, axis: int, along: Window, reduce: np.ufunc, *, start: float) -> Array:
    """Returns the windows' reduction along one axis, beginning with `start`."""
    before = (slice(None),) * axis
    result = np.full((*x.shape[:axis], along.outputs, *x.shape[axis + 1 :]), start, x.dtype)
    for tap in range(along.kernel):
        outputs, inputs = along.seen_by(tap)
        part = result[(*before, outputs)]
        reduce(part, x[(*before, inputs)], out=part)
    return result


@np.errstate(all="ignore")
def _spread(cotangent: Array, over: Sequence[Window], count_padding: bool) -> Array:
    """Returns the adjoint of `_means`: each window's share of its cotangent, added to every element it sees."""
    large = cotangent / _divisor(over, count_padding, cotangent.dtype)
    for axis, along in enumerate(over, start=1):
        before = (slice(None),) * axis
        small, large = large, np.zeros((*large.shape[:axis], along.size, *large.shape[axis + 1 :]), large.dtype)
        for tap in range(along.kernel):
            outputs, inputs = along.seen_by(tap)
            large[(*before, inputs)] += small[(*before, outputs)]
    return large


@np.errstate(all="ignore")
def _handed_down(cotangent: Array, x: Array, y: Array, over: Sequence[Window]) -> Array:
    """Returns each window's cotangent added to the first element that equals its maximum y, or is NaN as y is."""
    gradient = np.zeros(x.shape, cotangent.dtype)
    waiting = np.ones(y.shape, dtype=np.bool_)
    has_nan = bool(np.isnan(y).any())
    for _, outputs, inputs in taps(over):
        seen, maximum, left = x[inputs], y[outputs], waiting[outputs]
        chosen = seen == maximum
        if has_nan:
            # y is NaN wherever one of its elements is, so a NaN among the elements is its window's maximum.
            chosen |= np.isnan(seen)
        chosen &= left
        left ^= chosen
        part = gradient[inputs]
        np.add(part, cotangent[outputs], out=part, where=chosen)
    return gradient
