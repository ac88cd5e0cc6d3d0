"""The softmax cross-entropy loss from logits, of integer labels and of labels that are probabilities.

Both are sums over classes of t_c * (log(sum of exp(logits)) - logits_c), where the target t_c is what a label says of
class c: with class weights w and smoothing s, t_c = w_c ((1 - s) q_c + s / C), q being one-hot for an integer label
(Goodfellow, Bengio & Courville, Deep Learning, sections 6.2.2.3 and 7.5.1).
"""

from dataclasses import dataclass

import numpy as np

from conformance.reference.activations import Shares, shares
from conformance.reference.chains import EXPONENTIAL, LOGARITHM, ROOT, chained
from conformance.reference.magnitude import Array, Gradients, Magnitude, Magnitudes, Outputs
from conformance.reference.padding import InvalidShape, require_shape


@np.errstate(all="ignore")
def forward(
    *,
    logits: Array,
    labels: Array,
    weights: Array | None = None,
    reduction: str,
    smoothing: float = 0.0,
    ignored: int | None = None,
) -> Outputs:
    """Returns the sum over classes of t_c (log(sum of exp(logits)) - logits_c), after subtracting the maximum.

    The mean is the sum over rows, divided by the sum of the labels' weights, as PyTorch's: by the number of rows
    without weights. Rows that are ignored lose 0 and are left out of the divisor. The mean of no rows is 0 / 0, NaN.

    Args:
        logits: (N, C), C at least 1.
        labels: (N,), integers in 0 ... C - 1, or `ignored`.
        weights: (C,), of the classes; ones if None.
        reduction: "mean", "sum" or "none".
        smoothing: the share of a label that all classes share evenly, in [0, 1].
        ignored: the label whose rows do not count; none if None.

    Returns:
        "output", of shape (N,) for "none" and () otherwise.

    Raises:
        InvalidShape: a shape does not fit, a label is out of range, or an attribute is.
    """
    return _reduced(_of_integers(logits, labels, weights, reduction, smoothing, ignored), reduction)


@np.errstate(all="ignore")
def vjp(
    cotangents: Outputs,
    *,
    logits: Array,
    labels: Array,
    weights: Array | None = None,
    reduction: str,
    smoothing: float = 0.0,
    ignored: int | None = None,
) -> Gradients:
    """Returns (sum of t * softmax - t) times each row's cotangent (over the divisor); arguments as for `forward`."""
    rows = _of_integers(logits, labels, weights, reduction, smoothing, ignored)
    return {"logits": _by_logits(rows, _row_scale(cotangents, rows, reduction))}


@np.errstate(all="ignore")
def magnitude(
    cotangents: Outputs | None,
    *,
    logits: Array,
    labels: Array,
    weights: Array | None = None,
    reduction: str,
    smoothing: float = 0.0,
    ignored: int | None = None,
) -> Magnitudes:
    """Bounds for every way that subtracts the maximum first; arguments as for `forward`.

    Write d for logits - max, Z for the sum of exp(d), l_c for log Z - d_c, or (max + log Z) - logits_c. Z's relative
    error, K + 1 roundings (see `Shares`), is the logarithm's absolute error; the logarithm adds gamma(8) log Z, the
    subtraction in d_c one rounding of |d_c|, the sum max + log Z one of its own, the last subtraction one of l_c.
    Summing N losses in any order is N - 1 roundings of each; the mean adds two for the division, or the product with
    1 / N, and those of a divisor that is itself a sum, at most N of the absolute values of its terms.

    A target passes through some roundings of its own: one for each product with a weight or with l_c, C for the sum
    over classes, and with smoothing s those of the rounded attribute (1 - s is wrong by u at most, 1 / (1 - s)
    roundings of it), of s / C, of two products and a sum. A plain integer label has none: its row is l_y.

    Gradient (T p_j - t_j) g, T being the sum of the targets: p_j is a quotient as in the softmax, or, as for
    PyTorch's log-softmax, the exponential of d_j - log Z, whose exponent carries |d_j| roundings from the first
    subtraction, K + 1 + 8 log Z from the logarithm, and |d_j| + log Z from the second one. Both stay below 2 |d_j| +
    9 log Z + K + 1 + 4 + 2. The targets join in a difference; the product with g, and the division by N, make four
    roundings of either term.

    Flushed may be the C terms of Z, d_c, the logarithm and l_c, times T; a target, times l_c; then every partial sum.
    In the gradient, what a share of the softmax loses (C + 3, times T g), four results, and the targets.
    """
    rows = _of_integers(logits, labels, weights, reduction, smoothing, ignored)
    magnitudes = Magnitudes(outputs={"output": _output(rows, reduction)}, gradients={})
    if cotangents is not None:
        magnitudes.gradients["logits"] = _of_logits(rows, np.abs(_row_scale(cotangents, rows, reduction)))
    return magnitudes


@np.errstate(all="ignore")
def dense_forward(
    *, logits: Array, labels: Array, weights: Array | None = None, reduction: str, smoothing: float
) -> Outputs:
    """As `forward`, of labels that are probabilities; the mean divides by the number of rows, whatever the weights.

    Args:
        logits: (N, C), C at least 1.
        labels: (N, C); rows sum to 1, which is not looked at.
        weights: (C,), of the classes; ones if None.
        reduction: "mean", "sum" or "none".
        smoothing: the share of a label that all classes share evenly, in [0, 1].

    Returns:
        "output", of shape (N,) for "none" and () otherwise.

    Raises:
        InvalidShape: a shape does not fit, or an attribute is out of range.
    """
    return _reduced(_of_shares(logits, labels, weights, reduction, smoothing), reduction)


@np.errstate(all="ignore")
def dense_vjp(
    cotangents: Outputs,
    *,
    logits: Array,
    labels: Array,
    weights: Array | None = None,
    reduction: str,
    smoothing: float,
) -> Gradients:
    """As `vjp`, and w_c (1 - s) (log(sum of exp(logits)) - logits_c) for the labels; arguments as `dense_forward`."""
    rows = _of_shares(logits, labels, weights, reduction, smoothing)
    scale = _row_scale(cotangents, rows, reduction)
    return {"logits": _by_logits(rows, scale), "labels": rows.slopes * rows.losses * scale[:, None]}


@np.errstate(all="ignore")
def dense_magnitude(
    cotangents: Outputs | None,
    *,
    logits: Array,
    labels: Array,
    weights: Array | None = None,
    reduction: str,
    smoothing: float,
) -> Magnitudes:
    """Bounds as those of `magnitude`; the gradient of a label is l_c, times a slope and the row's cotangent."""
    rows = _of_shares(logits, labels, weights, reduction, smoothing)
    magnitudes = Magnitudes(outputs={"output": _output(rows, reduction)}, gradients={})
    if cotangents is not None:
        size = np.abs(_row_scale(cotangents, rows, reduction))[:, None]
        slopes = np.abs(rows.slopes)
        magnitudes.gradients["logits"] = _of_logits(rows, size[:, 0])
        magnitudes.gradients["labels"] = chained(
            (1.0, slopes * rows.counted * size),
            (rows.roundings + rows.divided + 3, slopes * rows.losses * size),
            longest=rows.longest + rows.roundings + rows.divided + 3,
            underflow=(logits.shape[1] + 5) * (1 + slopes) * (1 + size) * (1 + rows.losses),
        )
    return magnitudes


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rows:
    """A batch of rows and what their labels say.

    Attributes:
        line: the softmax of the logits.
        losses: l_c of every class.
        targets: t_c of every class.
        slopes: by how much a target grows with its label's probability.
        plain: labels pick one l_c each, and nothing else is computed.
        roundings: those that a target, its product and the sum over classes pass through.
        counts: the rows that count.
        divisor: what a mean divides by; `divided` are its roundings.
        counted, longest: l_c's absolute error in units of u, and the longest chain in it.
    """

    line: Shares
    losses: Array
    targets: Array
    slopes: Array
    plain: bool
    roundings: float
    counts: Array
    divisor: float
    divided: float
    counted: Array
    longest: Array


def _of_integers(
    logits: Array, labels: Array, weights: Array | None, reduction: str, smoothing: float, ignored: int | None
) -> _Rows:
    _check(logits, weights, reduction, smoothing)
    require_shape("labels", labels, logits.shape[:1])
    if not np.issubdtype(labels.dtype, np.integer):
        raise InvalidShape("labels", got=f"elements of type {labels.dtype}", required="integers")
    counts = labels != ignored if ignored is not None else np.ones(labels.shape, np.bool_)
    own = labels[counts]
    classes = logits.shape[1]
    if own.size and not 0 <= own.min() <= own.max() < classes:
        raise InvalidShape("labels", got=f"{own.min()} to {own.max()}", required=f"0 to {classes - 1}")
    hot = np.asarray(np.arange(classes) == labels[:, None], dtype=np.float64)
    shared = np.ones(classes) if weights is None else weights
    of_rows = (hot @ shared)[counts]
    divisor = float(of_rows.sum())
    divided = 0.0 if weights is None or not divisor else len(own) * float(np.abs(of_rows).sum()) / abs(divisor)
    return _rows(
        logits, hot, weights, smoothing, counts=counts, divisor=divisor, divided=divided, dense=bool(smoothing)
    )


def _of_shares(logits: Array, labels: Array, weights: Array | None, reduction: str, smoothing: float) -> _Rows:
    _check(logits, weights, reduction, smoothing)
    require_shape("labels", labels, logits.shape)
    counts = np.ones(len(logits), np.bool_)
    return _rows(logits, labels, weights, smoothing, counts=counts, divisor=len(logits), divided=0.0, dense=True)


def _rows(
    logits: Array,
    shown: Array,
    weights: Array | None,
    smoothing: float,
    *,
    counts: Array,
    divisor: float,
    divided: float,
    dense: bool,
) -> _Rows:
    classes = logits.shape[1]
    line = shares(logits, 1)
    losses = line.logarithm - line.shifted
    whole = np.abs(logits.max(axis=1, keepdims=True) + line.logarithm)
    slopes = np.broadcast_to((1 - smoothing) * (1.0 if weights is None else weights), logits.shape)
    targets = slopes * shown
    if smoothing:
        targets = targets + smoothing / classes * (1.0 if weights is None else weights)
    roundings = (classes + 1.0 if dense else 0.0) + (0.0 if weights is None else 2.0)
    if smoothing:
        roundings += 4 + (1 / (1 - smoothing) if smoothing < 1 else 0.0)
    return _Rows(
        line=line,
        losses=losses,
        targets=np.where(counts[:, None], targets, 0.0),
        slopes=slopes,
        plain=not (dense or weights is not None),
        roundings=roundings,
        counts=counts,
        divisor=divisor,
        divided=divided,
        counted=line.roundings + LOGARITHM * line.logarithm + np.abs(line.shifted) + whole + losses,
        longest=line.roundings + (LOGARITHM + 3),
    )


def _told(targets: Array, numbers: Array) -> Array:
    """Sums over classes of a target times a number; what no target asks for does not count, whatever it is."""
    return np.asarray(np.where(targets == 0, 0.0, targets * numbers).sum(axis=1))


def _reduced(rows: _Rows, reduction: str) -> Outputs:
    loss = _told(rows.targets, rows.losses)
    if reduction == "none":
        return {"output": loss}
    total = loss.sum()
    return {"output": np.asarray(total / rows.divisor if reduction == "mean" else total)}


def _by_logits(rows: _Rows, scale: Array) -> Array:
    gradient = (rows.targets.sum(axis=1, keepdims=True) * rows.line.share - rows.targets) * scale[:, None]
    return np.where(rows.counts[:, None], gradient, 0.0)


def _output(rows: _Rows, reduction: str) -> Magnitude:
    size = np.abs(rows.targets)
    counted, loss = _told(size, rows.counted), _told(size, rows.losses)
    longest = rows.longest[:, 0] + rows.roundings
    classes = rows.losses.shape[1]
    flushed: Array | float = classes + 5.0
    if not rows.plain:
        flushed = flushed * (1 + size.sum(axis=1)) + 2 * np.where(size == 0, 0.0, rows.losses).sum(axis=1) + classes
    if reduction == "none":
        return chained((1.0, counted), (rows.roundings, loss), longest=longest, underflow=flushed)
    # Of an empty batch, or one that is ignored, nothing is left that could be wrong.
    share = 1 / abs(rows.divisor) if reduction == "mean" and rows.divisor else 1.0
    summing = len(loss) - 1 + 2.0 + (rows.divided if reduction == "mean" else 0.0)
    lost = flushed * len(loss) if rows.plain else np.sum(flushed)
    return chained(
        (1.0, counted.sum() * share),
        (summing + rows.roundings, loss.sum() * share),
        longest=longest.max(initial=0.0) + summing,
        underflow=lost * share + len(loss) + 1,
    )


def _of_logits(rows: _Rows, size: Array) -> Magnitude:
    line, classes = rows.line, rows.losses.shape[1]
    own = 2 * line.distance + 9 * line.logarithm + line.roundings + (EXPONENTIAL + ROOT)
    targets = np.abs(rows.targets)
    total, size = targets.sum(axis=1, keepdims=True), size[:, None]
    more = rows.roundings + rows.divided
    flushed = (classes + 3) * total * size + 4
    if not rows.plain:
        flushed = flushed + (2 * classes + 4) * (1 + size)
    return chained((own + 4 + more, total * line.share * size), (4.0 + more, targets * size), underflow=flushed)


def _row_scale(cotangents: Outputs, rows: _Rows, reduction: str) -> Array:
    count = len(rows.counts)
    cotangent = require_shape(
        "the cotangent of output", cotangents["output"], (count,) if reduction == "none" else ()
    )
    scale = np.broadcast_to(cotangent / rows.divisor if reduction == "mean" else cotangent, (count,))
    return np.where(rows.counts, scale, 0.0)


def _check(logits: Array, weights: Array | None, reduction: str, smoothing: float) -> None:
    if logits.ndim != 2:
        raise InvalidShape("logits", got=f"shape {logits.shape}", required="(N, C)")
    if weights is not None:
        require_shape("weights", weights, logits.shape[1:])
    if reduction not in ("mean", "sum", "none"):
        raise InvalidShape("reduction", got=repr(reduction), required="'mean', 'sum' or 'none'")
    if not 0 <= smoothing <= 1:
        raise InvalidShape("smoothing", got=smoothing, required="a share in [0, 1]")
