"""Smoothed, weighted, ignored and dense labels, and element-wise losses.

Against loops, SciPy, the complex step and single precision.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

from conformance.reference.magnitude import Array
from conformance.reference.operators import OPERATORS
from conformance.reference.padding import InvalidShape
from conformance.reference.tests.products import normal32
from conformance.reference.tests.steps import (
    MOST,
    assert_equal_in_float64,
    assert_within,
    complex_step,
    share_outside,
)

REDUCTIONS = ["mean", "sum", "none"]
SPARSE, DENSE = OPERATORS["softmax_cross_entropy"], OPERATORS["softmax_cross_entropy_dense"]
BINARY, SQUARED = OPERATORS["binary_cross_entropy"], OPERATORS["mean_squared_error"]
F32 = np.float32


def looped(
    logits: Array, labels: Array, weights: Array | None, reduction: str, smoothing: float, ignored: int | None
) -> Array:
    """What a label asks of every class, one number after the other; PyTorch's documentation words it so."""
    losses, divisor = [], 0.0
    for x, label in zip(logits, labels, strict=True):
        if np.ndim(label) == 0 and label == ignored:
            losses.append(0.0)
            continue
        logs = special.log_softmax(x)
        loss = 0.0
        for c in range(len(x)):
            asked = float(c == label) if np.ndim(label) == 0 else label[c]
            w = 1.0 if weights is None else weights[c]
            loss += -w * ((1 - smoothing) * asked + smoothing / len(x)) * logs[c]
        losses.append(loss)
        divisor += 1.0 if weights is None or np.ndim(label) else weights[label]
    if reduction == "none":
        return np.array(losses)
    return np.array(sum(losses) / (divisor if reduction == "mean" else 1.0))


def entropy(logits: Array, targets: Array, divisor: float, reduction: str) -> dict[str, Array]:
    d = logits - logits.real.max(axis=1, keepdims=True)
    rows = (targets * (np.log(np.exp(d).sum(axis=1, keepdims=True)) - d)).sum(axis=1)
    return {"output": rows if reduction == "none" else rows.sum() / (divisor if reduction == "mean" else 1.0)}


@settings(deadline=None, max_examples=60)
@given(
    rows=st.integers(1, 5),
    classes=st.integers(1, 5),
    reduction=st.sampled_from(REDUCTIONS),
    smoothing=st.sampled_from([0.0, 0.1, 0.75, 1.0]),
    weighted=st.booleans(),
    ignored=st.sampled_from([None, 0, -1]),
    dense=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_cross_entropy_equals_loops_and_complex_step(
    rows: int,
    classes: int,
    reduction: str,
    smoothing: float,
    weighted: bool,
    ignored: int | None,
    dense: bool,
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    logits = 3 * rng.standard_normal((rows, classes))
    weights = rng.random(classes) + 0.1 if weighted else None
    case: dict[str, Any] = {"logits": logits, "reduction": reduction, "smoothing": smoothing, "weights": weights}
    labels: Array
    if dense:
        labels = rng.dirichlet(np.ones(classes), size=rows)
        ignored, reference = None, DENSE
    else:
        labels, reference = rng.integers(classes, size=rows), SPARSE
        if ignored == -1:
            labels[rng.random(rows) < 0.4] = -1
        case["ignored"] = ignored
    g = {"output": normal32(rng, (rows,) if reduction == "none" else ())}
    bound = reference.magnitude(g, labels=labels, **case)
    got = reference.forward(labels=labels, **case)["output"]
    if not dense and (labels == ignored).all() and reduction == "mean":
        assert np.isnan(got)
        assert not reference.vjp(g, labels=labels, **case)["logits"].any()
        return
    expected = looped(logits, labels, weights, reduction, smoothing, ignored)
    assert_equal_in_float64(got, expected, bound.outputs["output"])

    shared = np.ones(classes) if weights is None else weights
    asked = labels if dense else (np.arange(classes) == labels[:, None]) * 1.0
    counts = np.ones(rows) if dense else (labels != ignored) * 1.0
    targets = ((1 - smoothing) * asked + smoothing / classes) * shared * counts[:, None]
    divisor = rows if dense else float((shared[labels] * counts).sum())

    def of_logits(logits: Array) -> dict[str, Array]:
        return entropy(logits, targets, divisor, reduction)

    by_logits = complex_step(of_logits, {"logits": logits}, "logits", g)
    gradients = reference.vjp(g, labels=labels, **case)
    assert_equal_in_float64(gradients["logits"], by_logits, bound.gradients["logits"])
    if dense:

        def of_labels(labels: Array) -> dict[str, Array]:
            targets = ((1 - smoothing) * labels + smoothing / classes) * shared
            return entropy(logits, targets, divisor, reduction)

        by_labels = complex_step(of_labels, {"labels": labels}, "labels", g)
        assert_equal_in_float64(gradients["labels"], by_labels, bound.gradients["labels"])


def test_cross_entropy_by_hand() -> None:
    """Rows of probabilities (1/8, 1/4, 5/8) and (3/8, 3/8, 1/4)."""
    logits = np.log(np.array([[1.0, 2.0, 5.0], [3.0, 3.0, 2.0]]))
    l8, l4, l58, l38 = (-np.log(p) for p in (1 / 8, 1 / 4, 5 / 8, 3 / 8))
    case: dict[str, Any] = {"logits": logits, "labels": np.array([2, 0]), "smoothing": 0.0}
    weights = np.array([1.0, 2.0, 3.0])
    near: dict[str, Any] = {"rel": 2.0**-48}  # a few roundings of numbers below 7 each
    weighted = SPARSE.forward(**case, weights=weights, reduction="mean")["output"]
    assert weighted == pytest.approx((3 * l58 + 1 * l38) / (3 + 1), **near)
    smoothed = SPARSE.forward(**{**case, "smoothing": 0.3}, reduction="none")["output"]
    assert smoothed == pytest.approx([0.7 * l58 + 0.1 * (l8 + l4 + l58), 0.7 * l38 + 0.1 * (2 * l38 + l4)], **near)
    ignoring = SPARSE.forward(**{**case, "labels": np.array([2, -7])}, ignored=-7, reduction="mean")["output"]
    assert ignoring == pytest.approx(l58, **near)
    dense = {**case, "labels": np.array([[0.5, 0.5, 0], [0, 0, 1]])}
    assert DENSE.forward(**dense, reduction="none")["output"] == pytest.approx([(l8 + l4) / 2, l4], **near)
    both = DENSE.forward(**dense, weights=weights, reduction="mean")["output"]
    assert both == pytest.approx(((l8 + 2 * l4) / 2 + 3 * l4) / 2, **near)


def single_cross_entropies(x: Array, targets: Array, divisor: Any, g: Array) -> Iterator[tuple[Array, Array]]:
    """(output, gradient by the logits) in float32, as PyTorch's two steps and as one sum of products."""
    d = x - x.max(axis=1, keepdims=True)
    e = np.exp(d)
    total = e.cumsum(axis=1, dtype=F32)[:, -1:]
    log = np.log(total)
    ways = ((d - log, e / total), (x - (x.max(axis=1, keepdims=True) + log), np.exp(d - log)))
    for logs, share in ways:
        losses = -(targets * logs).cumsum(axis=1, dtype=F32)[:, -1]
        sent = np.broadcast_to(g if divisor is None else g / divisor, (len(x),))[:, None]
        upstream = -targets * sent
        gradient = upstream - share * upstream.cumsum(axis=1, dtype=F32)[:, -1:]
        yield losses if divisor is None else losses.cumsum(dtype=F32)[-1] / divisor, gradient


@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize(("spread", "classes"), [(1.0, 2), (1.0, 200), (60.0, 10)])
def test_single_precision_lies_inside_the_bound(dense: bool, reduction: str, spread: float, classes: int) -> None:
    rng = np.random.default_rng(16)
    logits, weights = spread * normal32(rng, (40, classes)), np.abs(normal32(rng, (classes,)))
    logits = logits.astype(F32).astype(np.float64)
    g = {"output": normal32(rng, (40,) if reduction == "none" else ())}
    labels = rng.integers(classes, size=40)
    shown = (np.arange(classes) == labels[:, None]).astype(F32)
    if dense:
        shown = np.floor(rng.dirichlet(np.ones(classes), size=40) * 2**12).astype(F32) / F32(2**12)
    case: dict[str, Any] = {
        "logits": logits,
        "labels": shown.astype(np.float64) if dense else labels,
        "weights": weights,
        "reduction": reduction,
        "smoothing": 0.1,
    }
    reference = DENSE if dense else SPARSE
    value, gradient = reference.forward(**case)["output"], reference.vjp(g, **case)["logits"]
    bound = reference.magnitude(g, **case)
    w = weights.astype(F32)
    targets = (shown * F32(1 - 0.1) + F32(0.1) / F32(classes)) * w
    divisor = F32(40) if dense else w[labels].cumsum(dtype=F32)[-1]
    given = divisor if reduction == "mean" else None
    for output, pulled in single_cross_entropies(logits.astype(F32), targets, given, g["output"].astype(F32)):
        assert_within(np.asarray(output), value, bound.outputs["output"])
        assert_within(pulled, gradient, bound.gradients["logits"])
    if reduction == "none":
        moved = reference.forward(**{**case, "weights": weights * (1 + 1e-3)})["output"]
        assert share_outside(moved, value, bound.outputs["output"]) > MOST


@pytest.mark.parametrize("classes", [1, 3])
def test_what_is_ignored_does_not_count_even_where_it_is_not_a_number(classes: int) -> None:
    logits = np.array([[np.nan] * classes, [0.0] * classes])
    case: dict[str, Any] = {"logits": logits, "labels": np.array([9, 0]), "ignored": 9}
    got = SPARSE.forward(**case, reduction="mean")["output"]
    assert got == pytest.approx(np.log(classes), abs=2.0**-52)
    gradient = SPARSE.vjp({"output": np.ones(())}, **case, reduction="sum")["logits"]
    assert not gradient[0].any()


# Element by element -------------------------------------------------------------------------------------------------


def binary(x: Array, y: Array, w: Array, p: Array) -> Array:
    """The definition, from probabilities; for logits of moderate size."""
    share = 1 / (1 + np.exp(-x))
    return np.asarray(-w * (p * y * np.log(share) + (1 - y) * np.log(1 - share)))


@settings(deadline=None, max_examples=40)
@given(
    shape=st.tuples(st.integers(1, 4), st.integers(1, 3)),
    reduction=st.sampled_from(REDUCTIONS),
    weighted=st.booleans(),
    positive=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_binary_cross_entropy_equals_definition_and_complex_step(
    shape: tuple[int, int], reduction: str, weighted: bool, positive: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal(shape), rng.random(shape)
    w = rng.random(shape) if weighted else None
    p = 3 * rng.random(shape[-1]) if positive else None
    case: dict[str, Any] = {"weights": w, "positive_weights": p, "reduction": reduction}
    g = {"output": normal32(rng, shape if reduction == "none" else ())}
    bound = BINARY.magnitude(g, logits=x, labels=y, **case)
    one = np.ones(())

    def formula(logits: Array, labels: Array) -> dict[str, Array]:
        losses = binary(logits, labels, one if w is None else w, one if p is None else p)
        reduced: dict[str, Any] = {"mean": np.mean, "sum": np.sum, "none": np.asarray}
        return {"output": reduced[reduction](losses)}

    operands = {"logits": x, "labels": y}
    assert_equal_in_float64(
        BINARY.forward(**operands, **case)["output"], formula(**operands)["output"], bound.outputs["output"]
    )
    gradients = BINARY.vjp(g, **operands, **case)
    for name in operands:
        assert_equal_in_float64(gradients[name], complex_step(formula, operands, name, g), bound.gradients[name])


def test_binary_cross_entropy_by_hand() -> None:
    """softplus(0) = log 2; far from 0 a loss is the logit, or nothing."""
    case: dict[str, Any] = {"logits": np.array([0.0, 1000, -1000, 1000]), "labels": np.array([0.25, 1, 1, 0.5])}
    got = BINARY.forward(**case, reduction="none")["output"]
    assert got.tolist() == pytest.approx([np.log(2), 0, 1000, 500], rel=2.0**-50)
    positive = BINARY.forward(**case, positive_weights=np.array([3.0, 5, 2, 1]), reduction="none")["output"]
    assert positive.tolist() == pytest.approx([1.5 * np.log(2), 0, 2000, 500], rel=2.0**-50)
    gradients = BINARY.vjp({"output": np.ones(4)}, **case, reduction="none")
    assert gradients["logits"].tolist() == [0.25, 0, -1, 0.5]
    assert gradients["labels"].tolist() == [0, -1000, 1000, -1000]


def single_binaries(x: Array, y: Array, w: Array, p: Array) -> Iterator[Array]:
    one = F32(1)
    tail = np.log1p(np.exp(-np.abs(x)))
    more = (p - one) * y + one
    yield w * ((one - y) * x + more * (tail + np.maximum(-x, F32(0))))
    yield w * (p * y * (np.maximum(-x, F32(0)) + tail) + (one - y) * (np.maximum(x, F32(0)) + tail))


@pytest.mark.parametrize("spread", [1.0, 30.0])
def test_binary_cross_entropy_in_single_precision_lies_inside_the_bound(spread: float) -> None:
    rng = np.random.default_rng(17)
    x = (spread * normal32(rng, (500, 3))).astype(F32).astype(np.float64)
    y, w = (rng.random((500, 3), dtype=F32).astype(np.float64) for _ in range(2))
    p = np.array([0.25, 1, 4.0])
    case: dict[str, Any] = {"logits": x, "labels": y, "weights": w, "positive_weights": p, "reduction": "none"}
    g = {"output": normal32(rng, (500, 3))}
    value, gradients, bound = BINARY.forward(**case)["output"], BINARY.vjp(g, **case), BINARY.magnitude(g, **case)
    fx, fy, fw, fp, fg = (array.astype(F32) for array in (x, y, w, p, g["output"]))
    for output in single_binaries(fx, fy, fw, fp):
        assert_within(output, value, bound.outputs["output"])
    with np.errstate(over="ignore"):
        share = F32(1) / (F32(1) + np.exp(-fx))
    yes = fp * fy
    assert_within(((yes + F32(1) - fy) * share - yes) * fw * fg, gradients["logits"], bound.gradients["logits"])
    soft = np.log1p(np.exp(-np.abs(fx))) + np.maximum(-fx, F32(0))
    assert_within((-fx + (fp - F32(1)) * soft) * fw * fg, gradients["labels"], bound.gradients["labels"])
    moved = BINARY.forward(**{**case, "labels": y * (1 + 1e-3)})["output"]
    assert share_outside(moved, value, bound.outputs["output"]) > 0.5  # near x = 0 a label hardly matters
    moved = BINARY.forward(**{**case, "weights": w * (1 + 1e-3)})["output"]
    assert share_outside(moved, value, bound.outputs["output"]) > MOST
    pulled = BINARY.vjp({"output": g["output"] * (1 + 1e-3)}, **case)
    assert share_outside(pulled["logits"], gradients["logits"], bound.gradients["logits"]) > MOST


def test_squared_error_by_hand() -> None:
    case: dict[str, Any] = {"x": np.array([[1.0, 2], [3, 5]]), "targets": np.array([[1.0, 0], [6, 1]])}
    assert SQUARED.forward(**case, reduction="none")["output"].tolist() == [[0, 4], [9, 16]]
    assert SQUARED.forward(**case, reduction="sum")["output"] == 29
    assert SQUARED.forward(**case, reduction="mean")["output"] == 7.25
    gradients = SQUARED.vjp({"output": np.array(2.0)}, **case, reduction="mean")
    assert gradients["x"].tolist() == [[0, 2], [-3, 4]]
    assert gradients["targets"].tolist() == [[0, -2], [3, -4]]


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_squared_error_against_the_step_and_single_precision(reduction: str) -> None:
    rng = np.random.default_rng(18)
    operands = {"x": normal32(rng, (20, 3)), "targets": normal32(rng, (20, 3))}
    g = {"output": normal32(rng, (20, 3) if reduction == "none" else ())}
    bound = SQUARED.magnitude(g, **operands, reduction=reduction)
    value = SQUARED.forward(**operands, reduction=reduction)["output"]
    gradients = SQUARED.vjp(g, **operands, reduction=reduction)
    reduced: dict[str, Any] = {"mean": np.mean, "sum": np.sum, "none": np.asarray}

    def formula(x: Array, targets: Array) -> dict[str, Array]:
        return {"output": reduced[reduction]((x - targets) ** 2)}

    for name in operands:
        assert_equal_in_float64(gradients[name], complex_step(formula, operands, name, g), bound.gradients[name])
    away = operands["x"].astype(F32) - operands["targets"].astype(F32)
    summed = {"mean": lambda a: a.ravel().cumsum(dtype=F32)[-1] * (F32(1) / F32(60)), "none": lambda a: a}
    summed["sum"] = lambda a: a.ravel().cumsum(dtype=F32)[-1]
    assert_within(np.asarray(summed[reduction](away * away)), value, bound.outputs["output"])
    share = F32(1 / 60) if reduction == "mean" else F32(1)
    assert_within(F32(2) * away * (g["output"].astype(F32) * share), gradients["x"], bound.gradients["x"])
    assert share_outside(value * (1 + 1e-3), value, bound.outputs["output"]) > MOST
    assert share_outside(gradients["x"] * (1 + 1e-3), gradients["x"], bound.gradients["x"]) == 1


def test_empty_batches_are_legal() -> None:
    none = np.zeros((0, 3))
    assert DENSE.forward(logits=none, labels=none, reduction="sum", smoothing=0.1)["output"] == 0
    assert np.isnan(BINARY.forward(logits=none, labels=none, reduction="mean")["output"])
    for reference, names in ((BINARY, ("logits", "labels")), (SQUARED, ("x", "targets"))):
        given = dict.fromkeys(names, none)
        magnitudes = reference.magnitude({"output": np.ones(())}, **given, reduction="mean")
        assert magnitudes.outputs["output"].absolute.shape == ()
        assert reference.vjp({"output": np.ones(())}, **given, reduction="mean")[names[1]].shape == (0, 3)


@pytest.mark.parametrize(
    ("name", "change", "what"),
    [
        ("softmax_cross_entropy", {"weights": np.ones(2)}, "weights"),
        ("softmax_cross_entropy", {"smoothing": 1.5}, "smoothing"),
        ("softmax_cross_entropy", {"labels": np.array([0, -1]), "ignored": 5}, "labels"),
        ("softmax_cross_entropy_dense", {"labels": np.ones((2, 2))}, "labels"),
        ("softmax_cross_entropy_dense", {"smoothing": -0.1}, "smoothing"),
        ("binary_cross_entropy", {"labels": np.ones(3)}, "labels"),
        ("binary_cross_entropy", {"positive_weights": np.ones(2)}, "positive_weights"),
        ("binary_cross_entropy", {"weights": np.ones(3)}, "weights"),
        ("binary_cross_entropy", {"reduction": "average"}, "reduction"),
        ("mean_squared_error", {"targets": np.ones(3)}, "targets"),
        ("mean_squared_error", {"reduction": "average"}, "reduction"),
    ],
)
def test_impossible_questions_are_refused(name: str, change: dict[str, Any], what: str) -> None:
    given: dict[str, dict[str, Any]] = {
        "softmax_cross_entropy": {"logits": np.zeros((2, 3)), "labels": np.array([0, 2])},
        "softmax_cross_entropy_dense": {"logits": np.zeros((2, 3)), "labels": np.zeros((2, 3)), "smoothing": 0.0},
        "binary_cross_entropy": {"logits": np.zeros((2, 3)), "labels": np.zeros((2, 3))},
        "mean_squared_error": {"x": np.zeros((2, 3)), "targets": np.zeros((2, 3))},
    }
    with pytest.raises(InvalidShape, match=what):
        OPERATORS[name].forward(**{**given[name], "reduction": "mean", **change})
