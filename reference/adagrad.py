"""One step of Adagrad: the gradient is divided by the root of the sum of all its squares.

Duchi, Hazan & Singer, Adaptive subgradient methods for online learning and stochastic optimization (2011), figure 1,
diagonal. As in `updates`, all operands of a step have one shape, attributes are rounded to the format before they are
used, and no operand of a step is differentiated.
"""

import numpy as np

from conformance.reference.chains import ROOT, chained
from conformance.reference.magnitude import Array, Gradients, Magnitudes, Outputs
from conformance.reference.padding import InvalidShape, require_shape
from conformance.reference.updates import RECIPROCAL_ROOT


@np.errstate(all="ignore")
def forward(
    *,
    parameter: Array,
    gradient: Array,
    v: Array | None = None,
    learning_rate: float,
    epsilon: float,
    epsilon_inside: bool,
    initial: float,
) -> Outputs:
    """Makes one step.

        v' = v + gradient^2
        parameter' = parameter - learning_rate gradient / (sqrt(v') + epsilon)
        parameter' = parameter - learning_rate gradient / sqrt(v' + epsilon)    with epsilon_inside

    Args:
        parameter: any shape.
        gradient: parameter's shape.
        v: the sum of squares before the step, not negative; parameter's shape. The first step has none.
        learning_rate: the step's length in units of the quotient.
        epsilon: what keeps the quotient finite.
        epsilon_inside: whether epsilon is added under the root.
        initial: what every element of v is before the first step, not negative.

    Returns:
        "parameter" and "v" after the step.

    Raises:
        InvalidShape: the shapes differ, or the initial sum is negative, or given beside v.
    """
    _check(parameter, gradient, v, initial)
    square = (initial if v is None else v) + gradient**2
    divisor = np.sqrt(square + epsilon) if epsilon_inside else np.sqrt(square) + epsilon
    return {"parameter": parameter - learning_rate * gradient / divisor, "v": square}


def vjp(
    cotangents: Outputs,
    *,
    parameter: Array,
    gradient: Array,
    v: Array | None = None,
    learning_rate: float,
    epsilon: float,
    epsilon_inside: bool,
    initial: float,
) -> Gradients:
    """Returns nothing: no operand of a step is differentiated."""
    return {}


@np.errstate(all="ignore")
def magnitude(
    cotangents: Outputs | None,
    *,
    parameter: Array,
    gradient: Array,
    v: Array | None = None,
    learning_rate: float,
    epsilon: float,
    epsilon_inside: bool,
    initial: float,
) -> Magnitudes:
    """Bounds for a step in any of the usual orders of evaluation; arguments as for `forward`.

    v' is a sum, of a square and of v, or of a rounded attribute: two roundings of each, and two results that may be
    flushed, the square and the sum. As |sqrt(p) - sqrt(q)| <= |p - q| / sqrt(q), the root is wrong by those 2 v'
    over it, and with epsilon inside by a rounding of epsilon and one of the sum beside; the root itself takes 8,
    reciprocal ones included. Two more are of the divisor D, where epsilon is outside. If all that is r roundings of
    D, the quotient is within r + 8: a division, or a product with the reciprocal, the learning rate and its product,
    and the average that a momentum of 0 makes of it.

    What is flushed in v', at most two smallest normals eta and one of the sum with epsilon, costs the root no more
    than 3 eta / root nor than 3 eta 2^51 / D + 2^-53 D, see `optimizers.adam_magnitude`.
    """
    _check(parameter, gradient, v, initial)
    size, rate = np.abs(gradient), abs(learning_rate)
    square = size**2 + (initial if v is None else v)
    under, error = square, 2 * square
    if epsilon_inside:
        under, error = square + epsilon, error + 2 * epsilon + square
    root = np.sqrt(under)
    divisor = root if epsilon_inside else root + epsilon
    # An infinite v' makes a step of exactly 0; the quotients that describe its error would be inf / inf.
    moving = (root > 0) & np.isfinite(root)
    roundings = np.where(moving, (error / root + RECIPROCAL_ROOT * root) / divisor, 0.0) + ROOT + 8
    flushed = np.where(moving, np.minimum(3 / root, 3 * 2.0**51 / divisor), 0.0)
    step = size / divisor
    lost = 2 * step * (flushed + 2) / divisor + 2 / divisor + 2
    return Magnitudes(
        outputs={
            "parameter": chained(
                (1.0, np.abs(parameter)), (roundings + 3, rate * step), underflow=2 * (1 + rate) * (lost + 2)
            ),
            "v": chained((2.0, square), underflow=2.0),
        },
        gradients={},
    )


def _check(parameter: Array, gradient: Array, v: Array | None, initial: float) -> None:
    for name, slot in (("gradient", gradient), ("v", v)):
        if slot is not None:
            require_shape(name, slot, parameter.shape)
    if initial < 0:
        raise InvalidShape("initial", got=initial, required="a sum of squares, not negative")
    if initial and v is not None:
        raise InvalidShape("initial", got=initial, required="0 beside v, from which the step starts")
