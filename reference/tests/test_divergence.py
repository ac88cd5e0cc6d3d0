"""Kullback and Leibler's divergence against SciPy, differences, and single precision written in two ways."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import kl_div, xlogy

from conformance.reference.element_losses import (
    kl_divergence_forward,
    kl_divergence_magnitude,
    kl_divergence_vjp,
)
from conformance.reference.magnitude import Array
from conformance.reference.padding import InvalidShape
from conformance.reference.tests.products import UNIT_ROUNDOFF_64, radius

REDUCTIONS = ("mean", "batch_mean", "sum", "none")
SHAPES = st.sampled_from([(5,), (3, 4), (2, 3, 5), (1, 7)])


def drawn(shape: tuple[int, ...], seed: int) -> tuple[Array, Array]:
    """Logarithms and shares in single precision, some of the latter 0."""
    rng = np.random.default_rng(seed)
    shares = rng.dirichlet(np.ones(shape[-1]), shape[:-1]) * (rng.random(shape) < 0.8)
    return (-rng.exponential(2.0, shape)).astype(np.float32).astype(float), shares.astype(np.float32).astype(float)


def divided(losses: Array, reduction: str) -> Any:
    divisor = {"mean": losses.size, "batch_mean": len(losses), "sum": 1}
    return losses if reduction == "none" else losses.sum(dtype=losses.dtype) / losses.dtype.type(divisor[reduction])


@given(shape=SHAPES, seed=st.integers(0, 2**32 - 1), reduction=st.sampled_from(REDUCTIONS))
def test_it_is_scipy_s(shape: tuple[int, ...], seed: int, reduction: str) -> None:
    """SciPy's kl_div(p, q) adds q - p to every element, so that it is never negative."""
    x, shares = drawn(shape, seed)
    elements = kl_div(shares, np.exp(x)) - np.exp(x) + shares
    got = kl_divergence_forward(x=x, targets=shares, reduction=reduction)["output"]
    # Numbers below 64 and a few dozen of them, each with a dozen roundings.
    assert np.abs(got - divided(elements, reduction)).max() <= 2.0**16 * UNIT_ROUNDOFF_64


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_the_gradient_is_the_slope_of_what_is_linear(reduction: str) -> None:
    x, shares = drawn((3, 4), 7)
    shape = x.shape if reduction == "none" else ()
    cotangent = np.random.default_rng(8).standard_normal(shape)
    moved = np.random.default_rng(9).standard_normal(x.shape)
    there, here = (
        np.vdot(cotangent, kl_divergence_forward(x=at, targets=shares, reduction=reduction)["output"])
        for at in (x + moved, x)
    )
    gradient = kl_divergence_vjp({"output": cotangent}, x=x, targets=shares, reduction=reduction)["x"]
    assert abs(np.vdot(gradient, moved) - (there - here)) <= 2.0**12 * UNIT_ROUNDOFF_64


def test_by_hand() -> None:
    x = np.log([[0.5, 0.25], [0.5, 1.0]])
    shares = np.array([[1.0, 0.0], [0.25, 0.75]])
    log2 = np.log(2.0)
    second = 0.25 * (-2 * log2 + log2) + 0.75 * np.log(0.75)
    for reduction, divisor in (("mean", 4), ("batch_mean", 2), ("sum", 1)):
        got = kl_divergence_forward(x=x, targets=shares, reduction=reduction)["output"]
        assert abs(got - (log2 + second) / divisor) <= 16 * UNIT_ROUNDOFF_64


@given(shape=SHAPES, seed=st.integers(0, 2**32 - 1), reduction=st.sampled_from(REDUCTIONS))
def test_single_precision_lies_within_the_bound(shape: tuple[int, ...], seed: int, reduction: str) -> None:
    x, shares = drawn(shape, seed)
    x32, shares32 = x.astype(np.float32), shares.astype(np.float32)
    cotangent = np.random.default_rng(seed).standard_normal(x.shape if reduction == "none" else ()).astype(np.float32)
    wide = {"output": cotangent.astype(float)}
    bounds = kl_divergence_magnitude(wide, x=x, targets=shares, reduction=reduction)
    output = kl_divergence_forward(x=x, targets=shares, reduction=reduction)["output"]
    logs = np.log(np.where(shares32 == 0, np.float32(1), shares32))
    for losses in (xlogy(shares32, shares32) - shares32 * x32, shares32 * (logs - x32)):
        assert losses.dtype == np.float32
        assert np.all(np.abs(divided(losses, reduction) - output) <= radius(bounds.outputs["output"]))
    gradient = kl_divergence_vjp(wide, x=x, targets=shares, reduction=reduction)["x"]
    share = np.float32({"mean": x.size, "batch_mean": len(x)}.get(reduction, 1))
    for computed in (-shares32 * (cotangent / share), -(shares32 * cotangent) * (np.float32(1) / share)):
        assert computed.dtype == np.float32
        assert np.all(np.abs(computed - gradient) <= radius(bounds.gradients["x"]))


def test_the_bound_tells_the_divisors_apart() -> None:
    x, shares = drawn((5, 7), 3)
    values = [kl_divergence_forward(x=x, targets=shares, reduction=name)["output"] for name in REDUCTIONS[:3]]
    bound = radius(kl_divergence_magnitude(None, x=x, targets=shares, reduction="batch_mean").outputs["output"])
    assert min(abs(values[0] - values[1]), abs(values[2] - values[1])) > 1000 * bound


@pytest.mark.parametrize(
    ("changes", "what"),
    [({"targets": np.ones(3)}, "targets"), ({"reduction": "average"}, "reduction"), ({"x": np.zeros(())}, "x")],
)
def test_what_has_no_answer_is_refused(changes: dict[str, Any], what: str) -> None:
    given_: dict[str, Any] = {"x": np.zeros((2, 3)), "targets": np.zeros((2, 3)), "reduction": "mean", **changes}
    with pytest.raises(InvalidShape, match=what):
        kl_divergence_forward(**given_)
