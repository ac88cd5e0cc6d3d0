"""The softmax cross-entropy loss of integer labels, from logits."""

import numpy as np

from conformance.reference.activations import Shares, shares
from conformance.reference.chains import EXPONENTIAL, LOGARITHM, ROOT, chained
from conformance.reference.magnitude import Array, Gradients, Magnitudes, Outputs
from conformance.reference.padding import InvalidShape, require_shape


@np.errstate(all="ignore")
def forward(*, logits: Array, labels: Array, reduction: str) -> Outputs:
    """Returns log(sum of exp(logits)) - logits[label], a row, evaluated after subtracting the maximum.

    Goodfellow, Bengio & Courville, Deep Learning, section 6.2.2.3. The mean of no rows is 0 / 0, NaN.

    Args:
        logits: (N, C), C at least 1.
        labels: (N,), integers in 0 ... C - 1.
        reduction: "mean", "sum" or "none".

    Returns:
        "output", of shape (N,) for "none" and () otherwise.

    Raises:
        InvalidShape: a shape does not fit, a label is out of range, or the reduction is unknown.
    """
    _check(logits, labels, reduction)
    loss = _losses(shares(logits, 1), labels)
    if reduction == "none":
        return {"output": loss}
    total = loss.sum()
    return {"output": np.asarray(total / len(loss) if reduction == "mean" else total)}


@np.errstate(all="ignore")
def vjp(cotangents: Outputs, *, logits: Array, labels: Array, reduction: str) -> Gradients:
    """Returns (softmax - one-hot) times each row's cotangent (over N for "mean"); arguments as for `forward`."""
    _check(logits, labels, reduction)
    scale = _row_scale(cotangents, logits, reduction)
    return {"logits": (shares(logits, 1).share - _one_hot(logits, labels)) * scale[:, None]}


@np.errstate(all="ignore")
def magnitude(cotangents: Outputs | None, *, logits: Array, labels: Array, reduction: str) -> Magnitudes:
    """Bounds for every way that subtracts the maximum first; arguments as for `forward`.

    Write d for logits - max, Z for the sum of exp(d), y for the label. A row's loss is log Z - d_y, or (max + log Z)
    - logits_y. Z's relative error, K + 1 roundings (see `Shares`), is the logarithm's absolute error; the logarithm
    adds gamma(8) log Z, the subtraction in d_y one rounding of |d_y|, the sum max + log Z one of its own, the last
    subtraction one of the loss. Summing N losses in any order is N - 1 roundings of each; the mean adds two for the
    division, or the product with 1 / N. Flushed may be the C terms of Z, d_y, the logarithm and the loss; then every
    partial sum.

    Gradient (p_j - 1[j = y]) g: p_j is a quotient as in the softmax, or, as for PyTorch's log-softmax, the
    exponential of d_j - log Z, whose exponent carries |d_j| roundings from the first subtraction, K + 1 + 8 log Z
    from the logarithm, and |d_j| + log Z from the second one. Both stay below 2 |d_j| + 9 log Z + K + 1 + 4 + 2. The
    one-hot term, exact, joins in a difference; the product with g, and the division by N, make four roundings of
    either term. Flushed may be what a share of the softmax loses (C + 3, times g), and four results.
    """
    _check(logits, labels, reduction)
    line = shares(logits, 1)
    rows, classes = logits.shape
    loss = _losses(line, labels)
    roundings, logarithm = line.roundings[:, 0], line.logarithm[:, 0]
    picked = np.abs(line.shifted[np.arange(rows), labels])
    whole = np.abs(logits.max(axis=1) + logarithm)
    counted = roundings + LOGARITHM * logarithm + picked + whole + loss
    longest = roundings + (LOGARITHM + 3)
    flushed = classes + 5.0
    if reduction == "none":
        output = chained((1.0, counted), longest=longest, underflow=flushed)
    else:
        share = 1 / rows if reduction == "mean" and rows else 1.0
        summing = rows - 1 + 2.0
        output = chained(
            (1.0, counted.sum() * share),
            (summing, loss.sum() * share),
            longest=longest.max(initial=0.0) + summing,
            underflow=(flushed * share + 1) * rows + 1,
        )
    magnitudes = Magnitudes(outputs={"output": output}, gradients={})
    if cotangents is not None:
        size = np.abs(_row_scale(cotangents, logits, reduction))[:, None]
        own = 2 * line.distance + 9 * line.logarithm + line.roundings + (EXPONENTIAL + ROOT)
        magnitudes.gradients["logits"] = chained(
            (own + 4, line.share * size),
            (4.0, _one_hot(logits, labels) * size),
            underflow=(classes + 3) * size + 4,
        )
    return magnitudes


def _losses(line: Shares, labels: Array) -> Array:
    return np.asarray(line.logarithm[:, 0] - line.shifted[np.arange(len(labels)), labels])


def _one_hot(logits: Array, labels: Array) -> Array:
    return np.asarray(np.arange(logits.shape[1]) == labels[:, None], dtype=np.float64)


def _row_scale(cotangents: Outputs, logits: Array, reduction: str) -> Array:
    rows = len(logits)
    cotangent = require_shape("the cotangent of output", cotangents["output"], (rows,) if reduction == "none" else ())
    return np.broadcast_to(cotangent / rows if reduction == "mean" and rows else cotangent, (rows,))


def _check(logits: Array, labels: Array, reduction: str) -> None:
    if logits.ndim != 2:
        raise InvalidShape("logits", got=f"shape {logits.shape}", required="(N, C)")
    require_shape("labels", labels, logits.shape[:1])
    if not np.issubdtype(labels.dtype, np.integer):
        raise InvalidShape("labels", got=f"elements of type {labels.dtype}", required="integers")
    if labels.size and not 0 <= labels.min() <= labels.max() < logits.shape[1]:
        raise InvalidShape("labels", got=f"{labels.min()} to {labels.max()}", required=f"0 to {logits.shape[1] - 1}")
    if reduction not in ("mean", "sum", "none"):
        raise InvalidShape("reduction", got=repr(reduction), required="'mean', 'sum' or 'none'")
