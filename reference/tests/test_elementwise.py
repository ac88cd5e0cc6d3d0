"""Element-wise activations against their definitions, the complex step, and single-precision formulas."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from scipy import special

from conformance.reference.curves import GELU_FACTOR, SELU_ALPHA, SELU_SCALE
from conformance.reference.magnitude import Array
from conformance.reference.operators import OPERATORS
from conformance.reference.padding import InvalidShape
from conformance.reference.tests.products import normal32, radius
from conformance.reference.tests.steps import (
    MOST,
    assert_equal_to_the_step,
    assert_within,
    bfloat16,
    complex_step,
    share_outside,
)

Single = Callable[[Array, Array], tuple[Array, Array]]
"""(x, g) in float32 -> (value, g times slope), as a framework computes them."""


@dataclass(frozen=True, kw_only=True)
class Activation:
    """What is known of an operator: its definition, and ways to compute it in single precision.

    Attributes:
        formula: the definition, for complex numbers too.
        singles: honest computations.
        linear: pieces are linear, so that a moved input does not move the gradient.
    """

    formula: Callable[[Any], Any]
    singles: tuple[Single, ...] = ()
    attributes: Mapping[str, Any] = field(default_factory=dict)
    linear: bool = False


f = np.float32


def left(x: Any, below: Any, above: Any) -> Any:
    return np.where(x.real > 0, above, below)


def sigmoid(x: Array) -> Array:
    return np.asarray(f(1) / (f(1) + np.exp(-x)))


def softplus(x: Array) -> Array:
    return np.maximum(x, f(0)) + np.log1p(np.exp(-np.abs(x)))


def complex_softplus(x: Any) -> Any:
    return np.log(1 + np.exp(x))


def elu_by_expm1(x: Array, g: Array) -> tuple[Array, Array]:
    y = f(0.7) * np.expm1(np.minimum(x, f(0)))
    return left(x, y, x), left(x, g * (f(0.7) * np.exp(np.minimum(x, f(0)))), g)


def elu_from_the_value(x: Array, g: Array) -> tuple[Array, Array]:
    y = np.expm1(np.minimum(x, f(0)))
    return left(x, f(0.7) * y, x), left(x, (g * f(0.7)) * (y + f(1)), g)


def elu_from_a_cancelled_value(x: Array, g: Array) -> tuple[Array, Array]:
    y = np.exp(np.minimum(x, f(0))) - f(1)
    return elu_by_expm1(x, g)[0], left(x, (y + f(1)) * (g * f(0.7)), g)


def selu_in_steps(x: Array, g: Array) -> tuple[Array, Array]:
    y = np.expm1(np.minimum(x, f(0)))
    scale, alpha = f(SELU_SCALE), f(SELU_ALPHA)
    return scale * left(x, alpha * y, x), left(x, ((g * scale) * alpha) * (y + f(1)), g * scale)


def selu_at_once(x: Array, g: Array) -> tuple[Array, Array]:
    product = f(SELU_SCALE * SELU_ALPHA)
    y = product * np.expm1(np.minimum(x, f(0)))
    return left(x, y, f(SELU_SCALE) * x), left(x, g * (y + product), g * f(SELU_SCALE))


def gelu_by_erf(x: Array, g: Array) -> tuple[Array, Array]:
    share = f(0.5) * (f(1) + special.erf(x * f(np.sqrt(0.5))))
    density = np.exp(f(-0.5) * x * x) * f(1 / np.sqrt(2 * np.pi))
    return x * share, g * (share + x * density)


def gelu_by_erfc(x: Array, g: Array) -> tuple[Array, Array]:
    z = -x / f(np.sqrt(2))
    half = f(0.5) * x
    slope = g * half * (f(-2 / np.sqrt(np.pi)) * np.exp(-np.square(z)))
    return half * special.erfc(z), f(0.5) * (g * special.erfc(z)) - slope / f(np.sqrt(2))


def gelu_by_a_coarse_erf(x: Array, g: Array) -> tuple[Array, Array]:
    # Abramowitz and Stegun, 7.1.26, absolute error 1.5e-7: PyTorch's vectorised one.
    z = np.abs(x * f(np.sqrt(0.5)))
    t = f(1) / (f(1) + f(0.3275911) * z)
    tail = t * (
        f(0.254829592) + t * (f(-0.284496736) + t * (f(1.421413741) + t * (f(-1.453152027) + t * f(1.061405429))))
    )
    erf = np.copysign(f(1) - tail * np.exp(-z * z), x)
    share = f(0.5) * (f(1) + erf)
    return x * share, g * (share + x * (np.exp(f(-0.5) * x * x) * f(1 / np.sqrt(2 * np.pi))))


def gelu_by_tanh(x: Array, g: Array) -> tuple[Array, Array]:
    t = np.tanh(f(GELU_FACTOR) * (x + f(0.044715) * x**3))
    rise = f(GELU_FACTOR) * (f(1) + f(3 * 0.044715) * (x * x))
    slope = f(0.5) * (f(1) + t) + f(0.5) * x * (f(1) - t * t) * rise
    return f(0.5) * x * (f(1) + t), g * slope


def gelu_by_tanh_in_factors(x: Array, g: Array) -> tuple[Array, Array]:
    t = np.tanh((x + f(0.044715) * (x * x * x)) * f(GELU_FACTOR))
    rise = f(GELU_FACTOR) * (f(1) + f(0.044715) * (f(3) * (x * x)))
    h = g * x * f(0.5)
    return x * (f(0.5) * (f(1) + t)), g * (f(0.5) * (f(1) + t)) + ((h + h * t) * (f(1) - t)) * rise


def silu_by_quotient(x: Array, g: Array) -> tuple[Array, Array]:
    s = sigmoid(x)
    return x / (f(1) + np.exp(-x)), g * s * (f(1) + x * (f(1) - s))


def silu_by_product(x: Array, g: Array) -> tuple[Array, Array]:
    s = sigmoid(x)
    return x * s, g * s + (x * g) * (s * (f(1) - s))


def softplus_with_sigmoid(x: Array, g: Array) -> tuple[Array, Array]:
    return softplus(x), g * sigmoid(x)


def softplus_from_the_value(x: Array, g: Array) -> tuple[Array, Array]:
    y = softplus(x)
    return y, g * np.exp(x - y)


def softplus_by_region(x: Array, g: Array) -> tuple[Array, Array]:
    edge = f(np.log(np.finfo(f).eps) + 2)
    y = np.where(x < edge, np.exp(x), np.where(x > -edge, x, np.log1p(np.exp(x))))
    return y, g / (f(1) + np.exp(-x))


def mirrored(single: Single) -> Single:
    def log_sigmoid(x: Array, g: Array) -> tuple[Array, Array]:
        value, gradient = single(-x, g)
        return -value, gradient

    return log_sigmoid


def mish_with_sigmoid(x: Array, g: Array) -> tuple[Array, Array]:
    t, s = np.tanh(np.log1p(np.exp(x))), sigmoid(x)
    return x * t, g * (t + x * s * (f(1) - t * t))


def mish_from_the_value(x: Array, g: Array) -> tuple[Array, Array]:
    y = softplus(x)
    t = np.tanh(y)
    h = g * x
    return x * t, g * t + ((h + h * t) * (f(1) - t)) * np.exp(x - y)


def softsign_by_square(x: Array, g: Array) -> tuple[Array, Array]:
    below = f(1) + np.abs(x)
    return x / below, g / (below * below)


def softsign_in_steps(x: Array, g: Array) -> tuple[Array, Array]:
    below = np.abs(x) + f(1)
    return x / below, g / below + (-g * x / (below * below)) * np.sign(x)


def leaky(x: Array, g: Array) -> tuple[Array, Array]:
    return left(x, f(0.3) * x, x), left(x, g * f(0.3), g)


def hard_sigmoid_by_clip(x: Array, g: Array) -> tuple[Array, Array]:
    y = np.clip(x + f(3), f(0), f(6))
    return y / f(6), np.where(np.abs(x) < 3, g * f(1 / 6), f(0))


def hard_sigmoid_by_line(x: Array, g: Array) -> tuple[Array, Array]:
    return np.clip(x * f(1 / 6) + f(0.5), f(0), f(1)), np.where(np.abs(x) < 3, g / f(6), f(0))


def hard_swish(x: Array, g: Array) -> tuple[Array, Array]:
    y = np.clip(x + f(3), f(0), f(6))
    line = np.where(x >= 3, g, g * (x / f(3) + f(0.5)))
    return x * y * f(1 / 6), np.where(x <= -3, f(0), line)


def hard_swish_by_parts(x: Array, g: Array) -> tuple[Array, Array]:
    y = np.clip(x + f(3), f(0), f(6)) / f(6)
    return x * y, g * y + np.where(np.abs(x) < 3, (g * x) / f(6), f(0))


ACTIVATIONS = {
    "relu6": Activation(formula=lambda x: np.where((x.real > 0) & (x.real < 6), x, 6.0 * (x.real > 0)), linear=True),
    "leaky_relu": Activation(
        formula=lambda x: left(x, 0.3 * x, x), singles=(leaky,), attributes={"slope": 0.3}, linear=True
    ),
    "elu": Activation(
        formula=lambda x: left(x, 0.7 * (np.exp(x) - 1), x),
        singles=(elu_by_expm1, elu_from_the_value, elu_from_a_cancelled_value),
        attributes={"alpha": 0.7},
    ),
    "selu": Activation(
        formula=lambda x: SELU_SCALE * left(x, SELU_ALPHA * (np.exp(x) - 1), x), singles=(selu_in_steps, selu_at_once)
    ),
    "gelu": Activation(
        formula=lambda x: x * (1 + special.erf(x / np.sqrt(2))) / 2,
        singles=(gelu_by_erf, gelu_by_erfc, gelu_by_a_coarse_erf),
        attributes={"approximate": "none"},
    ),
    "gelu-tanh": Activation(
        formula=lambda x: x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
        singles=(gelu_by_tanh, gelu_by_tanh_in_factors),
        attributes={"approximate": "tanh"},
    ),
    "silu": Activation(formula=lambda x: x / (1 + np.exp(-x)), singles=(silu_by_quotient, silu_by_product)),
    "mish": Activation(
        formula=lambda x: x * np.tanh(complex_softplus(x)), singles=(mish_with_sigmoid, mish_from_the_value)
    ),
    "softplus": Activation(
        formula=complex_softplus, singles=(softplus_with_sigmoid, softplus_from_the_value, softplus_by_region)
    ),
    "softsign": Activation(
        formula=lambda x: x / (1 + np.where(x.real > 0, x, -x)), singles=(softsign_by_square, softsign_in_steps)
    ),
    "log_sigmoid": Activation(
        formula=lambda x: -complex_softplus(-x),
        singles=tuple(map(mirrored, (softplus_with_sigmoid, softplus_from_the_value, softplus_by_region))),
    ),
    "hard_sigmoid": Activation(
        formula=lambda x: np.where(np.abs(x.real) < 3, (x + 3) / 6, x.real > 0),
        singles=(hard_sigmoid_by_clip, hard_sigmoid_by_line),
        linear=True,
    ),
    "hard_swish": Activation(
        formula=lambda x: x * np.where(np.abs(x.real) < 3, (x + 3) / 6, x.real > 0),
        singles=(hard_swish, hard_swish_by_parts),
        linear=True,
    ),
    "hard_tanh": Activation(
        formula=lambda x: np.where((x.real > -0.5) & (x.real < 2), x, np.where(x.real > 0, 2.0, -0.5)),
        attributes={"low": -0.5, "high": 2.0},
        linear=True,
    ),
}


def named(name: str) -> tuple[Any, Activation]:
    return OPERATORS[name.partition("-")[0]], ACTIVATIONS[name]


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_values_and_gradients_equal_definition_and_complex_step(name: str) -> None:
    reference, known = named(name)
    rng = np.random.default_rng(1)
    x, g = 3 * rng.standard_normal((5, 7)), rng.standard_normal((5, 7))
    bound = reference.magnitude({"output": g}, x=x, **known.attributes)
    value = reference.forward(x=x, **known.attributes)["output"]
    # The definition cancels where the reference does not, by at most the ones in it.
    assert np.allclose(value, known.formula(x), rtol=2.0**-48, atol=2.0**-50)
    gradient = reference.vjp({"output": g}, x=x, **known.attributes)["x"]
    expected = complex_step(lambda x: {"output": known.formula(x)}, {"x": x}, "x", {"output": g})
    assert_equal_to_the_step(gradient, expected, bound.gradients["x"])


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_single_precision_lies_inside_the_bound(name: str) -> None:
    reference, known = named(name)
    rng = np.random.default_rng(2)
    tiny = 2.0 ** -rng.integers(1, 60, size=500) * normal32(rng, (500,))
    x = np.concatenate([normal32(rng, (4000,)), 8 * normal32(rng, (4000,)), tiny.astype(f).astype(np.float64)])
    g = normal32(rng, x.shape)
    value = reference.forward(x=x, **known.attributes)["output"]
    gradient = reference.vjp({"output": g}, x=x, **known.attributes)["x"]
    bound = reference.magnitude({"output": g}, x=x, **known.attributes)
    with np.errstate(over="ignore"):
        for single in known.singles:
            output, pulled = single(x.astype(f), g.astype(f))
            assert_within(output, value, bound.outputs["output"])
            assert_within(pulled, gradient, bound.gradients["x"])


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_rounded_inputs_lie_outside_the_bound(name: str) -> None:
    reference, known = named(name)
    rng = np.random.default_rng(3)
    x, g = normal32(rng, (4000,)), {"output": normal32(rng, (4000,))}
    attributes = known.attributes
    bound = reference.magnitude(g, x=x, **attributes)
    value, gradient = reference.forward(x=x, **attributes)["output"], reference.vjp(g, x=x, **attributes)["x"]
    curved = ~np.isin(value, [0, 1, 6, -0.5, 2])  # on a flat piece nothing moves
    for moved in (x * (1 + 1e-3), bfloat16(x)):
        got = reference.forward(x=moved, **attributes)["output"]
        outside = (
            np.abs(got - value)[curved]
            > bound.outputs["output"].radius(unit_roundoff=2.0**-24 + 2.0**-53, smallest_normal=2.0**-126)[curved]
        )
        assert np.mean(outside) > MOST
        if not known.linear:
            share = share_outside(reference.vjp(g, x=moved, **attributes)["x"], gradient, bound.gradients["x"])
            # Where x is positive, elu and selu are lines.
            assert share > (MOST / 2 if name in ("elu", "selu") else MOST)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_a_wrong_slope_lies_outside_the_bound(name: str) -> None:
    reference, known = named(name)
    rng = np.random.default_rng(4)
    x, g = normal32(rng, (1000,)), {"output": normal32(rng, (1000,))}
    gradient = reference.vjp(g, x=x, **known.attributes)["x"]
    bound = reference.magnitude(g, x=x, **known.attributes).gradients["x"]
    moving = gradient != 0
    assert np.mean((1e-3 * np.abs(gradient) > radius(bound))[moving]) > MOST


KINKS = [
    # operator, attributes, where, slope
    ("relu6", {}, [-1, -0.0, 0, 3, 6, 7], [0, 0, 0, 1, 0, 0]),
    ("leaky_relu", {"slope": 0.25}, [-1, -0.0, 0, 1], [0.25, 0.25, 0.25, 1]),
    ("elu", {"alpha": 0.5}, [-np.inf, -0.0, 0, 1, np.inf], [0, 0.5, 0.5, 1, 1]),
    ("selu", {}, [-0.0, 0, 1], [SELU_SCALE * SELU_ALPHA, SELU_SCALE * SELU_ALPHA, SELU_SCALE]),
    ("hard_sigmoid", {}, [-4, -3, 0, 3, 4], [0, 0, 1 / 6, 0, 0]),
    ("hard_swish", {}, [-4, -3, 0, 3, 4], [0, 0, 0.5, 1, 1]),
    ("hard_tanh", {"low": -1.0, "high": 2.0}, [-2, -1, 0, 2, 3], [0, 0, 1, 0, 0]),
    ("softsign", {}, [0.0, -1], [1, 0.25]),
    ("softplus", {}, [-np.inf, 0, np.inf], [0, 0.5, 1]),
    ("log_sigmoid", {}, [-np.inf, 0, np.inf], [1, 0.5, 0]),
    ("silu", {}, [0.0], [0.5]),
    ("mish", {}, [0.0], [0.6]),
    ("gelu", {"approximate": "none"}, [0.0, 40, -40], [0.5, 1, 0]),
    ("gelu", {"approximate": "tanh"}, [0.0, 40, -40], [0.5, 1, 0]),
]


@pytest.mark.parametrize(("name", "attributes", "where", "slope"), KINKS)
def test_slopes_at_kinks_and_far_away(name: str, attributes: Any, where: list[float], slope: list[float]) -> None:
    x = np.array(where, dtype=np.float64)
    got = OPERATORS[name].vjp({"output": np.full(x.shape, 2.0)}, x=x, **attributes)["x"]
    assert np.allclose(got, 2 * np.array(slope), rtol=2.0**-50, atol=1e-300)
    bound = OPERATORS[name].magnitude({"output": np.full(x.shape, 2.0)}, x=x, **attributes).gradients["x"]
    # Finite, and nothing is so loose out there that a wrong slope would pass.
    assert (radius(bound) < 1e-4).all()


TAILS = [
    ("elu", {"alpha": 2.0}, [-np.inf, -1e-12, 1e-12], [-2, -2e-12, 1e-12]),
    ("selu", {}, [-np.inf, np.inf], [-SELU_SCALE * SELU_ALPHA, np.inf]),
    ("gelu", {"approximate": "none"}, [-10.0, 1e-12], [-10 * special.ndtr(-10.0), 5e-13]),
    ("silu", {}, [-700.0, 700], [-700 * np.exp(-700.0), 700]),
    ("mish", {}, [-700.0, 700], [-700 * np.exp(-700.0), 700]),
    ("softplus", {}, [-700.0, -np.inf, 700, np.inf], [np.exp(-700.0), 0, 700, np.inf]),
    ("log_sigmoid", {}, [700.0, np.inf, -700, -np.inf], [-np.exp(-700.0), 0, -700, -np.inf]),
    ("softsign", {}, [1e300, -1e300], [1, -1]),
    ("relu6", {}, [-np.inf, np.inf], [0, 6]),
    ("hard_sigmoid", {}, [-np.inf, np.inf, 1.5], [0, 1, 0.75]),
    ("hard_swish", {}, [np.inf, 1.5, -1.5], [np.inf, 1.125, -0.375]),
    ("hard_tanh", {"low": -1.0, "high": 2.0}, [-np.inf, np.inf], [-1, 2]),
]


@pytest.mark.parametrize(("name", "attributes", "where", "value"), TAILS)
def test_values_far_away_and_near_zero(name: str, attributes: Any, where: list[float], value: list[float]) -> None:
    got = OPERATORS[name].forward(x=np.array(where), **attributes)["output"]
    assert np.allclose(got, value, rtol=2.0**-40, atol=0)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_nan_stays_and_an_empty_batch_is_legal(name: str) -> None:
    reference, known = named(name)
    assert np.isnan(reference.forward(x=np.array([np.nan]), **known.attributes)["output"]).all()
    x = np.zeros((0, 3))
    bound = reference.magnitude({"output": x}, x=x, **known.attributes)
    assert bound.gradients["x"].absolute.shape == bound.outputs["output"].absolute.shape == (0, 3)
    assert reference.magnitude(None, x=x, **known.attributes).gradients == {}


def test_prelu_by_nested_loops_and_complex_step() -> None:
    rng = np.random.default_rng(5)
    x, a, g = rng.standard_normal((2, 3, 4)), rng.standard_normal(4), rng.standard_normal((2, 3, 4))
    prelu = OPERATORS["prelu"]
    value = prelu.forward(x=x, a=a)["output"]
    for index in np.ndindex(x.shape):
        assert value[index] == (x[index] if x[index] > 0 else a[index[-1]] * x[index])

    def formula(x: Any, a: Any) -> Any:
        return {"output": left(x, a * x, x)}

    gradients = prelu.vjp({"output": g}, x=x, a=a)
    bound = prelu.magnitude({"output": g}, x=x, a=a).gradients
    for name in ("x", "a"):
        expected = complex_step(formula, {"x": x, "a": a}, name, {"output": g})
        assert_equal_to_the_step(gradients[name], expected, bound[name])


def test_prelu_in_single_precision_lies_inside_the_bound_and_rounded_inputs_outside() -> None:
    rng = np.random.default_rng(6)
    x, a, g = normal32(rng, (50, 3)), normal32(rng, (3,)), normal32(rng, (50, 3))
    prelu = OPERATORS["prelu"]
    bound = prelu.magnitude({"output": g}, x=x, a=a)
    gradients = prelu.vjp({"output": g}, x=x, a=a)
    x32, a32, g32 = x.astype(f), a.astype(f), g.astype(f)
    assert_within(left(x32, a32 * x32, x32), prelu.forward(x=x, a=a)["output"], bound.outputs["output"])
    assert_within(left(x32, a32 * g32, g32), gradients["x"], bound.gradients["x"])
    terms = np.where(x32 > 0, f(0), g32 * x32)
    for order in (terms, terms[::-1]):
        assert_within(order.cumsum(axis=0, dtype=f)[-1], gradients["a"], bound.gradients["a"])
    moved = prelu.vjp({"output": g}, x=bfloat16(x), a=a)["a"]
    assert share_outside(moved, gradients["a"], bound.gradients["a"]) > MOST


def test_prelu_at_zero_has_the_left_slope() -> None:
    x, a = np.array([[0.0, -0.0]]), np.array([0.25, -3.0])
    gradients = OPERATORS["prelu"].vjp({"output": np.ones((1, 2))}, x=x, a=a)
    assert gradients["x"].tolist() == [[0.25, -3.0]]
    assert gradients["a"].tolist() == [0, 0]


def test_impossible_questions_are_refused() -> None:
    x = np.zeros((2, 3))
    with pytest.raises(InvalidShape, match="approximate"):
        OPERATORS["gelu"].forward(x=x, approximate="erf")
    with pytest.raises(InvalidShape, match="low < high"):
        OPERATORS["hard_tanh"].forward(x=x, low=1.0, high=1.0)
    with pytest.raises(InvalidShape, match="a of prelu"):
        OPERATORS["prelu"].forward(x=x, a=np.zeros(2))
    with pytest.raises(InvalidShape, match="x of prelu"):
        OPERATORS["prelu"].forward(x=np.zeros(3), a=np.zeros(3))
    with pytest.raises(InvalidShape, match="cotangent"):
        OPERATORS["elu"].vjp({"output": np.zeros(3)}, x=x, alpha=1.0)
