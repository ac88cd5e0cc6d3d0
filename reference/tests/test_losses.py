"""The cross-entropy of a softmax against its definition, the complex step and single-precision formulas."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

from conformance.reference import losses
from conformance.reference.magnitude import Array
from conformance.reference.padding import InvalidShape
from conformance.reference.tests.products import normal32
from conformance.reference.tests.steps import (
    MOST,
    assert_equal_in_float64,
    assert_within,
    bfloat16,
    complex_step,
    share_outside,
)

REDUCTIONS = ["mean", "sum", "none"]
REDUCED: dict[str, Any] = {"mean": np.mean, "sum": np.sum, "none": np.asarray}


def formula(logits: Array, labels: Array, reduction: str) -> dict[str, Any]:
    d = logits - logits.real.max(axis=1, keepdims=True)
    loss = np.log(np.exp(d).sum(axis=1)) - d[np.arange(len(d)), labels]
    return {"output": REDUCED[reduction](loss)}


def cotangent_of(rng: np.random.Generator, rows: int, reduction: str) -> dict[str, Array]:
    return {"output": normal32(rng, (rows,) if reduction == "none" else ())}


def test_by_hand() -> None:
    logits = np.log(np.array([[1.0, 2.0, 5.0], [3.0, 3.0, 2.0]]))
    labels = np.array([2, 0])
    expected = np.array([np.log(8 / 5), np.log(8 / 3)])
    # A few roundings of numbers below 2.1 each.
    for reduction in REDUCTIONS:
        got = losses.forward(logits=logits, labels=labels, reduction=reduction)["output"]
        assert np.allclose(got, REDUCED[reduction](expected), rtol=0, atol=2.0**-48)
    gradient = losses.vjp({"output": np.array(3.0)}, logits=logits, labels=labels, reduction="mean")["logits"]
    assert np.allclose(gradient, np.array([[1, 2, -3], [-5, 3, 2]]) / 8 * 1.5, rtol=0, atol=2.0**-48)


@settings(deadline=None, max_examples=40)
@given(
    rows=st.integers(1, 4),
    classes=st.integers(1, 5),
    reduction=st.sampled_from(REDUCTIONS),
    spread=st.sampled_from([1.0, 30.0]),
    seed=st.integers(0, 2**32 - 1),
)
def test_equals_definition_and_complex_step(
    rows: int, classes: int, reduction: str, spread: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    logits, labels = spread * rng.standard_normal((rows, classes)), rng.integers(classes, size=rows)
    g = cotangent_of(rng, rows, reduction)
    case: dict[str, Any] = {"logits": logits, "labels": labels, "reduction": reduction}
    bound = losses.magnitude(g, **case)
    value = special.logsumexp(logits, axis=1) - logits[np.arange(rows), labels]
    got = losses.forward(**case)["output"]
    assert_equal_in_float64(got, np.asarray(REDUCED[reduction](value)), bound.outputs["output"])
    expected = complex_step(lambda logits: formula(logits, labels, reduction), {"logits": logits}, "logits", g)
    assert_equal_in_float64(losses.vjp(g, **case)["logits"], expected, bound.gradients["logits"])


def single_losses(x: Array, labels: Array, reduction: str, g: Array) -> list[tuple[Array, Array]]:
    one, rows = np.float32(1), np.float32(len(x))
    every = np.arange(len(x))
    top = x.max(axis=1, keepdims=True)
    d = x - top
    e = np.exp(d)
    total = e.cumsum(axis=1, dtype=np.float32)[:, -1:]
    log = np.log(total)
    hot = (np.arange(x.shape[1]) == labels[:, None]).astype(np.float32)
    share = np.broadcast_to(g / rows if reduction == "mean" else g, (len(x),))[:, None]
    scaled = np.broadcast_to(g * (one / rows) if reduction == "mean" else g, (len(x),))[:, None]
    values = [log[:, 0] - d[every, labels], -(d - log)[every, labels], (top + log)[:, 0] - x[every, labels]]
    gradients = [(e / total - hot) * share, np.exp(d - log) * share - hot * share]
    gradients.append(e * (scaled / total) - hot * scaled)
    reductions: dict[str, Any] = {
        "none": lambda loss: loss,
        "sum": lambda loss: loss.cumsum(dtype=np.float32)[-1],
        "mean": lambda loss: loss.cumsum(dtype=np.float32)[-1] * (one / rows),
    }
    reduced = [np.asarray(reductions[reduction](value)) for value in values]
    return list(zip(reduced, gradients, strict=True))


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("classes", [1, 2, 10, 300])
@pytest.mark.parametrize(("spread", "offset"), [(1.0, 0.0), (60.0, 0.0), (1.0, 1000.0)])
def test_single_precision_lies_inside_the_bound(reduction: str, classes: int, spread: float, offset: float) -> None:
    rng = np.random.default_rng(6)
    logits = (spread * normal32(rng, (40, classes)) + offset).astype(np.float32).astype(np.float64)
    labels, g = rng.integers(classes, size=40), cotangent_of(rng, 40, reduction)
    case: dict[str, Any] = {"logits": logits, "labels": labels, "reduction": reduction}
    value, gradient = losses.forward(**case)["output"], losses.vjp(g, **case)["logits"]
    bound = losses.magnitude(g, **case)
    for output, pulled in single_losses(logits.astype(np.float32), labels, reduction, g["output"].astype(np.float32)):
        assert_within(output, value, bound.outputs["output"])
        assert_within(pulled, gradient, bound.gradients["logits"])


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_rounded_logits_lie_outside_the_bound(reduction: str) -> None:
    rng = np.random.default_rng(7)
    logits, labels, g = normal32(rng, (30, 10)), rng.integers(10, size=30), cotangent_of(rng, 30, reduction)
    case: dict[str, Any] = {"labels": labels, "reduction": reduction}
    bound = losses.magnitude(g, logits=logits, **case)
    for moved in (logits * (1 + 1e-3), bfloat16(logits)):
        value, got = (losses.forward(logits=x, **case)["output"] for x in (logits, moved))
        assert share_outside(got, value, bound.outputs["output"]) > MOST
        value, got = (losses.vjp(g, logits=x, **case)["logits"] for x in (logits, moved))
        assert share_outside(got, value, bound.gradients["logits"]) > MOST


def test_special_values() -> None:
    logits = np.array([[-np.inf, 0, 0], [0, -np.inf, 0], [np.inf, 0, 0], [np.nan, 0, 0], [0, 0, -1e30]])
    labels = np.array([1, 1, 0, 1, 0])
    case: dict[str, Any] = {"logits": logits, "labels": labels, "reduction": "none"}
    two = np.log(2.0)
    got = losses.forward(**case)["output"]
    # log(1 + 1) is NumPy's own log(2).
    assert np.array_equal(got, [two, np.inf, np.nan, np.nan, two], equal_nan=True)
    g = {"output": np.ones(5)}
    gradient = losses.vjp(g, **case)["logits"]
    assert gradient[[0, 1, 4]].tolist() == [[0, -0.5, 0.5], [0.5, -1, 0.5], [-0.5, 0.5, 0]]
    bound = losses.magnitude(g, **case)
    limits: dict[str, float] = {"unit_roundoff": 2.0**-24, "smallest_normal": 2.0**-126}
    assert np.isfinite(bound.outputs["output"].radius(**limits)[[0, 4]]).all()
    assert np.isfinite(bound.gradients["logits"].radius(**limits)[[0, 1, 4]]).all()


def test_an_empty_batch_is_legal() -> None:
    empty: dict[str, Any] = {"logits": np.zeros((0, 3)), "labels": np.zeros(0, dtype=np.int64)}
    assert np.isnan(losses.forward(**empty, reduction="mean")["output"])
    assert losses.forward(**empty, reduction="sum")["output"] == 0
    assert losses.vjp({"output": np.ones(())}, **empty, reduction="mean")["logits"].shape == (0, 3)
    assert losses.magnitude({"output": np.ones(())}, **empty, reduction="mean").gradients["logits"].absolute.size == 0


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"labels": np.array([0, 3])}, "labels"),
        ({"labels": np.array([-1, 0])}, "labels"),
        ({"labels": np.array([0, 1, 2])}, "labels"),
        ({"labels": np.array([0.0, 1.0])}, "labels"),
        ({"logits": np.zeros(3)}, "logits"),
        ({"logits": np.zeros((2, 0)), "labels": np.zeros(2, dtype=np.int64)}, "labels"),
        ({"reduction": "average"}, "reduction"),
    ],
)
def test_impossible_questions_are_refused(change: dict[str, Any], what: str) -> None:
    case: dict[str, Any] = {"logits": np.zeros((2, 3)), "labels": np.array([0, 2]), "reduction": "mean"}
    with pytest.raises(InvalidShape, match=what):
        losses.forward(**{**case, **change})
