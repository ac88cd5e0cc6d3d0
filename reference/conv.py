"""Convolution as neural networks mean it: cross-correlation of channels-last data, over one to three spatial axes.

With the `Window` arithmetic of `padding`, and for every group of channels,

    y[n, o, b] = bias[b] + sum over taps t and channels a of x[n, o * stride + t * dilation - low, a] * w[t, a, b]

(Dumoulin & Visin, A guide to convolution arithmetic for deep learning, 2016). Taps in the padding have no part in the
sum, which is the same as a padding of zeros unless w is infinite or NaN.
"""

from collections.abc import Sequence

import numpy as np

from conformance.reference.magnitude import Array, Gradients, Magnitude, Magnitudes, Outputs, Sizes
from conformance.reference.padding import InvalidShape, Padding, Window, require_shape, windows
from conformance.reference.sliding import (
    correlate,
    correlate_magnitude,
    gather,
    gather_magnitude,
    scatter,
    scatter_magnitude,
)

# Elements of a cotangent that are summed at a time (128 KiB).
ROWS = 1 << 14


def forward(
    *,
    x: Array,
    w: Array,
    b: Array | None = None,
    stride: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    padding: Padding,
) -> Outputs:
    """Convolves x with w and adds b.

    Args:
        x: (batch, *spatial, in), one to three spatial axes; the batch may be 0.
        w: (*taps, in / groups, out).
        b: (out,), or None.
        stride: positions between neighbouring windows, one number a spatial axis.
        dilation: positions between neighbouring taps, one number a spatial axis.
        groups: into how many independent parts the channels are split; divides in and out.
        padding: "same", "same_lower", "valid" or (low, high) pairs, see `padding.windows`.

    Returns:
        "output", (batch, *outputs, out).

    Raises:
        InvalidShape: shapes and attributes do not fit each other, or no window fits into the padded input.
    """
    over = _windows(x, w, b, stride, dilation, groups, padding)
    return {"output": gather(x, w, over, groups=groups, bias=b)}


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
) -> Gradients:
    """Pulls the cotangent of "output" back to x, w and (if given) b; arguments and errors as for `forward`."""
    over = _windows(x, w, b, stride, dilation, groups, padding)
    cotangent = _cotangent(cotangents, x, w, over)
    gradients = {
        "x": scatter(cotangent, w, over, groups=groups),
        "w": correlate(x, cotangent, over, groups=groups),
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
) -> Magnitudes:
    """Every result is a sum of products: as many terms as taps inside the data, one more for a bias.

    Arguments and errors as for `forward`.
    """
    over = _windows(x, w, b, stride, dilation, groups, padding)
    data, kernel = Sizes(x), Sizes(w)
    outputs = {"output": gather_magnitude(data, kernel, over, groups=groups, bias=b)}
    gradients: dict[str, Magnitude] = {}
    if cotangents is not None:
        cotangent = _cotangent(cotangents, x, w, over)
        pulled = Sizes(cotangent)
        gradients["x"] = scatter_magnitude(pulled, kernel, over, groups=groups)
        gradients["w"] = correlate_magnitude(data, pulled, over, groups=groups)
        if b is not None:
            gradients["b"] = bias_gradient_magnitude(cotangent)
    return Magnitudes(outputs=outputs, gradients=gradients)


def bias_gradient(cotangent: Array) -> Array:
    """Returns the sum over all axes but the last."""
    with np.errstate(all="ignore"):
        return np.asarray(cotangent.reshape(-1, cotangent.shape[-1]).sum(axis=0))


def bias_gradient_magnitude(cotangent: Array) -> Magnitude:
    """Returns the magnitude of the sum over all axes but the last, each position being one term."""
    channels = cotangent.shape[-1]
    rows = cotangent.reshape(-1, channels)
    # Some rows at a time: what fits into the cache is read once.
    step = max(1, ROWS // max(channels, 1))
    absolute = np.zeros(channels)
    for start in range(0, len(rows), step):
        absolute += bias_gradient(np.abs(rows[start : start + step]))
    terms = np.full(absolute.shape, float(cotangent.size // max(absolute.size, 1)))
    return Magnitude(terms=terms, absolute=absolute, underflow=terms)


def require_data(name: str, data: Array, *, kernel: Array) -> int:
    """Returns how many spatial axes, 1 to 3, data (batch, *spatial, channels) and kernel (*taps, in, out) share.

    Raises:
        InvalidShape: another number of axes, or not the same for both.
    """
    if not 3 <= data.ndim <= 5:
        raise InvalidShape(
            f"axes of {name}", got=data.ndim, required="3 to 5: batch, one to three spatial axes, channels"
        )
    if kernel.ndim != data.ndim:
        raise InvalidShape("axes of w", got=kernel.ndim, required=f"{data.ndim}, as {name} has")
    return data.ndim - 2


def require_groups(groups: int, *, divided: dict[str, int]) -> None:
    """Refuses a number of groups that does not divide each of the named numbers of channels.

    Raises:
        InvalidShape: groups below 1, no channels, or a remainder.
    """
    for name, channels in divided.items():
        if groups < 1 or channels < 1 or channels % groups:
            raise InvalidShape("groups", got=groups, required=f"a divisor of the {channels} {name}")


def _windows(
    x: Array,
    w: Array,
    b: Array | None,
    stride: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    padding: Padding,
) -> tuple[Window, ...]:
    rank = require_data("x", x, kernel=w)
    require_groups(groups, divided={"input channels": x.shape[-1], "output channels": w.shape[-1]})
    if w.shape[-2] * groups != x.shape[-1]:
        raise InvalidShape(
            "channels of w",
            got=w.shape[-2],
            required=f"{x.shape[-1] // groups}: {x.shape[-1]} of x in {groups} groups",
        )
    if b is not None:
        require_shape("b", b, (w.shape[-1],))
    return windows(sizes=x.shape[1:-1], kernel=w.shape[:rank], stride=stride, dilation=dilation, padding=padding)


def _cotangent(cotangents: Outputs, x: Array, w: Array, over: Sequence[Window]) -> Array:
    shape = (x.shape[0], *(window.outputs for window in over), w.shape[-1])
    return require_shape("the cotangent of output", cotangents["output"], shape)
