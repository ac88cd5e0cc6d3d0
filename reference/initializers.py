"""The Glorot uniform initialiser, as a function of the uniform numbers that it draws."""

from collections.abc import Sequence
from math import prod, sqrt

import numpy as np

from conformance.reference.chains import ROOT, chained
from conformance.reference.magnitude import Array, Gradients, Magnitudes, Outputs
from conformance.reference.padding import InvalidShape, require_shape


def glorot_limit(shape: Sequence[int]) -> float:
    """Returns sqrt(6 / (fan_in + fan_out)) for a kernel, the end of the interval that its elements are drawn from.

    Glorot & Bengio, Understanding the difficulty of training deep feedforward neural networks (2010), equation 16.
    The fans are the kernel's last two sizes, each times the number of taps.

    Args:
        shape: (*taps, in, out), at least 2-D, every size at least 1.

    Raises:
        InvalidShape: fewer dimensions, or an empty one.
    """
    if len(shape) < 2 or min(shape) < 1:
        raise InvalidShape("shape of a kernel", got=tuple(shape), required="(*taps, in, out), every size at least 1")
    taps = prod(shape[:-2])
    return sqrt(6 / (taps * shape[-2] + taps * shape[-1]))


@np.errstate(all="ignore")
def forward(*, u: Array) -> Outputs:
    """Returns (2 u - 1) * limit, with `glorot_limit` of u's shape.

    Args:
        u: uniform draws in [0, 1), in the shape of the kernel.

    Returns:
        "output", of u's shape.

    Raises:
        InvalidShape: u's shape is not that of a kernel.
    """
    return {"output": (2 * u - 1) * glorot_limit(u.shape)}


@np.errstate(all="ignore")
def vjp(cotangents: Outputs, *, u: Array) -> Gradients:
    """Returns 2 * limit times the cotangent; arguments as for `forward`."""
    return {"u": 2 * glorot_limit(u.shape) * require_shape("the cotangent of output", cotangents["output"], u.shape)}


@np.errstate(all="ignore")
def magnitude(cotangents: Outputs | None, *, u: Array) -> Magnitudes:
    """Bounds for (2 u - 1) * limit as well as u * (2 limit) - limit, with a limit computed in the format.

    The limit is a root, 2, of a quotient, whose 2 it halves, of numbers that are exact or rounded once: 4 roundings.
    Then a difference 2 limit - (-limit), a product and a sum: 7 roundings of 2 u limit, 5 of limit. A product with
    doubled limit may be flushed, and the result.
    """
    limit = glorot_limit(u.shape)
    roundings = ROOT + ROOT / 2 + 1
    output = chained((roundings + 3, 2 * np.abs(u) * limit), (roundings + 1, np.full(u.shape, limit)), underflow=2.0)
    magnitudes = Magnitudes(outputs={"output": output}, gradients={})
    if cotangents is not None:
        size = np.abs(require_shape("the cotangent of output", cotangents["output"], u.shape))
        magnitudes.gradients["u"] = chained((roundings + 2, 2 * limit * size), underflow=2.0)
    return magnitudes
