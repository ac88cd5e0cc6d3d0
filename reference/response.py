"""Local response normalisation: every channel over a power of what its neighbours hold."""

from typing import Literal

import numpy as np

from conformance.reference.chains import EXPONENTIAL, LOGARITHM, chained
from conformance.reference.magnitude import Array, Gradients, Magnitudes, Outputs
from conformance.reference.padding import InvalidShape, require_shape

Side = Literal["low", "high"]
Share = Literal["sum", "mean"]


@np.errstate(all="ignore")
def local_response_norm_forward(
    *, x: Array, size: int, alpha: float, beta: float, bias: float, alpha_of: Share, extra: Side
) -> Outputs:
    """Returns x / N^beta, N = bias + a * sum of x^2 over a window of channels around the own one.

    Krizhevsky, Sutskever & Hinton, ImageNet Classification with Deep Convolutional Neural Networks, 2012, section
    3.3. Outside the channels there are zeros.

    Args:
        x: (batch, ..., channels), at least 2-D.
        size: the window's, in channels, at least 1.
        alpha: at least 0.
        beta: at least 0.
        bias: positive.
        alpha_of: "sum", a = alpha; "mean", a = alpha / size, however many of the window's channels exist.
        extra: the side on which an even window has one channel more.

    Returns:
        "output", of x's shape.

    Raises:
        InvalidShape: x has fewer than two axes, or an attribute is out of range.
    """
    return {"output": x * _denominator(x, size, alpha, beta, bias, alpha_of, extra) ** -beta}


@np.errstate(all="ignore")
def local_response_norm_vjp(
    cotangents: Outputs,
    *,
    x: Array,
    size: int,
    alpha: float,
    beta: float,
    bias: float,
    alpha_of: Share,
    extra: Side,
) -> Gradients:
    """Returns g_j N_j^-beta - 2 a beta x_j * sum of g_i x_i N_i^(-beta - 1) over windows i that hold channel j."""
    base = _denominator(x, size, alpha, beta, bias, alpha_of, extra)
    cotangent = require_shape("the cotangent of output", cotangents["output"], x.shape)
    across = _windows(cotangent * x * base ** (-beta - 1), size, "high" if extra == "low" else "low")
    return {"x": cotangent * base**-beta - 2 * _factor(alpha, size, alpha_of) * beta * x * across}


@np.errstate(all="ignore")
def local_response_norm_magnitude(
    cotangents: Outputs | None,
    *,
    x: Array,
    size: int,
    alpha: float,
    beta: float,
    bias: float,
    alpha_of: Share,
    extra: Side,
) -> Magnitudes:
    """Bounds for any way to sum, and for powers taken as such, by roots, or as exp(beta log N).

    N is a sum of positive numbers: square, size - 1 sums (a product with a band of ones sums zeros besides, exactly),
    4 roundings of a, rounded itself or in two steps, bias and its sum 2: r = size + 6 of all of N.

    N^beta, or N^-beta: beta r from N; beta's own rounding, the logarithm (8 of |log N|) and their product are
    amplified by the exponential, 10 beta |log N|; and 4 of the exponential itself, or of roots and products. p = beta
    (r + 10 |log N|) + 8. The value's quotient or product adds 2: p + 3 of it.

    Gradient. The powers are N^-beta, or 1 / N^beta; the outer term passes through p + 4. The inner ones are at most g
    x / N^beta / N^beta N^(beta - 1) (autodifferentiation of a quotient by a power): 2 p and |beta - 1| (r + 10 |log
    N|) + 8 <= p + r + 10 |log N|, ten products, size - 1 sums over windows, and 4 roundings of a: 3 p + r + 10 |log
    N| + 24 + size. The difference is one more.

    Underflow: a flushed square, or sum, costs N at most (size + 2) (a + 1) eta, that is beta (size + 2) (a + 1) / N
    of N^beta; flushed products are multiplied by what follows them.
    """
    base = _denominator(x, size, alpha, beta, bias, alpha_of, extra)
    factor, logarithm = _factor(alpha, size, alpha_of), np.abs(np.log(base))
    own = size + 6.0
    bent = own + (LOGARITHM + 2) * logarithm
    power = beta * bent + EXPONENTIAL + 4
    shrunk = base**-beta
    lost = (1 + beta) * (size + 2) * (factor + 1) / base
    magnitudes = Magnitudes(
        outputs={
            "output": chained(
                (power + 3, np.abs(x) * shrunk), underflow=np.abs(x) * shrunk * lost * 2 + np.abs(x) + 3
            )
        },
        gradients={},
    )
    if cotangents is not None:
        g = np.abs(require_shape("the cotangent of output", cotangents["output"], x.shape))
        other: Side = "high" if extra == "low" else "low"
        inner = g * np.abs(x) * shrunk / base
        count = 3 * power + bent + (24 + size)
        outer = 2 * factor * beta * np.abs(x)
        across, counted = _windows(inner, size, other), _windows(count * inner, size, other)
        flushed = _windows(inner * lost * 4 + 4 * (1 + g) * (1 + np.abs(x)) * (1 + 1 / base), size, other)
        magnitudes.gradients["x"] = chained(
            (power + 5, g * shrunk),
            (1.0, outer * counted),
            (2.0, outer * across),
            longest=count.max(axis=-1, keepdims=True, initial=0.0) + 4,
            underflow=g * shrunk * lost * 2 + g + 8 + (1 + outer) * (1 + factor) * (1 + beta) * (flushed + size),
        )
    return magnitudes


def _factor(alpha: float, size: int, alpha_of: Share) -> float:
    return alpha / size if alpha_of == "mean" else alpha


def _denominator(x: Array, size: int, alpha: float, beta: float, bias: float, alpha_of: Share, extra: Side) -> Array:
    if x.ndim < 2:
        raise InvalidShape("axes of x", got=x.ndim, required="at least 2: batch, channels")
    if size < 1:
        raise InvalidShape("size", got=size, required="at least 1, a channel alone")
    for name, constant in (("alpha", alpha), ("beta", beta)):
        if not constant >= 0:
            raise InvalidShape(name, got=constant, required="at least 0")
    if not bias > 0:
        raise InvalidShape("bias", got=bias, required="a positive number")
    return bias + _factor(alpha, size, alpha_of) * _windows(np.square(x), size, extra)


def _windows(values: Array, size: int, extra: Side) -> Array:
    """Sums over a window around every channel; of an even one the larger half lies on the side `extra`."""
    smaller, larger = (size - 1) // 2, size // 2
    low, high = (larger, smaller) if extra == "low" else (smaller, larger)
    channels = values.shape[-1]
    padded = np.pad(values, [(0, 0)] * (values.ndim - 1) + [(low, high)])
    total = np.zeros(values.shape)
    for start in range(size):
        total += padded[..., start : start + channels]
    return total
