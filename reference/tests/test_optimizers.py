"""Optimiser steps against the paper's formulas, the complex step and single-precision orders of evaluation."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conformance.reference import optimizers
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

PAPER: dict[str, Any] = {"learning_rate": 0.001, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8}
OPERANDS = ["parameter", "gradient", "m", "v"]
OUTPUTS = ["parameter", "m", "v"]
Attributes = dict[str, Any]


def formula(attributes: Attributes, *, parameter: Array, gradient: Array, m: Array, v: Array) -> dict[str, Array]:
    """Writes algorithm 1 of the paper down, and the reordered form with epsilon hat."""
    a = attributes
    m = a["beta1"] * m + (1 - a["beta1"]) * gradient
    v = a["beta2"] * v + (1 - a["beta2"]) * gradient**2
    c1, c2 = 1 - a["beta1"] ** a["step"], 1 - a["beta2"] ** a["step"]
    if a["epsilon_hat"]:
        rate = a["learning_rate"] * np.sqrt(c2) / c1
        parameter = parameter - rate * m / (np.sqrt(v) + a["epsilon"])
    else:
        parameter = parameter - a["learning_rate"] * (m / c1) / (np.sqrt(v / c2) + a["epsilon"])
    return {"parameter": parameter, "m": m, "v": v}


def operands_of(rng: np.random.Generator, shape: tuple[int, ...], *, fresh: bool = False) -> dict[str, Any]:
    operands: dict[str, Any] = {name: normal32(rng, shape) for name in OPERANDS}
    operands["v"] = rng.random(shape, dtype=np.float32).astype(np.float64)
    if fresh:
        operands["m"], operands["v"] = np.zeros(shape), np.zeros(shape)
    return operands


def test_sgd_by_hand() -> None:
    operands: dict[str, Any] = {"parameter": np.array([1.0, 2.0]), "gradient": np.array([4.0, -8.0])}
    assert optimizers.sgd_forward(**operands, learning_rate=0.25)["parameter"].tolist() == [0, 4]
    gradients = optimizers.sgd_vjp({"parameter": np.array([3.0, 5.0])}, **operands, learning_rate=0.25)
    assert gradients["parameter"].tolist() == [3, 5]
    assert gradients["gradient"].tolist() == [-0.75, -1.25]


@pytest.mark.parametrize("learning_rate", [0.01, 0.3, 1.0])
def test_sgd_in_single_precision_lies_inside_the_bound(learning_rate: float) -> None:
    rng = np.random.default_rng(14)
    p, g, c = (normal32(rng, (3000,)) for _ in range(3))
    bound = optimizers.sgd_magnitude({"parameter": c}, parameter=p, gradient=g, learning_rate=learning_rate)
    value = optimizers.sgd_forward(parameter=p, gradient=g, learning_rate=learning_rate)["parameter"]
    pulled = optimizers.sgd_vjp({"parameter": c}, parameter=p, gradient=g, learning_rate=learning_rate)["gradient"]
    rate = np.float32(learning_rate)
    assert_within(p.astype(np.float32) - rate * g.astype(np.float32), value, bound.outputs["parameter"])
    fused = (p - float(rate) * g).astype(np.float32)
    assert_within(fused, value, bound.outputs["parameter"])
    assert_within(-rate * c.astype(np.float32), pulled, bound.gradients["gradient"])
    moved = optimizers.sgd_forward(parameter=p, gradient=g * (1 + 1e-3), learning_rate=learning_rate)["parameter"]
    assert share_outside(moved, value, bound.outputs["parameter"]) > MOST
    assert share_outside(pulled * (1 + 1e-3), pulled, bound.gradients["gradient"]) == 1


def test_adam_by_hand() -> None:
    # m' = 0.5 * 2 + 0.5 * 4 = 3 and v' = 0.75 * 12 + 0.25 * 16 = 13; step 1 makes c_1 = 0.5 and c_2 = 0.25.
    operands: dict[str, Any] = {
        name: np.array([number]) for name, number in zip(OPERANDS, (10.0, 4.0, 2.0, 12.0), strict=True)
    }
    attributes: Attributes = {"learning_rate": 0.5, "beta1": 0.5, "beta2": 0.75, "epsilon": 3.0, "step": 1}
    plain = optimizers.adam_forward(**operands, **attributes, epsilon_hat=False)
    assert plain["m"].tolist() == [3]
    assert plain["v"].tolist() == [13]
    # Ten numbers near 1 to 20, each rounded once.
    assert plain["parameter"] == pytest.approx(10 - 0.5 * 6 / (np.sqrt(52) + 3), rel=10 * 2.0**-53)
    hat = optimizers.adam_forward(**operands, **attributes, epsilon_hat=True)
    assert hat["parameter"] == pytest.approx(10 - 0.5 * 0.5 / 0.5 * 3 / (np.sqrt(13) + 3), rel=10 * 2.0**-53)


@settings(deadline=None, max_examples=60)
@given(
    shape=st.lists(st.integers(0, 3), max_size=2),
    step=st.integers(1, 50),
    beta1=st.sampled_from([0.0, 0.3, 0.9]),
    beta2=st.sampled_from([0.0, 0.5, 0.999]),
    epsilon=st.sampled_from([1e-8, 0.1]),
    epsilon_hat=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_adam_equals_formula_and_complex_step(shape: list[int], seed: int, **attributes: Any) -> None:
    rng = np.random.default_rng(seed)
    attributes["learning_rate"] = 0.01
    operands = operands_of(rng, tuple(shape))
    g = {name: normal32(rng, tuple(shape)) for name in OUTPUTS}
    bound = optimizers.adam_magnitude(g, **operands, **attributes)
    got, expected = optimizers.adam_forward(**operands, **attributes), formula(attributes, **operands)
    for name in OUTPUTS:
        assert_equal_in_float64(got[name], expected[name], bound.outputs[name])
    gradients = optimizers.adam_vjp(g, **operands, **attributes)
    assert list(gradients) == OPERANDS
    for name in OPERANDS:
        by_step = complex_step(lambda **moved: formula(attributes, **moved), operands, name, g)
        if name == "parameter":
            assert np.array_equal(gradients[name], g["parameter"])
            continue
        assert_equal_in_float64(gradients[name], by_step, bound.gradients[name])


def single_adams(a: Attributes, *, parameter: Array, gradient: Array, m: Array, v: Array) -> list[dict[str, Array]]:
    """Steps in float32, as frameworks order them: 1 - beta in either precision, powers, lerp or weighted sum."""
    f, one = np.float32, np.float32(1)
    p, g, m, v = (operand.astype(f) for operand in (parameter, gradient, m, v))
    b1, b2, rate, epsilon = f(a["beta1"]), f(a["beta2"]), f(a["learning_rate"]), f(a["epsilon"])
    steps = []
    for w1, w2 in ((one - b1, one - b2), (f(1 - a["beta1"]), f(1 - a["beta2"]))):
        squares = g * g
        squares[np.abs(squares) < np.finfo(f).tiny] = 0
        moments = [(b1 * m + w1 * g, b2 * v + w2 * squares), (m + w1 * (g - m), b2 * v + (w2 * g) * g)]
        if a["beta1"] <= 0.5:
            # An interpolation starts from the nearer end.
            moments.append((g - b1 * (g - m), v + w2 * (squares - v)))
        else:
            moments.append((m + w1 * (g - m), v + w2 * (squares - v)))
        for new_m, new_v in moments:
            new_v[np.abs(new_v) < np.finfo(f).tiny] = 0
            powers = [(b1 ** f(a["step"]), b2 ** f(a["step"]))]
            if a["step"] < 50:
                repeated = [np.multiply.accumulate([b] * a["step"])[-1] for b in (b1, b2)]
                powers.append((repeated[0], repeated[1]))
            corrections = [(one - p1, one - p2) for p1, p2 in powers]
            corrections.append((f(1 - a["beta1"] ** a["step"]), f(1 - a["beta2"] ** a["step"])))
            for c1, c2 in corrections:
                if a["epsilon_hat"]:
                    update = [rate * np.sqrt(c2) / c1 * new_m / (np.sqrt(new_v) + epsilon)]
                    update.append(rate * (np.sqrt(c2) / c1) * (new_m / (np.sqrt(new_v) + epsilon)))
                else:
                    update = [rate * (new_m / c1) / (np.sqrt(new_v / c2) + epsilon)]
                    update.append(rate / c1 * (new_m / (np.sqrt(new_v) / np.sqrt(c2) + epsilon)))
                    update.append(rate * np.sqrt(c2) / c1 * new_m / (np.sqrt(new_v) + epsilon * np.sqrt(c2)))
                steps += [{"parameter": p - u, "m": new_m, "v": new_v} for u in update]
    return steps


@pytest.mark.parametrize("epsilon_hat", [False, True])
@pytest.mark.parametrize("step", [1, 2, 30, 1000, 100_000])
@pytest.mark.parametrize("decays", [{}, {"beta1": 0.5, "beta2": 0.9}, {"beta1": 0.0, "beta2": 0.3}])
@pytest.mark.parametrize("data", ["normal", "fresh", "flushed", "deep"])
def test_adam_in_single_precision_lies_inside_the_bound(
    epsilon_hat: bool, step: int, decays: Attributes, data: str
) -> None:
    rng = np.random.default_rng(15)
    attributes = {**PAPER, **decays, "step": step, "epsilon_hat": epsilon_hat}
    operands = operands_of(rng, (2000,), fresh=data != "normal")
    # A power of two keeps the operand exact in float32, and the step in sight.
    operands["parameter"] *= 2.0**-7
    if data == "flushed":
        # Squares from 1 down to 1e-60, far below the smallest normal number, and some gradients that are 0.
        scaled = operands["gradient"] * 10.0 ** rng.uniform(-30, 0, 2000)
        operands["gradient"] = np.where(rng.random(2000) < 0.1, 0, scaled.astype(np.float32).astype(np.float64))
    if data == "deep":
        # Flushed second moments whose roots are hundredths of epsilon: roundings alone do not explain the results.
        scaled = operands["gradient"] * 10.0 ** rng.uniform(-20, -15, 2000)
        operands["gradient"] = scaled.astype(np.float32).astype(np.float64)
        attributes["epsilon"] = 1e-15
    value = optimizers.adam_forward(**operands, **attributes)
    bound = optimizers.adam_magnitude(None, **operands, **attributes)
    assert bound.gradients == {}
    with np.errstate(all="ignore"):
        singles = single_adams(attributes, **operands)
    for got in singles:
        for name in OUTPUTS:
            assert_within(got[name], value[name], bound.outputs[name])


@pytest.mark.parametrize("epsilon_hat", [False, True])
@pytest.mark.parametrize("step", [1, 10, 1000])
def test_adam_with_a_rounded_or_changed_operand_lies_outside_the_bound(epsilon_hat: bool, step: int) -> None:
    rng = np.random.default_rng(16)
    attributes = {**PAPER, "step": step, "epsilon_hat": epsilon_hat}
    operands = operands_of(rng, (3000,))
    g = {name: normal32(rng, (3000,)) for name in OUTPUTS}
    # The step itself is looked at: next to a parameter of 1, a step of 0.001 has but ten bits less to show.
    operands["parameter"] *= 0
    value = optimizers.adam_forward(**operands, **attributes)
    bound = optimizers.adam_magnitude(g, **operands, **attributes)
    gradients = optimizers.adam_vjp(g, **operands, **attributes)
    for name, changed in (("m", "m"), ("v", "v"), ("parameter", "m"), ("parameter", "v")):
        for moved in (operands[changed] * (1 + 2e-3), bfloat16(operands[changed])):
            got = optimizers.adam_forward(**{**operands, changed: moved}, **attributes)
            assert share_outside(got[name], value[name], bound.outputs[name]) > MOST
    for changed in ("gradient", "m", "v"):
        assert share_outside(gradients[changed] * (1 + 1e-3), gradients[changed], bound.gradients[changed]) > MOST


def test_adam_of_special_values() -> None:
    operands: dict[str, Any] = {
        "parameter": np.ones(4),
        "gradient": np.array([np.nan, 1.0, 0.0, 0.0]),
        "m": np.array([0.0, 0.0, 0.0, 1.0]),
        "v": np.array([0.0, np.inf, 0.0, 1.0]),
    }
    attributes = {**PAPER, "step": 3, "epsilon_hat": False}
    value = optimizers.adam_forward(**operands, **attributes)
    assert np.isnan(value["parameter"][0])
    assert value["parameter"][1:3].tolist() == [1, 1]
    bound = optimizers.adam_magnitude(None, **operands, **attributes)
    limits: dict[str, float] = {"unit_roundoff": 2.0**-24, "smallest_normal": 2.0**-126}
    for name in OUTPUTS:
        assert np.isfinite(bound.outputs[name].radius(**limits)[np.isfinite(value[name])]).all()


def test_impossible_questions_are_refused() -> None:
    three = np.ones(3)
    with pytest.raises(InvalidShape, match="gradient"):
        optimizers.sgd_forward(parameter=three, gradient=np.ones(1), learning_rate=0.1)
    operands: dict[str, Any] = dict.fromkeys(OPERANDS, three)
    attributes = {**PAPER, "step": 1, "epsilon_hat": True}
    for name in ("gradient", "m", "v"):
        with pytest.raises(InvalidShape, match=name):
            optimizers.adam_forward(**{**operands, name: np.ones((3, 1))}, **attributes)
    for name, value in (("beta1", 1.0), ("beta2", -0.1), ("step", 0)):
        with pytest.raises(InvalidShape, match=name):
            optimizers.adam_forward(**operands, **{**attributes, name: value})
