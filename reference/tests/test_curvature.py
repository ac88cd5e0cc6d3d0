"""Second derivatives of element-wise functions: by finite differences and by hand, and their bounds in float32."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from conformance.reference.curvature import CURVATURES
from conformance.reference.curves import SELU_ALPHA, SELU_SCALE
from conformance.reference.operators import OPERATORS

ATTRIBUTES: dict[str, dict[str, Any]] = {
    "leaky_relu": {"slope": 0.3},
    "elu": {"alpha": 0.7},
    "hard_tanh": {"low": -1.5, "high": 0.75},
}
# Off the kinks at -3, -1.5, 0, 0.75, 3 and 6 by more than any step.
X = np.linspace(-7.31, 7.43, 401)
Numbers = Any


@pytest.mark.parametrize("name", CURVATURES)
def test_it_is_the_slope_of_the_slope(name: str) -> None:
    attributes, ones, h = ATTRIBUTES.get(name, {}), {"output": np.ones_like(X)}, 2.0**-14

    def slope(x: Numbers) -> Numbers:
        return OPERATORS[name].vjp(ones, x=x, **attributes)["x"]

    # The central difference is off by h^2 / 6 times the fourth derivative (below 8 here), and 2 roundings over h.
    room = h**2 / 6 * 8 + 4 * 2.0**-53 / h
    expected = (slope(X + h) - slope(X - h)) / (2 * h)
    found = CURVATURES[name].pulled(np.ones_like(X), np.ones_like(X), x=X, **attributes)
    assert np.all(np.abs(found - expected) <= room)


def test_by_hand() -> None:
    two, three, x = np.array(2.0), np.array(3.0), np.array(np.log(3.0))
    # s = 3/4: s (1 - s) (1 - 2 s) = -3/32. tanh(log 3) = 4/5: -2 (4/5) (9/25) = -72/125. softplus: s (1 - s) = 3/16.
    for name, value in (("sigmoid", -3 / 32), ("tanh", -72 / 125), ("softplus", 3 / 16), ("log_sigmoid", -3 / 16)):
        assert CURVATURES[name].pulled(two, three, x=x) == pytest.approx(6 * value, rel=2.0**-50)
    # elu at -log 3: alpha / 3; silu: s (1 - s) (2 + x (1 - 2 s)).
    assert CURVATURES["elu"].pulled(two, three, x=-x, alpha=0.5) == pytest.approx(1.0, rel=2.0**-50)
    assert CURVATURES["selu"].pulled(two, three, x=-x) == pytest.approx(2 * SELU_SCALE * SELU_ALPHA, rel=2.0**-50)
    assert CURVATURES["silu"].pulled(two, three, x=x) == pytest.approx(
        6 * 3 / 16 * (2 - np.log(3.0) / 2), rel=2.0**-50
    )


# Ways of frameworks, in float32: of u, v and x.


def _s(x: Numbers) -> Numbers:
    return 1 / (1 + np.exp(-x))


def _sigmoid_grad_twice(u: Numbers, v: Numbers, x: Numbers) -> Numbers:
    s, b = _s(x), v * u
    return (b - 2 * b * s) * s * (1 - s)


def _sigmoid_by_rule(u: Numbers, v: Numbers, x: Numbers) -> Numbers:
    s = _s(x)
    ds = v * s * (1 - s)
    return u * ds * (1 - s) - u * s * ds


def _tanh_grad_twice(u: Numbers, v: Numbers, x: Numbers) -> Numbers:
    t = np.tanh(x)
    return (v * (-2 * u * t)) * (1 - t * t)


def _tanh_by_rule(u: Numbers, v: Numbers, x: Numbers) -> Numbers:
    t = np.tanh(x)
    dt, w = (v + v * t) * (1 - t), u * (1 - t)
    return -u * dt + (-u * dt * t + w * dt)


def _softplus_by_exponentials(u: Numbers, v: Numbers, x: Numbers) -> Numbers:
    e = np.exp(x - np.logaddexp(x, np.float32(0)))
    return u * (e * (v - v * e))


def _softplus_quotient(u: Numbers, v: Numbers, x: Numbers) -> Numbers:
    return u * v / (np.exp(-x) + 2 + np.exp(x))


def _log_sigmoid_twice(u: Numbers, v: Numbers, x: Numbers) -> Numbers:
    s = _s(x)
    return u * v * (s - 1) * s


def _elu_from_its_value(u: Numbers, v: Numbers, x: Numbers) -> Numbers:
    alpha = np.float32(0.7)
    y = alpha * np.expm1(np.minimum(x, np.float32(0)))
    return np.where(x < 0, v * u * (y + alpha), np.float32(0))


def _silu_by_rule(u: Numbers, v: Numbers, x: Numbers) -> Numbers:
    s = _s(x)
    ds = s * (1 - s) * v
    return u * (ds * (1 + x * (1 - s)) + s * (v * (1 - s) - x * ds))


WAYS: list[tuple[str, Callable[..., Numbers]]] = [
    ("sigmoid", _sigmoid_grad_twice),
    ("sigmoid", _sigmoid_by_rule),
    ("tanh", _tanh_grad_twice),
    ("tanh", _tanh_by_rule),
    ("softplus", _softplus_by_exponentials),
    ("softplus", _softplus_quotient),
    ("log_sigmoid", _log_sigmoid_twice),
    ("elu", _elu_from_its_value),
    ("silu", _silu_by_rule),
]


@pytest.mark.parametrize(("name", "way"), WAYS)
def test_honest_ways_stay_within_the_bound_and_a_thousandth_does_not(name: str, way: Callable[..., Numbers]) -> None:
    random = np.random.default_rng(7)
    u, v, x = (random.standard_normal(20_000).astype(np.float32) for _ in range(3))
    x = np.float32(3) * x
    attributes = ATTRIBUTES.get(name, {})
    if name == "elu":  # the attribute as float32 has it
        attributes = {"alpha": float(np.float32(0.7))}
    wide = [array.astype(np.float64) for array in (u, v, x)]
    value = CURVATURES[name].pulled(wide[0], wide[1], x=wide[2], **attributes)
    magnitude = CURVATURES[name].magnitude(wide[0], wide[1], x=wide[2], **attributes)
    radius = magnitude.radius(unit_roundoff=2.0**-24 + 2.0**-53, smallest_normal=2.0**-126)
    got = way(u, v, x)
    assert got.dtype == np.float32
    # Half a unit for storing the result, of the format itself.
    assert np.all(np.abs(got - value) <= radius + 2.0**-24 * np.abs(value))
    ordinary = np.abs(wide[2]) < 2
    seen = (np.abs(1e-3 * value) > radius)[ordinary & (value != 0)]
    assert seen.mean() > 0.9


@pytest.mark.parametrize("name", ["relu", "relu6", "leaky_relu", "hard_sigmoid", "hard_tanh"])
def test_lines_have_none_to_the_last_bit(name: str) -> None:
    ones, attributes = np.ones_like(X), ATTRIBUTES.get(name, {})
    assert not CURVATURES[name].pulled(ones, ones, x=X, **attributes).any()
    radius = (
        CURVATURES[name]
        .magnitude(ones, ones, x=X, **attributes)
        .radius(unit_roundoff=2.0**-24, smallest_normal=2.0**-126)
    )
    assert not radius.any()
