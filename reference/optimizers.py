"""One step of an optimiser, as a function of parameter, gradient and slots: sgd and adam.

Adam is Kingma & Ba, Adam: a method for stochastic optimization (2015), algorithm 1; with epsilon_hat the reordered
form at the end of its section 2. All operands of a step have one shape, and everything happens element by element.

Bounds count roundings as in `chains`. Attributes are rounded to the format before they are used, one rounding each,
and 1 - beta may be computed there: beta (1 + delta) makes it wrong by u beta, which is 999 roundings of 1 - beta
where beta is 0.999. That is what honest single-precision implementations lose.
"""

from dataclasses import dataclass
from math import sqrt

import numpy as np

from conformance.reference.chains import ROOT, chained
from conformance.reference.magnitude import Array, Gradients, Magnitudes, Outputs, exact
from conformance.reference.padding import InvalidShape, require_shape


@np.errstate(all="ignore")
def sgd_forward(*, parameter: Array, gradient: Array, learning_rate: float) -> Outputs:
    """Returns parameter - learning_rate * gradient.

    Args:
        parameter: any shape.
        gradient: parameter's shape.
        learning_rate: the step's length in units of the gradient.

    Returns:
        "parameter", of the same shape.

    Raises:
        InvalidShape: the shapes differ.
    """
    require_shape("gradient", gradient, parameter.shape)
    return {"parameter": parameter - learning_rate * gradient}


@np.errstate(all="ignore")
def sgd_vjp(cotangents: Outputs, *, parameter: Array, gradient: Array, learning_rate: float) -> Gradients:
    """Returns the cotangent, and -learning_rate times it for gradient; arguments as for `sgd_forward`."""
    require_shape("gradient", gradient, parameter.shape)
    cotangent = require_shape("the cotangent of parameter", cotangents["parameter"], parameter.shape)
    return {"parameter": cotangent.copy(), "gradient": -learning_rate * cotangent}


@np.errstate(all="ignore")
def sgd_magnitude(
    cotangents: Outputs | None, *, parameter: Array, gradient: Array, learning_rate: float
) -> Magnitudes:
    """The parameter passes through a subtraction, the gradient also through a product with a rounded rate."""
    require_shape("gradient", gradient, parameter.shape)
    rate = abs(learning_rate)
    output = chained((1.0, np.abs(parameter)), (3.0, rate * np.abs(gradient)), underflow=2.0)
    magnitudes = Magnitudes(outputs={"parameter": output}, gradients={})
    if cotangents is not None:
        cotangent = require_shape("the cotangent of parameter", cotangents["parameter"], parameter.shape)
        magnitudes.gradients["parameter"] = exact(parameter)
        magnitudes.gradients["gradient"] = chained((2.0, rate * np.abs(cotangent)), underflow=1.0)
    return magnitudes


@np.errstate(all="ignore")
def adam_forward(
    *,
    parameter: Array,
    gradient: Array,
    m: Array,
    v: Array,
    learning_rate: float,
    beta1: float,
    beta2: float,
    epsilon: float,
    step: int,
    epsilon_hat: bool,
) -> Outputs:
    """Makes one step of Adam.

        m' = beta1 m + (1 - beta1) gradient,    v' = beta2 v + (1 - beta2) gradient^2,    c_i = 1 - beta_i^step
        parameter' = parameter - learning_rate (m' / c_1) / (sqrt(v' / c_2) + epsilon)
        parameter' = parameter - learning_rate sqrt(c_2) / c_1 * m' / (sqrt(v') + epsilon)    with epsilon_hat

    Args:
        parameter: any shape.
        gradient: parameter's shape.
        m: the first moment before the step; parameter's shape.
        v: the second moment before the step, not negative; parameter's shape.
        learning_rate: alpha of the paper.
        beta1: decay of m, in [0, 1).
        beta2: decay of v, in [0, 1).
        epsilon: what keeps the quotient finite.
        step: which step is being made; the first is 1.
        epsilon_hat: whether epsilon is added before the bias correction.

    Returns:
        "parameter", "m" and "v" after the step, of the same shape.

    Raises:
        InvalidShape: the shapes differ, a decay is outside [0, 1), or step is below 1.
    """
    made = _made(parameter, gradient, m, v, learning_rate, beta1, beta2, epsilon, step, epsilon_hat)
    return {"parameter": parameter - made.update, "m": made.m, "v": made.v}


@np.errstate(all="ignore")
def adam_vjp(
    cotangents: Outputs,
    *,
    parameter: Array,
    gradient: Array,
    m: Array,
    v: Array,
    learning_rate: float,
    beta1: float,
    beta2: float,
    epsilon: float,
    step: int,
    epsilon_hat: bool,
) -> Gradients:
    """Differentiates the step with respect to parameter, gradient, m and v; arguments as for `adam_forward`.

    With update = a m' / D and D = s sqrt(v') + epsilon, the derivatives of the update are a / D by m' and -a m' s /
    (2 D^2 sqrt(v')) by v'; the latter does not exist where v' = 0, and comes out as NaN or infinity there.
    """
    made = _made(parameter, gradient, m, v, learning_rate, beta1, beta2, epsilon, step, epsilon_hat)
    of_parameter, of_m, of_v = _adam_cotangents(cotangents, parameter)
    by_m = of_m - of_parameter * made.rate / made.divisor
    by_v = of_v + of_parameter * made.fall * made.m
    return {
        "parameter": of_parameter.copy(),
        "gradient": (1 - beta1) * by_m + 2 * (1 - beta2) * gradient * by_v,
        "m": beta1 * by_m,
        "v": beta2 * by_v,
    }


@np.errstate(all="ignore")
def adam_magnitude(
    cotangents: Outputs | None,
    *,
    parameter: Array,
    gradient: Array,
    m: Array,
    v: Array,
    learning_rate: float,
    beta1: float,
    beta2: float,
    epsilon: float,
    step: int,
    epsilon_hat: bool,
) -> Magnitudes:
    """Bounds for a step in any of the usual orders of evaluation; arguments as for `adam_forward`.

    Moments. With w = 1 - beta, m' is beta m + w g, or m + w (g - m), or g - beta (g - m) where beta <= 1/2. The
    difference, product, sum and rounded attributes are at most 5 roundings of m, of w m and of w g; that w or beta is
    the difference of 1 and a rounded attribute costs u (|g| + |m|), and the last form one rounding of g. Together
    5 (1 + w) |m| + (2 + 5 w) |g|; for v' the square is one more of w g^2.

    Update a m' / D, D = s sqrt(v') + epsilon, s = 1 / sqrt(c_2) or 1, in units of u relative to the update:
      c = 1 - beta^t: beta^t takes t roundings of beta, at most t of repeated products and 2 of a power function,
        amplified by beta^t / c, and the subtraction. Call this r_1 and r_2; sqrt(c_2) halves r_2 and adds 2.
      sqrt(v'), or of v' / c_2: half the relative error of v', 2 for the root and 2 for a quotient, weighted by its
        part in D.
      D: epsilon's rounding and the sum; one more, see below.
      Quotients and products with a, m' and 1 / D, rounded attributes: 8.
    The error of m' enters as it is, because m' may have cancelled: a / D times the above. The subtraction from the
    parameter is one rounding.

    Underflow. gradient^2 may be flushed, and with it v': up to 5 smallest normals eta in all, products and sums
    included. As |sqrt(p) - sqrt(q)| is at most |p - q| / sqrt(q) as well as sqrt(|p - q|) <= (|p - q| / c + c) / 2
    for every c > 0, it costs sqrt(v') no more than 5 eta / sqrt(v'), nor than 5 eta 2^51 s / D + 2^-53 D / s (c is
    2^-52 D / s), where 2^-53 D is a rounding of D in any format. This and the other flushed results are multiplied by
    what follows them; a factor of 2 holds as long as D is not wrong by more than half, that is for
    D > 2 s sqrt(5 eta): a step with epsilon = 0 and a gradient below sqrt(eta) is a question that the format cannot
    answer.

    Gradients: the same counts; where 1 - beta multiplies, 1 / (1 - beta) roundings of it.
    """
    made = _made(parameter, gradient, m, v, learning_rate, beta1, beta2, epsilon, step, epsilon_hat)
    weight1, weight2 = 1 - beta1, 1 - beta2
    size_g, size_m, size_v, rate = np.abs(gradient), np.abs(m), np.abs(v), abs(made.rate)
    error_m = 5 * (1 + weight1) * size_m + (2 + 5 * weight1) * size_g
    error_v = 5 * (1 + weight2) * size_v + (2 + 6 * weight2) * size_g**2

    # An infinite v' makes an update of exactly 0; the quotients that describe its error would be inf / inf.
    moving = (made.v > 0) & np.isfinite(made.v)
    relative_v = np.where(moving, error_v / made.v, 0.0)
    part = np.where(moving, made.scale * made.root / made.divisor, 0.0)
    roundings_root = relative_v / 2 + 2 * ROOT
    roundings_divisor = roundings_root * part + 3
    correction1 = _correction(beta1, step)
    correction2 = _correction(beta2, step) / 2 + ROOT
    roundings = correction1 + correction2 + roundings_divisor + 8

    flushed_root = np.where(moving, np.minimum(5 / made.root, 5 * 2.0**51 * made.scale / made.divisor), 0.0)
    flushed_divisor = (made.scale * flushed_root + 2) / made.divisor
    inverse1, inverse2 = 1 / (1 - beta1**step), 1 / sqrt(1 - beta2**step)
    flushed_factors = (inverse1 + inverse2 + abs(learning_rate) + 5 * rate) / made.divisor + rate
    update = np.abs(made.update)
    magnitudes = Magnitudes(
        outputs={
            "parameter": chained(
                (1.0, np.abs(parameter)),
                (roundings + 1, update),
                (1.0, rate / made.divisor * error_m),
                longest=roundings + 10,
                underflow=2 * update * flushed_divisor + flushed_factors + 2,
            ),
            "m": chained((1.0, error_m), longest=8.0, underflow=4.0),
            "v": chained((1.0, error_v), longest=9.0, underflow=4.0),
        },
        gradients={},
    )
    if cotangents is not None:
        of_parameter, of_m, of_v = (np.abs(cotangent) for cotangent in _adam_cotangents(cotangents, parameter))
        straight = of_parameter * rate / made.divisor
        fall = of_parameter * np.abs(made.fall)
        bent, bent_m = fall * np.abs(made.m), fall * error_m
        roundings_bent = roundings + roundings_divisor + roundings_root + correction2
        longest = roundings_bent + 1 / weight1 + 1 / weight2 + 20
        flushed_straight = 2 * straight * flushed_divisor + (1 + of_parameter) * (flushed_factors + 1)
        inverses = (1 + 1 / made.divisor) ** 2 * (1 + 1 / made.root) * (inverse1 + inverse2)
        flushed_bent = (
            bent * (4 * flushed_divisor + 10 / made.v)
            + 5 * fall
            + (1 + of_parameter) * (1 + rate) * (1 + np.abs(made.m)) * inverses
        )
        magnitudes.gradients["parameter"] = exact(parameter)
        magnitudes.gradients["gradient"] = chained(
            (roundings + 6 + 1 / weight1, weight1 * straight),
            (6 + 1 / weight1, weight1 * of_m),
            (roundings_bent + 8 + 1 / weight2, 2 * weight2 * size_g * bent),
            (8 + 1 / weight2, 2 * weight2 * size_g * of_v),
            (1.0, 2 * weight2 * size_g * bent_m),
            longest=longest,
            underflow=flushed_straight + 2 * size_g * (flushed_bent + 2) + 4,
        )
        magnitudes.gradients["m"] = chained(
            (roundings + 6, (1 + weight1) * straight),
            (6.0, (1 + weight1) * of_m),
            longest=longest,
            underflow=2 * flushed_straight + 3,
        )
        magnitudes.gradients["v"] = chained(
            (roundings_bent + 8, (1 + weight2) * bent),
            (6.0, (1 + weight2) * of_v),
            (1.0, (1 + weight2) * bent_m),
            longest=longest,
            underflow=2 * flushed_bent + 3,
        )
    return magnitudes


@dataclass(frozen=True, slots=True)
class _Made:
    """A step that was made: update = rate * m / divisor, with the new m and v.

    The divisor is scale * root + epsilon, root = sqrt(v). `fall` times m is what the parameter gains by a unit
    of v: rate * scale / (2 divisor^2 root).
    """

    m: Array
    v: Array
    rate: float
    scale: float
    root: Array
    divisor: Array
    update: Array
    fall: Array


def _made(
    parameter: Array,
    gradient: Array,
    m: Array,
    v: Array,
    learning_rate: float,
    beta1: float,
    beta2: float,
    epsilon: float,
    step: int,
    epsilon_hat: bool,
) -> _Made:
    for name, slot in (("gradient", gradient), ("m", m), ("v", v)):
        require_shape(name, slot, parameter.shape)
    for name, beta in (("beta1", beta1), ("beta2", beta2)):
        if not 0 <= beta < 1:
            raise InvalidShape(name, got=beta, required="a decay in [0, 1)")
    if step < 1:
        raise InvalidShape("step", got=step, required="at least 1, the number of the first step")
    new_m = beta1 * m + (1 - beta1) * gradient
    new_v = beta2 * v + (1 - beta2) * gradient**2
    correction1, correction2 = 1 - beta1**step, 1 - beta2**step
    rate = learning_rate / correction1 * (sqrt(correction2) if epsilon_hat else 1.0)
    scale = 1.0 if epsilon_hat else 1 / sqrt(correction2)
    root = np.sqrt(new_v)
    divisor = scale * root + epsilon
    return _Made(
        m=new_m,
        v=new_v,
        rate=rate,
        scale=scale,
        root=root,
        divisor=divisor,
        update=rate * new_m / divisor,
        fall=rate * scale / (2 * divisor**2 * root),
    )


def _correction(beta: float, step: int) -> float:
    """Counts the roundings of 1 - beta^step, relative to it."""
    power = beta**step
    return (2 * step + 2) * power / (1 - power) + 1


def _adam_cotangents(cotangents: Outputs, parameter: Array) -> tuple[Array, ...]:
    return tuple(
        require_shape(f"the cotangent of {name}", cotangents[name], parameter.shape)
        for name in ("parameter", "m", "v")
    )
