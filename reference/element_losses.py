"""Losses element by element: the binary cross-entropy from logits, the squared error, Kullback and Leibler's.

Their mean divides by the number of elements, whatever the weights; a "batch_mean" by the size of the first axis. The
mean of no elements is 0 / 0, NaN.
"""

import numpy as np

from conformance.reference.chains import LOGARITHM, SATURATING, Chained, chained
from conformance.reference.magnitude import Array, Gradients, Magnitude, Magnitudes, Outputs
from conformance.reference.padding import InvalidShape, require_shape


@np.errstate(all="ignore")
def binary_cross_entropy_forward(
    *,
    logits: Array,
    labels: Array,
    weights: Array | None = None,
    positive_weights: Array | None = None,
    reduction: str,
) -> Outputs:
    """Returns w (p y log(1 + exp(-x)) + (1 - y) log(1 + exp(x))), the logarithms evaluated without overflow.

    Goodfellow, Bengio & Courville, Deep Learning, section 6.2.2.2.

    Args:
        logits: x, any shape with at least one axis.
        labels: y, the probability of a yes; the logits' shape.
        weights: w, of the elements; the logits' shape, ones if None.
        positive_weights: p, what a yes counts, by class; the size of the last axis, ones if None.
        reduction: "mean", "sum" or "none".

    Returns:
        "output", of the logits' shape for "none" and () otherwise.

    Raises:
        InvalidShape: a shape does not fit, or the reduction is unknown.
    """
    weight, positive = _weights(logits, labels, weights, positive_weights, reduction)
    yes, no = _softplus(-logits), _softplus(logits)
    return _reduced(weight * (positive * labels * yes + (1 - labels) * no), reduction)


@np.errstate(all="ignore")
def binary_cross_entropy_vjp(
    cotangents: Outputs,
    *,
    logits: Array,
    labels: Array,
    weights: Array | None = None,
    positive_weights: Array | None = None,
    reduction: str,
) -> Gradients:
    """Returns w ((1 - y) s(x) - p y s(-x)), s the sigmoid, and w (p log(1 + exp(-x)) - log(1 + exp(x))), times g.

    Arguments as for `binary_cross_entropy_forward`.
    """
    weight, positive = _weights(logits, labels, weights, positive_weights, reduction)
    scale = weight * _scale(cotangents, logits.shape, reduction)
    slope = (1 - labels) * _sigmoid(logits) - positive * labels * _sigmoid(-logits)
    return {"logits": scale * slope, "labels": scale * (positive * _softplus(-logits) - _softplus(logits))}


@np.errstate(all="ignore")
def binary_cross_entropy_magnitude(
    cotangents: Outputs | None,
    *,
    logits: Array,
    labels: Array,
    weights: Array | None = None,
    positive_weights: Array | None = None,
    reduction: str,
) -> Magnitudes:
    """Bounds for the usual ways to write it; arguments as for `binary_cross_entropy_forward`.

    With t = log(1 + exp(-|x|)), softplus(x) = max(x, 0) + t, and q = 1 + (p - 1) y, the ways are
      p y softplus(-x) + (1 - y) softplus(x), or the same with the logarithm of the sigmoid for -softplus(-x);
      (1 - y) x + q (t + max(-x, 0)), PyTorch's, and TensorFlow's with weights;
      max(x, 0) - x y + t, TensorFlow's without.
    Every term is x or t times one of 1, y, 1 - y, p y and q, the sums 1 - y and q counted by the absolute values of
    their own terms: at most A = 1 + |y| + |p y| + (1 + |p - 1| |y|) in all. Beside the softplus's own roundings (16,
    on t) a term passes through at most 12: three of q, one or two products, three sums, the weight.

    Gradient by x: the same coefficients, times a sigmoid, or what autograd makes of the forms above: a step function,
    x / |x| exp(-|x|) / (1 + exp(-|x|)) and sums of them. All are at most 1 by absolute value, each within 16
    roundings; 12 more for coefficients, products and sums: gamma(28) A |g w|. By y: -x + (p - 1) softplus(-x), or
    p softplus(-x) - softplus(x): x and t with coefficients of at most B = 2 + |p| + |p - 1| together.

    Flushed may be exp(-|x|), t, and each of eight products; each is multiplied by the coefficients.
    """
    weight, positive = (np.abs(part) for part in _weights(logits, labels, weights, positive_weights, reduction))
    distance, tail = np.abs(logits), np.log1p(np.exp(-np.abs(logits)))
    away = np.ones(()) if positive_weights is None else np.abs(positive_weights - 1)
    yes = np.abs(labels)
    coefficients = 2 + yes * (1 + positive + away)
    output = _summed(
        weight * (coefficients * (distance + tail)),
        reduction,
        (12.0, weight * coefficients * distance),
        (SATURATING + 12, weight * coefficients * tail),
        underflow=8 * (1 + weight) * (1 + coefficients),
    )
    magnitudes = Magnitudes(outputs={"output": output}, gradients={})
    if cotangents is not None:
        size = weight * np.abs(_scale(cotangents, logits.shape, reduction))
        flushed = 8 * (1 + size) * (1 + weight) * (1 + coefficients)
        magnitudes.gradients["logits"] = chained((SATURATING + 14, coefficients * size), underflow=flushed)
        both = 2 + positive + away
        magnitudes.gradients["labels"] = chained(
            (14.0, both * distance * size),
            (SATURATING + 14, both * tail * size),
            underflow=8 * (1 + size) * (1 + weight) * (1 + both) * (1 + distance),
        )
    return magnitudes


@np.errstate(all="ignore")
def mean_squared_error_forward(*, x: Array, targets: Array, reduction: str) -> Outputs:
    """Returns (x - targets)^2, averaged, added or kept.

    Args:
        x: predictions, any shape.
        targets: x's shape.
        reduction: "mean", "sum" or "none".

    Returns:
        "output", of x's shape for "none" and () otherwise.

    Raises:
        InvalidShape: the shapes differ, or the reduction is unknown.
    """
    _check_reduction(reduction)
    return _reduced((x - require_shape("targets", targets, x.shape)) ** 2, reduction)


@np.errstate(all="ignore")
def mean_squared_error_vjp(cotangents: Outputs, *, x: Array, targets: Array, reduction: str) -> Gradients:
    """Returns 2 (x - targets) times the cotangent (over the number of elements), and minus that for the targets."""
    _check_reduction(reduction)
    slope = 2 * (x - require_shape("targets", targets, x.shape)) * _scale(cotangents, x.shape, reduction)
    return {"x": slope, "targets": -slope}


@np.errstate(all="ignore")
def mean_squared_error_magnitude(
    cotangents: Outputs | None, *, x: Array, targets: Array, reduction: str
) -> Magnitudes:
    """The difference is rounded once, squared it counts twice, the square is rounded; then the sum over elements.

    In a gradient: the difference, at most three products, and the division by the number of elements, or the product
    with its reciprocal, make six roundings; the last five results may be flushed, each before a factor.
    """
    _check_reduction(reduction)
    away = np.abs(x - require_shape("targets", targets, x.shape))
    output = _summed(away**2, reduction, (3.0, away**2), underflow=1.0 + 3 * away)
    magnitudes = Magnitudes(outputs={"output": output}, gradients={})
    if cotangents is not None:
        size = np.abs(_scale(cotangents, x.shape, reduction))
        own = chained((6.0, 2 * away * size), underflow=5 * (1 + size) * (1 + away))
        magnitudes.gradients.update(x=own, targets=own)
    return magnitudes


@np.errstate(all="ignore")
def kl_divergence_forward(*, x: Array, targets: Array, reduction: str) -> Outputs:
    """Returns p (log p - x), and -p x's own 0 where p is 0, averaged, added or kept.

    Kullback & Leibler, On information and sufficiency, 1951, with the logarithms of the approximation given.

    Args:
        x: logarithms of probabilities, any shape with at least one axis.
        targets: p, of x's shape, not negative.
        reduction: "mean", "batch_mean" (by the first axis), "sum" or "none".

    Returns:
        "output", of x's shape for "none" and () otherwise.

    Raises:
        InvalidShape: a shape does not fit, or the reduction is unknown.
    """
    _check_divergence(x, targets, reduction)
    return _reduced(_self_information(targets) - targets * x, reduction)


@np.errstate(all="ignore")
def kl_divergence_vjp(cotangents: Outputs, *, x: Array, targets: Array, reduction: str) -> Gradients:
    """Returns -p g; arguments as for `kl_divergence_forward`."""
    _check_divergence(x, targets, reduction)
    return {"x": -targets * _scale(cotangents, x.shape, reduction)}


@np.errstate(all="ignore")
def kl_divergence_magnitude(cotangents: Outputs | None, *, x: Array, targets: Array, reduction: str) -> Magnitudes:
    """Of p log p - p x, and of p (log p - x): a logarithm, a product, a difference; in any order of the last two.

    The logarithm is within its own roundings; product and difference make two more, and x passes through these alone.
    A gradient has the cotangent's quotient, or its product with a reciprocal, and a product: three roundings, and a
    fourth where the sum's cotangent is spread before it is divided. Any result may be flushed, before a factor.
    """
    _check_divergence(x, targets, reduction)
    own, other = np.abs(_self_information(targets)), np.abs(targets * x)
    output = _summed(
        own + other, reduction, (LOGARITHM + 2, own), (2.0, other), underflow=3.0 * (1 + np.abs(targets))
    )
    magnitudes = Magnitudes(outputs={"output": output}, gradients={})
    if cotangents is not None:
        size = np.abs(_scale(cotangents, x.shape, reduction))
        flushed = 3 * (1 + size) * (1 + np.abs(targets))
        magnitudes.gradients["x"] = chained((4.0, np.abs(targets) * size), underflow=flushed)
    return magnitudes


def _check_divergence(x: Array, targets: Array, reduction: str) -> None:
    _check_reduction(reduction, "batch_mean")
    if not x.ndim:
        raise InvalidShape("x", got="a number", required="an array of at least one axis")
    require_shape("targets", targets, x.shape)


def _self_information(targets: Array) -> Array:
    """The terms p log p, whose limit at 0 is 0."""
    return np.asarray(np.where(targets == 0, 0.0, targets * np.log(targets)))


def _reduced(losses: Array, reduction: str) -> Outputs:
    if reduction == "none":
        return {"output": np.asarray(losses)}
    return {"output": np.asarray(losses.sum() / _divisor(losses.shape, reduction))}


def _divisor(shape: tuple[int, ...], reduction: str) -> int:
    """What the sum of the losses is divided by."""
    return {"mean": int(np.prod(shape)), "batch_mean": shape[0] if shape else 1}.get(reduction, 1)


def _summed(sizes: Array, reduction: str, *terms: Chained, underflow: Array | float) -> Magnitude:
    """The magnitude of losses, or of their sum in any order: N - 1 roundings of each, and two of the mean's quotient.

    Args:
        sizes: the absolute values of each loss's terms, which every later rounding counts on.
        reduction: "mean", "batch_mean", "sum" or "none".
        terms: of one loss.
        underflow: of one loss; each partial sum, and the mean, adds one.
    """
    if reduction == "none":
        return chained(*terms, underflow=underflow)
    share = 1 / (_divisor(sizes.shape, reduction) or 1)
    summing = sizes.size + 1.0
    added: list[Chained] = [(roundings, np.sum(size) * share) for roundings, size in terms]
    return chained(
        *added,
        (summing, sizes.sum() * share),
        longest=summing + max(float(np.max(roundings)) for roundings, _ in terms),
        underflow=float(np.broadcast_to(underflow, sizes.shape).sum()) * share + sizes.size + 1,
    )


def _scale(cotangents: Outputs, shape: tuple[int, ...], reduction: str) -> Array:
    wanted = shape if reduction == "none" else ()
    cotangent = require_shape("the cotangent of output", cotangents["output"], wanted)
    return np.broadcast_to(cotangent / (_divisor(shape, reduction) or 1), shape)


def _weights(
    logits: Array, labels: Array, weights: Array | None, positive_weights: Array | None, reduction: str
) -> tuple[Array, Array]:
    _check_reduction(reduction)
    if not logits.ndim:
        raise InvalidShape("logits", got="a number", required="an array of at least one axis")
    require_shape("labels", labels, logits.shape)
    weight = np.ones(()) if weights is None else require_shape("weights", weights, logits.shape)
    if positive_weights is None:
        return weight, np.ones(())
    return weight, require_shape("positive_weights", positive_weights, logits.shape[-1:])


def _check_reduction(reduction: str, *further: str) -> None:
    allowed = ("mean", "sum", "none", *further)
    if reduction not in allowed:
        raise InvalidShape("reduction", got=repr(reduction), required=f"one of {', '.join(map(repr, allowed))}")


def _softplus(x: Array) -> Array:
    return np.maximum(x, 0.0) + np.log1p(np.exp(-np.abs(x)))


def _sigmoid(x: Array) -> Array:
    t = np.exp(-np.abs(x))
    return np.where(x >= 0, 1.0, t) / (1.0 + t)
