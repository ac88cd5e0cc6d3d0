"""Normalisations: batch, layer, group and instance; what they are made of, bounds included, is in `standardization`.

They differ in the numbers that share a mean and a variance, the *sets*: a channel of the whole batch; axes of one
element of the batch; a group of one image's channels; one channel of one image.
"""

from math import prod

import numpy as np

from conformance.reference.chains import chained
from conformance.reference.magnitude import Array, Gradients, Magnitude, Magnitudes, Outputs
from conformance.reference.padding import InvalidShape, require_shape
from conformance.reference.standardization import (
    Standardized,
    Statistics,
    given,
    magnitude_offset,
    mean_roundings,
    measured,
    standardized,
    summed_onto,
)


def batch_norm_forward(
    *, x: Array, mean: Array, variance: Array, scale: Array | None = None, offset: Array | None = None, epsilon: float
) -> Outputs:
    """Returns (x - mean) / sqrt(variance + epsilon) * scale + offset, with a given mean and variance a channel.

    Ioffe & Szegedy, Batch Normalization, 2015, algorithm 2, the network at inference.

    Args:
        x: (batch, ..., channels), at least 2-D.
        mean: (channels,).
        variance: (channels,).
        scale: (channels,), or None.
        offset: (channels,), or None.
        epsilon: what is added to the variance, positive.

    Returns:
        "output", of x's shape.

    Raises:
        InvalidShape: a shape does not fit, or epsilon is not positive.
    """
    return {"output": _inferred(x, mean, variance, scale, offset, epsilon).output}


def batch_norm_vjp(
    cotangents: Outputs,
    *,
    x: Array,
    mean: Array,
    variance: Array,
    scale: Array | None = None,
    offset: Array | None = None,
    epsilon: float,
) -> Gradients:
    """Returns the gradients for x, scale and offset; mean and variance are state, which nobody differentiates by."""
    return _gradients(cotangents, _inferred(x, mean, variance, scale, offset, epsilon), scale, offset, x)


def batch_norm_magnitude(
    cotangents: Outputs | None,
    *,
    x: Array,
    mean: Array,
    variance: Array,
    scale: Array | None = None,
    offset: Array | None = None,
    epsilon: float,
) -> Magnitudes:
    """Bounds for the centred form and for x w + (offset - mean w), w = scale / sqrt(variance + epsilon)."""
    return _magnitudes(cotangents, _inferred(x, mean, variance, scale, offset, epsilon), scale, offset, x)


@np.errstate(all="ignore")
def batch_norm_training_forward(
    *,
    x: Array,
    mean: Array,
    variance: Array,
    scale: Array | None = None,
    offset: Array | None = None,
    epsilon: float,
    momentum: float,
    bessel: bool,
) -> Outputs:
    """Normalises every channel by its own mean and biased variance over the batch, and moves the running ones.

    Ioffe & Szegedy, Batch Normalization, 2015, algorithm 1. New running mean: momentum * mean + (1 - momentum) *
    the batch's; so the variance, the batch's times n / (n - 1) with `bessel`.

    Args:
        x: (batch, ..., channels), at least 2-D.
        mean: (channels,), the running mean so far.
        variance: (channels,), the running variance so far.
        scale: (channels,), or None.
        offset: (channels,), or None.
        epsilon: what is added to the batch's variance, positive.
        momentum: the share of the old running statistics that stays, in [0, 1].
        bessel: whether the variance that enters the running one is divided by n - 1 instead of n.

    Returns:
        "output", of x's shape; "mean" and "variance", of shape (channels,).

    Raises:
        InvalidShape: a shape does not fit, epsilon or momentum are out of range, or a channel has no number, or one
            where a division by n - 1 is asked.
    """
    made = _trained(x, mean, variance, scale, offset, epsilon, momentum, bessel)
    known, stays = made.statistics, momentum
    corrected = known.variance.ravel() * _correction(known, bessel)
    return {
        "output": made.output,
        "mean": stays * mean + (1 - stays) * known.mean.ravel(),
        "variance": stays * variance + (1 - stays) * corrected,
    }


def batch_norm_training_vjp(
    cotangents: Outputs,
    *,
    x: Array,
    mean: Array,
    variance: Array,
    scale: Array | None = None,
    offset: Array | None = None,
    epsilon: float,
    momentum: float,
    bessel: bool,
) -> Gradients:
    """Pulls back the cotangent of "output", through the batch's statistics; the running ones are state only."""
    made = _trained(x, mean, variance, scale, offset, epsilon, momentum, bessel)
    return _gradients(cotangents, made, scale, offset, x)


@np.errstate(all="ignore")
def batch_norm_training_magnitude(
    cotangents: Outputs | None,
    *,
    x: Array,
    mean: Array,
    variance: Array,
    scale: Array | None = None,
    offset: Array | None = None,
    epsilon: float,
    momentum: float,
    bessel: bool,
) -> Magnitudes:
    """Bounds for the output and its gradients as in `standardization`, and for the running statistics.

    Write a for momentum, p for the old running value, q for the batch's. The new one is a p + (1 - a) q, or
    p + (1 - a) (q - p), or q - a (q - p) where a <= 1/2. Rounded are a (or 1 - a, or both), products, difference and
    sum: 4 roundings of |p| and of (1 - a) |q| at most; that 1 - a may be the difference of 1 and a rounded attribute,
    and the sum in the other forms, cost two of |p| + |q|.

    q's own error, times 1 - a: of the mean M A (step 1 there). Of the variance n + 4 of v and either sqrt(v) R V or 2
    mu^2 (step 2). As the chain is at least 6 M A / r long, mu <= r / 5 wherever the bound is finite, r^2 = v +
    epsilon, so that 2 mu^2 is at most M A r / 2 in units of u. Bessel's factor n / (n - 1) is 3 roundings more.

    Flushed may be n + 1 numbers on the way to a mean, 3 to a variance, and five results.
    """
    made = _trained(x, mean, variance, scale, offset, epsilon, momentum, bessel)
    magnitudes = _magnitudes(cotangents, made, scale, offset, x)
    known, root = made.statistics, made.root.ravel()
    n, gone = known.count, 1 - momentum
    shift, blur, correction = known.shift.ravel(), known.blur.ravel(), _correction(known, bessel)
    of_variance = np.maximum(blur, shift * root / 2) * correction

    def moved(old: Array, new: Array, own: float, error: Array, longest: Array) -> Magnitude:
        return chained(
            (4.0, np.abs(old) + gone * np.abs(new)),
            (2.0, np.abs(old) + np.abs(new)),
            (own, gone * np.abs(new)),
            (1.0, gone * error),
            longest=longest + 12,
            underflow=(n + 4) * correction + 5,
        )

    batch_variance = known.variance.ravel() * correction
    chain = mean_roundings(n) + n + 16 + 0 * root
    magnitudes.outputs["mean"] = moved(mean, known.mean.ravel(), 0.0, shift, chain)
    magnitudes.outputs["variance"] = moved(
        variance, batch_variance, n + 7.0, of_variance, np.maximum(chain, 6 * shift / root)
    )
    return magnitudes


def layer_norm_forward(
    *, x: Array, scale: Array | None = None, offset: Array | None = None, axes: tuple[int, ...], epsilon: float
) -> Outputs:
    """Normalises over axes, by the biased variance; scale and offset have a number for every place in a set.

    Ba, Kiros & Hinton, Layer Normalization, 2016.

    Args:
        x: any shape with these axes, none of them empty.
        scale: the sizes of the axes, in their order, or None.
        offset: likewise.
        axes: in ascending order, distinct; negative counts from the end.
        epsilon: what is added to the variance, positive.

    Returns:
        "output", of x's shape.

    Raises:
        InvalidShape: an axis is missing, empty, named twice or out of order, a shape does not fit, or epsilon is not
            positive.
    """
    return {"output": _layer(x, scale, offset, axes, epsilon).output}


def layer_norm_vjp(
    cotangents: Outputs,
    *,
    x: Array,
    scale: Array | None = None,
    offset: Array | None = None,
    axes: tuple[int, ...],
    epsilon: float,
) -> Gradients:
    """Returns the gradients for x, scale and offset; arguments as for `layer_norm_forward`."""
    return _gradients(cotangents, _layer(x, scale, offset, axes, epsilon), scale, offset, x)


def layer_norm_magnitude(
    cotangents: Outputs | None,
    *,
    x: Array,
    scale: Array | None = None,
    offset: Array | None = None,
    axes: tuple[int, ...],
    epsilon: float,
) -> Magnitudes:
    """Bounds as in `standardization`; arguments as for `layer_norm_forward`."""
    return _magnitudes(cotangents, _layer(x, scale, offset, axes, epsilon), scale, offset, x)


def group_norm_forward(
    *, x: Array, scale: Array | None = None, offset: Array | None = None, groups: int, epsilon: float
) -> Outputs:
    """Normalises groups of neighbouring channels of every image, over all their pixels, by the biased variance.

    Wu & He, Group Normalization, 2018, section 3.1.

    Args:
        x: (batch, ..., channels), at least 2-D.
        scale: (channels,), or None.
        offset: (channels,), or None.
        groups: how many; they divide the channels.
        epsilon: what is added to the variance, positive.

    Returns:
        "output", of x's shape.

    Raises:
        InvalidShape: a shape does not fit, the groups do not divide, a group is empty, or epsilon is not positive.
    """
    return {"output": _grouped(x, scale, offset, groups, epsilon).output.reshape(x.shape)}


def group_norm_vjp(
    cotangents: Outputs,
    *,
    x: Array,
    scale: Array | None = None,
    offset: Array | None = None,
    groups: int,
    epsilon: float,
) -> Gradients:
    """Returns the gradients for x, scale and offset; arguments as for `group_norm_forward`."""
    return _gradients(cotangents, _grouped(x, scale, offset, groups, epsilon), scale, offset, x)


def group_norm_magnitude(
    cotangents: Outputs | None,
    *,
    x: Array,
    scale: Array | None = None,
    offset: Array | None = None,
    groups: int,
    epsilon: float,
) -> Magnitudes:
    """Bounds as in `standardization`; arguments as for `group_norm_forward`."""
    return _magnitudes(cotangents, _grouped(x, scale, offset, groups, epsilon), scale, offset, x)


def instance_norm_forward(
    *, x: Array, scale: Array | None = None, offset: Array | None = None, epsilon: float
) -> Outputs:
    """Normalises every channel of every image over its pixels, by the biased variance.

    Ulyanov, Vedaldi & Lempitsky, Instance Normalization, 2016, equation 4.

    Args:
        x: (batch, ..., channels), at least 3-D, with at least one pixel.
        scale: (channels,), or None.
        offset: (channels,), or None.
        epsilon: what is added to the variance, positive.

    Returns:
        "output", of x's shape.

    Raises:
        InvalidShape: a shape does not fit, there is no pixel, or epsilon is not positive.
    """
    return {"output": _instance(x, scale, offset, epsilon).output}


def instance_norm_vjp(
    cotangents: Outputs, *, x: Array, scale: Array | None = None, offset: Array | None = None, epsilon: float
) -> Gradients:
    """Returns the gradients for x, scale and offset; arguments as for `instance_norm_forward`."""
    return _gradients(cotangents, _instance(x, scale, offset, epsilon), scale, offset, x)


def instance_norm_magnitude(
    cotangents: Outputs | None, *, x: Array, scale: Array | None = None, offset: Array | None = None, epsilon: float
) -> Magnitudes:
    """Bounds as in `standardization`; arguments as for `instance_norm_forward`."""
    return _magnitudes(cotangents, _instance(x, scale, offset, epsilon), scale, offset, x)


def _gradients(
    cotangents: Outputs, made: Standardized, scale: Array | None, offset: Array | None, x: Array
) -> Gradients:
    """Of what was made, in the shapes of the operands."""
    cotangent = require_shape("the cotangent of output", cotangents["output"], x.shape).reshape(made.x.shape)
    gradients = {"x": made.pulled(cotangent).reshape(x.shape)}
    if scale is not None:
        gradients["scale"] = summed_onto(made.pulled_scale(cotangent), made.scale.shape).reshape(scale.shape)
    if offset is not None:
        gradients["offset"] = summed_onto(cotangent, made.offset.shape).reshape(offset.shape).copy()
    return gradients


def _magnitudes(
    cotangents: Outputs | None, made: Standardized, scale: Array | None, offset: Array | None, x: Array
) -> Magnitudes:
    magnitudes = Magnitudes(outputs={"output": _reshaped(made.magnitude(), made.x, x)}, gradients={})
    if cotangents is not None:
        cotangent = require_shape("the cotangent of output", cotangents["output"], x.shape).reshape(made.x.shape)
        magnitudes.gradients["x"] = _reshaped(made.magnitude_pulled(cotangent), made.x, x)
        if scale is not None:
            own = made.magnitude_scale(cotangent, made.scale.shape)
            magnitudes.gradients["scale"] = _reshaped(own, made.scale, scale)
        if offset is not None:
            own = magnitude_offset(cotangent, made.offset.shape)
            magnitudes.gradients["offset"] = _reshaped(own, made.offset, offset)
    return magnitudes


def _reshaped(magnitude: Magnitude, made: Array, operand: Array) -> Magnitude:
    """A magnitude in the shape of an operand, which was worked on in another one."""

    def back(part: Array) -> Array:
        return part if not part.ndim else np.broadcast_to(part, made.shape).reshape(operand.shape)

    return Magnitude(
        terms=back(magnitude.terms),
        absolute=np.broadcast_to(magnitude.absolute, made.shape).reshape(operand.shape),
        underflow=back(magnitude.underflow),
    )


def _inferred(
    x: Array, mean: Array, variance: Array, scale: Array | None, offset: Array | None, epsilon: float
) -> Standardized:
    _check_channels(x, epsilon, mean=mean, variance=variance, scale=scale, offset=offset)
    row = (1,) * (x.ndim - 1) + x.shape[-1:]
    return standardized(
        x,
        given(mean.reshape(row), variance.reshape(row)),
        epsilon=epsilon,
        scale=_placed(scale, row),
        offset=_placed(offset, row),
    )


def _trained(
    x: Array,
    mean: Array,
    variance: Array,
    scale: Array | None,
    offset: Array | None,
    epsilon: float,
    momentum: float,
    bessel: bool,
) -> Standardized:
    _check_channels(x, epsilon, mean=mean, variance=variance, scale=scale, offset=offset)
    if not 0 <= momentum <= 1:
        raise InvalidShape("momentum", got=momentum, required="a share in [0, 1]")
    count, least = prod(x.shape[:-1]), 2 if bessel else 1
    if count < least:
        raise InvalidShape("numbers a channel", got=count, required=f"at least {least}")
    row = (1,) * (x.ndim - 1) + x.shape[-1:]
    return standardized(
        x,
        measured(x, tuple(range(x.ndim - 1))),
        epsilon=epsilon,
        scale=_placed(scale, row),
        offset=_placed(offset, row),
    )


def _layer(
    x: Array, scale: Array | None, offset: Array | None, axes: tuple[int, ...], epsilon: float
) -> Standardized:
    places = tuple(axis % max(x.ndim, 1) for axis in axes)
    if not axes or any(not -x.ndim <= axis < x.ndim for axis in axes) or list(places) != sorted(set(places)):
        required = f"distinct axes of an array of {x.ndim} dimensions, in ascending order"
        raise InvalidShape("axes of layer_norm", got=axes, required=required)
    sizes = tuple(x.shape[place] for place in places)
    _check(x, epsilon, sizes, scale=scale, offset=offset)
    _check_set(prod(sizes))
    spread = tuple(size if place in places else 1 for place, size in enumerate(x.shape))
    return standardized(
        x, measured(x, places), epsilon=epsilon, scale=_placed(scale, spread), offset=_placed(offset, spread)
    )


def _grouped(x: Array, scale: Array | None, offset: Array | None, groups: int, epsilon: float) -> Standardized:
    """As (batch, ..., groups, channels of a group)."""
    _check_channels(x, epsilon, scale=scale, offset=offset)
    channels = x.shape[-1]
    if groups < 1 or channels % groups:
        raise InvalidShape("groups", got=groups, required=f"a divisor of the {channels} channels")
    parted = x.reshape(*x.shape[:-1], groups, channels // groups)
    axes = (*range(1, x.ndim - 1), x.ndim)
    _check_set(prod(parted.shape[axis] for axis in axes))
    row = (1,) * (x.ndim - 1) + parted.shape[-2:]
    return standardized(
        parted, measured(parted, axes), epsilon=epsilon, scale=_placed(scale, row), offset=_placed(offset, row)
    )


def _instance(x: Array, scale: Array | None, offset: Array | None, epsilon: float) -> Standardized:
    if x.ndim < 3:
        raise InvalidShape("axes of x", got=x.ndim, required="at least 3: batch, spatial, channels")
    _check_channels(x, epsilon, scale=scale, offset=offset)
    _check_set(prod(x.shape[1:-1]))
    row = (1,) * (x.ndim - 1) + x.shape[-1:]
    return standardized(
        x,
        measured(x, tuple(range(1, x.ndim - 1))),
        epsilon=epsilon,
        scale=_placed(scale, row),
        offset=_placed(offset, row),
    )


def _correction(known: Statistics, bessel: bool) -> float:
    return known.count / (known.count - 1) if bessel else 1.0


def _placed(operand: Array | None, shape: tuple[int, ...]) -> Array | None:
    return None if operand is None else operand.reshape(shape)


def _check_channels(x: Array, epsilon: float, **operands: Array | None) -> None:
    if x.ndim < 2:
        raise InvalidShape("axes of x", got=x.ndim, required="at least 2: batch, channels")
    _check(x, epsilon, x.shape[-1:], **operands)


def _check(x: Array, epsilon: float, shape: tuple[int, ...], **operands: Array | None) -> None:
    if not epsilon > 0:
        raise InvalidShape("epsilon", got=epsilon, required="a positive number")
    for name, operand in operands.items():
        if operand is not None:
            require_shape(name, operand, shape)


def _check_set(count: int) -> None:
    if not count:
        raise InvalidShape("numbers that share a mean", got=0, required="at least one")
