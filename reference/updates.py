"""One step of more optimisers: sgd with momentum, RMSprop, and Adam with decoupled weight decay.

As in `optimizers`, all operands of a step have one shape, everything happens element by element, and attributes are
rounded to the format before they are used. No operand of a step is differentiated: there are no gradients.
"""

import numpy as np

from conformance.reference import optimizers
from conformance.reference.chains import ROOT, chained
from conformance.reference.magnitude import Array, Gradients, Magnitudes, Outputs
from conformance.reference.padding import InvalidShape, require_shape

# Of a reciprocal square root, in units of u (numerics, "Other operators").
RECIPROCAL_ROOT = 8.0


@np.errstate(all="ignore")
def sgd_momentum_forward(
    *,
    parameter: Array,
    gradient: Array,
    velocity: Array,
    learning_rate: float,
    momentum: float,
    nesterov: bool,
    dampening: float,
    weight_decay: float,
    first: bool,
    velocity_of: str,
) -> Outputs:
    """Makes one step with momentum, in one of the two forms that frameworks have; g = gradient + weight_decay p.

        of gradients:  b' = momentum b + (1 - dampening) g,        p' = p - learning_rate b'
        of steps:      b' = momentum b - learning_rate g,          p' = p + b'

    With nesterov, b' is replaced in the update of p by momentum b' + g, and by momentum b' - learning_rate g. Both
    forms move alike while the learning rate stays as it is (Sutskever et al., On the importance of initialization
    and momentum in deep learning, 2013, section 2, have the second one).

    Args:
        parameter: p, any shape.
        gradient: parameter's shape.
        velocity: b, before the step; parameter's shape.
        learning_rate: the step's length in units of the gradient.
        momentum: what is kept of the velocity.
        nesterov: whether the step looks ahead.
        dampening: the share of the gradient that the velocity leaves out.
        weight_decay: the share of the parameter that joins the gradient.
        first: the first step, which makes the velocity g, undamped, whatever it was: PyTorch's has none before.
        velocity_of: "gradients" or "steps".

    Returns:
        "parameter" and "velocity" after the step.

    Raises:
        InvalidShape: the shapes differ, or the form is unknown or has no such option.
    """
    _check_momentum(parameter, gradient, velocity, nesterov, dampening, first, velocity_of)
    g = gradient + weight_decay * parameter
    if velocity_of == "steps":
        made = momentum * velocity - learning_rate * g
        return {
            "parameter": parameter + (momentum * made - learning_rate * g if nesterov else made),
            "velocity": made,
        }
    made = g.copy() if first else momentum * velocity + (1 - dampening) * g
    return {
        "parameter": parameter - learning_rate * (g + momentum * made if nesterov else made),
        "velocity": made,
    }


def sgd_momentum_vjp(
    cotangents: Outputs,
    *,
    parameter: Array,
    gradient: Array,
    velocity: Array,
    learning_rate: float,
    momentum: float,
    nesterov: bool,
    dampening: float,
    weight_decay: float,
    first: bool,
    velocity_of: str,
) -> Gradients:
    """Returns nothing: no operand of a step is differentiated."""
    return {}


@np.errstate(all="ignore")
def sgd_momentum_magnitude(
    cotangents: Outputs | None,
    *,
    parameter: Array,
    gradient: Array,
    velocity: Array,
    learning_rate: float,
    momentum: float,
    nesterov: bool,
    dampening: float,
    weight_decay: float,
    first: bool,
    velocity_of: str,
) -> Magnitudes:
    """Bounds for a step in any order of evaluation; arguments as for `sgd_momentum_forward`.

    Every output is a sum of parameter, gradient and velocity times products of attributes. A term passes through one
    rounding for each attribute, each product and each sum: at most 3 in g, 4 more in b' (1 - dampening is wrong by u
    at most, 1 / (1 - dampening) roundings of it), 2 for a learning rate in it, and 6 in the parameter's own update,
    where the velocity of the other form, lr b', is as good. Each product may be flushed, before others follow.
    """
    _check_momentum(parameter, gradient, velocity, nesterov, dampening, first, velocity_of)
    rate, kept = abs(learning_rate), abs(momentum)
    g = np.abs(gradient) + abs(weight_decay) * np.abs(parameter)
    if velocity_of == "steps":
        own, new, share = kept * np.abs(velocity), rate * g, 1.0
    elif first:
        own, new, share = np.zeros(g.shape), g, rate
    else:
        own, new, share = kept * np.abs(velocity), abs(1 - dampening) * g, rate
    roundings = 9 + (1 / abs(1 - dampening) if dampening not in (0, 1) else 0.0)
    step = share * (own + new)
    if nesterov:
        step = kept * step + rate * g
    lost = 2 + rate
    return Magnitudes(
        outputs={
            "parameter": chained(
                (1.0, np.abs(parameter)), (roundings + 6, step), underflow=4 * (1 + rate) * (1 + kept) * lost
            ),
            "velocity": chained((3.0, own), (roundings, new), underflow=4 * lost),
        },
        gradients={},
    )


@np.errstate(all="ignore")
def rmsprop_forward(
    *,
    parameter: Array,
    gradient: Array,
    v: Array,
    mean: Array | None = None,
    velocity: Array | None = None,
    learning_rate: float,
    rho: float,
    momentum: float,
    epsilon: float,
    epsilon_inside: bool,
    velocity_of: str,
) -> Outputs:
    """Divides the gradient by the root of its mean square (Hinton, Neural networks for machine learning, lecture 6e).

        v' = rho v + (1 - rho) gradient^2,    mean' = rho mean + (1 - rho) gradient,    s = v' - mean'^2 or v'
        q = gradient / (sqrt(s) + epsilon)    or    gradient / sqrt(s + epsilon)    with epsilon_inside

    Without a velocity, parameter' = parameter - learning_rate q; with one it becomes momentum times it, plus q
    ("gradients") or plus learning_rate q ("steps"), and the parameter moves by learning_rate times it, or by it.

    Args:
        parameter: any shape.
        gradient: parameter's shape.
        v: the mean square before the step, not negative; parameter's shape.
        mean: the mean gradient before the step, of a centred step; parameter's shape.
        velocity: of a step with momentum; parameter's shape.
        learning_rate: the step's length in units of q.
        rho: what is kept of the means, in [0, 1).
        momentum: what is kept of the velocity.
        epsilon: what keeps the quotient finite.
        epsilon_inside: whether epsilon is added under the root.
        velocity_of: "gradients" or "steps".

    Returns:
        "parameter" and the slots that were given, after the step.

    Raises:
        InvalidShape: the shapes differ, rho is outside [0, 1), or the form is unknown.
    """
    _check_rmsprop(parameter, gradient, v, mean, velocity, rho, velocity_of)
    made = {"v": rho * v + (1 - rho) * gradient**2}
    square = made["v"]
    if mean is not None:
        made["mean"] = rho * mean + (1 - rho) * gradient
        square = square - made["mean"] ** 2
    step = gradient / (np.sqrt(square + epsilon) if epsilon_inside else np.sqrt(square) + epsilon)
    if velocity is None:
        return {"parameter": parameter - learning_rate * step, **made}
    if velocity_of == "steps":
        made["velocity"] = momentum * velocity + learning_rate * step
        return {"parameter": parameter - made["velocity"], **made}
    made["velocity"] = momentum * velocity + step
    return {"parameter": parameter - learning_rate * made["velocity"], **made}


def rmsprop_vjp(
    cotangents: Outputs,
    *,
    parameter: Array,
    gradient: Array,
    v: Array,
    mean: Array | None = None,
    velocity: Array | None = None,
    learning_rate: float,
    rho: float,
    momentum: float,
    epsilon: float,
    epsilon_inside: bool,
    velocity_of: str,
) -> Gradients:
    """Returns nothing: no operand of a step is differentiated."""
    return {}


@np.errstate(all="ignore")
def rmsprop_magnitude(
    cotangents: Outputs | None,
    *,
    parameter: Array,
    gradient: Array,
    v: Array,
    mean: Array | None = None,
    velocity: Array | None = None,
    learning_rate: float,
    rho: float,
    momentum: float,
    epsilon: float,
    epsilon_inside: bool,
    velocity_of: str,
) -> Magnitudes:
    """Bounds for a step in any of the usual orders of evaluation; arguments as for `rmsprop_forward`.

    The means are those of Adam: with w = 1 - rho, mean' is within 5 (1 + w) |mean| + (2 + 5 w) |gradient|
    roundings, v' within 5 (1 + w) v + (2 + 6 w) gradient^2. Centred, s adds 2 |mean'| times the former, and two
    roundings of v' and of mean'^2; it may cancel. As |sqrt(p) - sqrt(q)| <= |p - q| / sqrt(q), the divisor D is wrong
    by the error of s (and of epsilon and the sum, where it is inside) over the root, 8 roundings of the root itself,
    and two of D. If all that is r roundings of D, the quotient is within r + 8: a division, or a product with the
    reciprocal, the learning rate and its product. The velocity adds two products and a sum, of rounded attributes.

    What is flushed in v' and mean'^2, at most seven smallest normals eta, costs the root no more than 7 eta / root
    nor than 7 eta 2^51 / D + 2^-53 D, see `adam_magnitude`.
    """
    _check_rmsprop(parameter, gradient, v, mean, velocity, rho, velocity_of)
    made = rmsprop_forward(
        parameter=parameter,
        gradient=gradient,
        v=v,
        mean=mean,
        velocity=velocity,
        learning_rate=learning_rate,
        rho=rho,
        momentum=momentum,
        epsilon=epsilon,
        epsilon_inside=epsilon_inside,
        velocity_of=velocity_of,
    )
    weight, size, rate = 1 - rho, np.abs(gradient), abs(learning_rate)
    error_v = 5 * (1 + weight) * np.abs(v) + (2 + 6 * weight) * size**2
    error, square = error_v, made["v"]
    outputs = {"v": chained((1.0, error_v), longest=9.0, underflow=4.0)}
    if mean is not None:
        error_mean = 5 * (1 + weight) * np.abs(mean) + (2 + 5 * weight) * size
        outputs["mean"] = chained((1.0, error_mean), longest=8.0, underflow=4.0)
        error = error_v + 2 * np.abs(made["mean"]) * error_mean + 2 * (square + made["mean"] ** 2)
        square = square - made["mean"] ** 2
    if epsilon_inside:
        square, error = square + epsilon, error + 2 * epsilon + np.abs(square)
    root = np.sqrt(square)
    divisor = root if epsilon_inside else root + epsilon
    # An infinite v' makes a step of exactly 0; the quotients that describe its error would be inf / inf.
    moving = (root > 0) & np.isfinite(root)
    roundings = np.where(moving, (error / root + RECIPROCAL_ROOT * root) / divisor, 0.0) + ROOT + 8
    flushed = np.where(moving, np.minimum(7 / root, 7 * 2.0**51 / divisor), 0.0)
    step = size / divisor
    lost = 2 * step * (flushed + 2) / divisor + 2 / divisor + 2
    if velocity is None:
        outputs["parameter"] = chained(
            (1.0, np.abs(parameter)), (roundings + 3, rate * step), underflow=2 * (1 + rate) * (lost + 2)
        )
        return Magnitudes(outputs=outputs, gradients={})
    share = rate if velocity_of == "steps" else 1.0
    own = abs(momentum) * np.abs(velocity)
    outputs["velocity"] = chained((3.0, own), (roundings + 3, share * step), underflow=(1 + share) * lost + 3)
    further = 1.0 if velocity_of == "steps" else rate
    outputs["parameter"] = chained(
        (1.0, np.abs(parameter)),
        (7.0, further * own),
        (roundings + 7, rate * step),
        underflow=(1 + rate) * ((1 + share) * lost + 5),
    )
    return Magnitudes(outputs=outputs, gradients={})


@np.errstate(all="ignore")
def adamw_forward(
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
    weight_decay: float,
) -> Outputs:
    """Adam's step from a parameter that is first multiplied by 1 - learning_rate * weight_decay.

    Loshchilov & Hutter, Decoupled weight decay regularization (2019), algorithm 2, with the decay times the learning
    rate as PyTorch and Keras have it. Arguments and results are those of `optimizers.adam_forward`.
    """
    return optimizers.adam_forward(
        parameter=parameter - learning_rate * weight_decay * parameter,
        gradient=gradient,
        m=m,
        v=v,
        learning_rate=learning_rate,
        beta1=beta1,
        beta2=beta2,
        epsilon=epsilon,
        step=step,
        epsilon_hat=epsilon_hat,
    )


def adamw_vjp(
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
    weight_decay: float,
) -> Gradients:
    """Returns nothing: no operand of a step is differentiated."""
    return {}


@np.errstate(all="ignore")
def adamw_magnitude(
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
    weight_decay: float,
) -> Magnitudes:
    """Adam's bounds, and those of the decay; arguments as for `adamw_forward`.

    The decayed parameter is a product with the rounded difference of 1 and a product of two rounded attributes, or a
    difference of products: 3 roundings of the parameter beside the one that Adam's bound has, and 4 of the decay.
    """
    found = optimizers.adam_magnitude(
        None,
        parameter=parameter,
        gradient=gradient,
        m=m,
        v=v,
        learning_rate=learning_rate,
        beta1=beta1,
        beta2=beta2,
        epsilon=epsilon,
        step=step,
        epsilon_hat=epsilon_hat,
    )
    own, size = found.outputs["parameter"], np.abs(parameter)
    decayed = chained(
        (own.terms, own.absolute),
        (3.0, size),
        (5.0, abs(learning_rate * weight_decay) * size),
        longest=own.terms + 4,
        underflow=own.underflow + 3,
    )
    return Magnitudes(outputs={**found.outputs, "parameter": decayed}, gradients={})


def _check_momentum(
    parameter: Array,
    gradient: Array,
    velocity: Array,
    nesterov: bool,
    dampening: float,
    first: bool,
    velocity_of: str,
) -> None:
    for name, slot in (("gradient", gradient), ("velocity", velocity)):
        require_shape(name, slot, parameter.shape)
    _check_form(velocity_of)
    if velocity_of == "steps" and (dampening or first):
        raise InvalidShape("velocity_of", got="steps", required="gradients, with dampening or in a first step")
    if nesterov and dampening:
        raise InvalidShape("dampening", got=dampening, required="0 with nesterov")


def _check_rmsprop(
    parameter: Array,
    gradient: Array,
    v: Array,
    mean: Array | None,
    velocity: Array | None,
    rho: float,
    velocity_of: str,
) -> None:
    for name, slot in (("gradient", gradient), ("v", v), ("mean", mean), ("velocity", velocity)):
        if slot is not None:
            require_shape(name, slot, parameter.shape)
    _check_form(velocity_of)
    if not 0 <= rho < 1:
        raise InvalidShape("rho", got=rho, required="a decay in [0, 1)")


def _check_form(velocity_of: str) -> None:
    if velocity_of not in ("gradients", "steps"):
        raise InvalidShape("velocity_of", got=repr(velocity_of), required="'gradients' or 'steps'")
