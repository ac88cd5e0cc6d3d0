"""Normalisations against nested loops, the complex step, hand-worked numbers, and single-precision formulas."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pytest

from conformance.reference.magnitude import Array, Outputs
from conformance.reference.operators import OPERATORS
from conformance.reference.padding import InvalidShape
from conformance.reference.standardization import mean_roundings, variance_roundings
from conformance.reference.tests.products import UNIT_ROUNDOFF_32, normal32, radius
from conformance.reference.tests.steps import (
    MOST,
    assert_equal_in_float64,
    assert_equal_to_the_step,
    assert_within,
    bfloat16,
    complex_step,
    share_outside,
)

f = np.float32
Attributes = Mapping[str, Any]

TRAINING: Attributes = {"epsilon": 1e-3, "momentum": 0.75, "bessel": True}
QUESTIONS: tuple[tuple[str, tuple[int, ...], Attributes], ...] = (
    ("batch_norm", (4, 3), {"epsilon": 1e-5}),
    ("batch_norm", (2, 3, 4, 2), {"epsilon": 0.5}),
    ("batch_norm_training", (5, 3), TRAINING),
    ("batch_norm_training", (3, 2, 4, 2), {**TRAINING, "bessel": False}),
    ("batch_norm_training", (2, 1, 3, 2, 2), {**TRAINING, "epsilon": 0.5}),
    ("layer_norm", (3, 5), {"axes": (-1,), "epsilon": 1e-5}),
    ("layer_norm", (2, 3, 4), {"axes": (1, 2), "epsilon": 0.5}),
    ("layer_norm", (2, 3, 4), {"axes": (0, -1), "epsilon": 1e-3}),
    ("layer_norm", (2, 5, 3), {"axes": (1,), "epsilon": 1e-3}),
    ("group_norm", (2, 3, 6), {"groups": 2, "epsilon": 1e-5}),
    ("group_norm", (3, 6), {"groups": 3, "epsilon": 0.5}),
    ("group_norm", (2, 2, 3, 4), {"groups": 1, "epsilon": 1e-3}),
    ("instance_norm", (2, 5, 3), {"epsilon": 1e-5}),
    ("instance_norm", (3, 2, 3, 2), {"epsilon": 0.5}),
)


def same_set(operator: str, shape: tuple[int, ...], attributes: Attributes, one: Any, other: Any) -> bool:
    """The definition: whether two places of x share a mean."""
    match operator:
        case "layer_norm":
            axes = {axis % len(shape) for axis in attributes["axes"]}
            return all(one[axis] == other[axis] for axis in range(len(shape)) if axis not in axes)
        case "group_norm":
            size = shape[-1] // attributes["groups"]
            return bool(one[0] == other[0] and one[-1] // size == other[-1] // size)
        case "instance_norm":
            return bool(one[0] == other[0] and one[-1] == other[-1])
    return bool(one[-1] == other[-1])


def own_place(operator: str, shape: tuple[int, ...], attributes: Attributes, index: Any) -> tuple[int, ...]:
    """Where the scale of a place of x stands."""
    if operator == "layer_norm":
        return tuple(index[axis % len(shape)] for axis in attributes["axes"])
    return (index[-1],)


def by_loops(operator: str, attributes: Attributes, x: Any, **given: Any) -> dict[str, Any]:
    """Every number with the numbers of its set, one after another; for complex numbers too."""
    output = np.zeros(x.shape, x.dtype)
    means: dict[Any, Any] = {}
    for index in np.ndindex(x.shape):
        own = own_place(operator, x.shape, attributes, index)
        numbers = [x[at] for at in np.ndindex(x.shape) if same_set(operator, x.shape, attributes, index, at)]
        mean = sum(numbers) / len(numbers)
        squares = sum((number - mean) ** 2 for number in numbers)
        means[own] = (mean, squares / (len(numbers) - (1 if attributes.get("bessel") else 0)))
        variance = squares / len(numbers)
        if operator == "batch_norm":
            mean, variance = given["mean"][own], given["variance"][own]
        value = (x[index] - mean) / np.sqrt(variance + attributes["epsilon"])
        scale, offset = given.get("scale"), given.get("offset")
        output[index] = value * (1 if scale is None else scale[own]) + (0 if offset is None else offset[own])
    outputs = {"output": output}
    if operator == "batch_norm_training":
        stays = attributes["momentum"]
        for place, name in enumerate(("mean", "variance")):
            batch = np.array([means[(channel,)][place] for channel in range(x.shape[-1])])
            outputs[name] = stays * given[name] + (1 - stays) * batch
    return outputs


def operands_of(operator: str, shape: tuple[int, ...], attributes: Attributes, centre: float = 0.0) -> Outputs:
    """Numbers that float32 holds, with every operand."""
    rng = np.random.default_rng(len(shape) + 17 * shape[-1])
    affine = tuple(shape[axis] for axis in attributes["axes"]) if operator == "layer_norm" else shape[-1:]
    made = {"x": (normal32(rng, shape) + centre).astype(f).astype(np.float64)}
    if operator.startswith("batch_norm"):
        made |= {"mean": normal32(rng, affine), "variance": np.abs(normal32(rng, affine))}
    return {**made, "scale": normal32(rng, affine), "offset": normal32(rng, affine)}


def cotangents_of(shape: tuple[int, ...]) -> Outputs:
    return {"output": normal32(np.random.default_rng(99), shape)}


@pytest.mark.parametrize(("operator", "shape", "attributes"), QUESTIONS)
@pytest.mark.parametrize("left_out", [(), ("scale",), ("offset",), ("scale", "offset")])
def test_the_definition_by_nested_loops(
    operator: str, shape: tuple[int, ...], attributes: Attributes, left_out: tuple[str, ...]
) -> None:
    operands = {k: v for k, v in operands_of(operator, shape, attributes).items() if k not in left_out}
    reference = OPERATORS[operator]
    output = reference.forward(**operands, **attributes)
    magnitudes = reference.magnitude(None, **operands, **attributes)
    expected = by_loops(operator, attributes, **operands)
    assert output.keys() == magnitudes.outputs.keys() == expected.keys()
    for name, value in expected.items():
        assert_equal_in_float64(output[name], value, magnitudes.outputs[name])
    assert magnitudes.gradients == {}


@pytest.mark.parametrize(("operator", "shape", "attributes"), QUESTIONS)
@pytest.mark.parametrize("left_out", [(), ("scale",), ("scale", "offset")])
def test_gradients_are_those_of_the_complex_step(
    operator: str, shape: tuple[int, ...], attributes: Attributes, left_out: tuple[str, ...]
) -> None:
    operands = {k: v for k, v in operands_of(operator, shape, attributes).items() if k not in left_out}
    g = cotangents_of(shape)
    reference = OPERATORS[operator]
    gradients = reference.vjp(g, **operands, **attributes)
    magnitudes = reference.magnitude(g, **operands, **attributes)
    assert gradients.keys() == magnitudes.gradients.keys() == operands.keys() - {"mean", "variance"}

    def formula(**moved: Any) -> dict[str, Any]:
        whole = {name: value.astype(np.complex128) for name, value in moved.items()}
        return {"output": by_loops(operator, attributes, **whole)["output"]}

    for name, gradient in gradients.items():
        assert gradient.shape == operands[name].shape
        step = complex_step(formula, operands, name, g)
        assert_equal_to_the_step(gradient, step, magnitudes.gradients[name])


def test_by_hand() -> None:
    """Mean 2, variance 1 and epsilon 3: the root is 2; the second channel is constant."""
    reference = OPERATORS["batch_norm_training"]
    question = {
        "x": np.array([[1.0, 2.0], [3.0, 2.0]]),
        "mean": np.array([0.0, 1.0]),
        "variance": np.array([1.0, 2.0]),
        "scale": np.array([2.0, 5.0]),
        "offset": np.array([1.0, -1.0]),
        "epsilon": 3.0,
        "momentum": 0.75,
    }
    outputs = reference.forward(**question, bessel=True)
    assert outputs["output"].tolist() == [[0, -1], [2, -1]]
    assert outputs["mean"].tolist() == [0.5, 1.25]
    assert outputs["variance"].tolist() == [1.25, 1.5]
    assert reference.forward(**question, bessel=False)["variance"].tolist() == [1, 1.5]
    gradients = reference.vjp({"output": np.array([[1.0, 1.0], [0.0, 3.0]])}, **question, bessel=True)
    # 1/2 (2 - 1 - (-1/2) (-1/2)), and its opposite; of the constant channel 5 (1 - 2) / sqrt(3).
    assert gradients["x"][:, 0].tolist() == [0.375, -0.375]
    np.testing.assert_allclose(gradients["x"][:, 1], [-5 / np.sqrt(3), 5 / np.sqrt(3)], rtol=4e-16)
    assert gradients["scale"].tolist() == [-0.5, 0]
    assert gradients["offset"].tolist() == [1, 4]


def test_a_single_number_leaves_the_offset_and_no_gradient() -> None:
    x, row = np.array([[7.0, -3.0]]), {"scale": np.array([2.0, 5.0]), "offset": np.array([0.5, -4.0])}
    g = {"output": np.array([[3.0, 1.0]])}
    running = {"mean": np.zeros(2), "variance": np.ones(2)}
    for operator, own in (
        ("batch_norm_training", {"momentum": 0.5, "bessel": False, **running}),
        ("group_norm", {"groups": 2}),
    ):
        reference = OPERATORS[operator]
        assert reference.forward(x=x, **row, **own, epsilon=1e-5)["output"].tolist() == [[0.5, -4]]
        gradients = reference.vjp(g, x=x, **row, **own, epsilon=1e-5)
        assert gradients["x"].tolist() == [[0, 0]]
        assert gradients["scale"].tolist() == [0, 0]
        assert gradients["offset"].tolist() == [3, 1]


# The bound under attack ---------------------------------------------------------------------------------------------
#
# Sets are the rows of a matrix here, (sets, n), so that an order of summation is an order of columns; scale and
# offset lie along the columns, as a layer's do. In single precision throughout.

Sum = Callable[[Array], Array]


def in_order(terms: Array) -> Array:
    return terms.cumsum(axis=1, dtype=f)[:, -1:]


def from_the_end(terms: Array) -> Array:
    return in_order(terms[:, ::-1])


def in_halves(terms: Array) -> Array:
    half = terms.shape[1] // 2
    return terms if not half else in_halves(terms[:, :half]) + in_halves(terms[:, half:])


def largest_first(terms: Array) -> Array:
    return in_order(np.take_along_axis(terms, np.argsort(-np.abs(terms), axis=1), 1))


SUMS: tuple[Sum, ...] = (in_order, from_the_end, in_halves, largest_first)


def two_passes(x: Array, total: Sum) -> tuple[Array, Array]:
    n = f(x.shape[1])
    mean = total(x) / n
    return mean, total(np.square(x - mean)) * (f(1) / n)


def welford(x: Array, total: Sum) -> tuple[Array, Array]:
    mean, squares = x[:, :1], np.zeros((len(x), 1), f)
    for k in range(1, x.shape[1]):
        apart = x[:, k : k + 1] - mean
        mean = mean + apart * (f(1) / f(k + 1))
        squares = squares + apart * (x[:, k : k + 1] - mean)
    return mean, squares / f(x.shape[1])


def chan(x: Array, total: Sum) -> tuple[Array, Array]:
    def joined(part: Array) -> tuple[Array, Array]:
        n = part.shape[1]
        if n == 1:
            return part, np.zeros_like(part)
        half = (n + 1) // 2
        (mean, squares), (other, more) = joined(part[:, :half]), joined(part[:, half:])
        apart, share = other - mean, f(n - half) / f(n)
        return mean + apart * share, squares + more + apart * apart * share * f(half)

    mean, squares = joined(x)
    return mean, squares / f(x.shape[1])


def honest(x: Array, s: Array, o: Array, g: Array, epsilon: float, total: Sum) -> Iterator[dict[str, Array]]:
    """Ways to compute the output and all gradients in float32."""
    n, e = f(x.shape[1]), f(epsilon)
    for moments in (two_passes, welford, chan):
        mean, variance = moments(x, total)
        inverse = f(1) / np.sqrt(variance + e)
        c, d = x - mean, g * s
        offset = g.cumsum(axis=0, dtype=f)[-1]
        # Centred throughout: the gradient as Ioffe and Szegedy have it.
        standard = c * inverse
        along = total(d * standard) / n
        yield {
            "output": standard * s + o,
            "x": inverse * (d - total(d) / n - standard * along),
            "scale": (g * standard).cumsum(axis=0, dtype=f)[-1],
            "offset": offset,
        }
        # Step by step, as automatic differentiation does, through the variance's own mean as well.
        slope = total(d * c) * (f(-0.5) * inverse / (variance + e))
        of_c, of_square = d * inverse, f(2) * c * (slope / n)
        yield {
            "output": c * (inverse * s) + o,
            "x": of_c + of_square - total(of_c) / n - total(of_square) / n,
            "scale": ((g * c) * inverse)[::-1].cumsum(axis=0, dtype=f)[-1],
            "offset": offset,
        }
        # Not centred: x w + (o - mean w); the gradient as a x + b, its sums over g x and g apart.
        w = inverse * s
        of_x, of_one = total(d * x), total(d)
        bent = (of_one * mean - of_x) * inverse * inverse * inverse / n
        yield {
            "output": x * w + (o - mean * w),
            "x": inverse * d + bent * x + (-bent * mean - of_one * inverse / n),
            "scale": (g * x * inverse - g * mean * inverse).cumsum(axis=0, dtype=f)[-1],
            "offset": offset,
        }


@pytest.mark.parametrize("total", SUMS)
@pytest.mark.parametrize("n", [1, 2, 3, 7, 64, 300])
@pytest.mark.parametrize("centre", [0.0, 1.0, 30.0, -1000.0])
@pytest.mark.parametrize("epsilon", [1e-5, 0.5])
def test_single_precision_lies_inside_the_bound(total: Sum, n: int, centre: float, epsilon: float) -> None:
    attributes = {"axes": (1,), "epsilon": epsilon}
    operands = operands_of("layer_norm", (6, n), attributes, centre)
    operands["x"][0] = operands["x"][0, 0]  # a constant set
    g = cotangents_of((6, n))
    reference = OPERATORS["layer_norm"]
    values = {**reference.forward(**operands, **attributes), **reference.vjp(g, **operands, **attributes)}
    magnitudes = reference.magnitude(g, **operands, **attributes)
    bounds = {**magnitudes.outputs, **magnitudes.gradients}
    x, s, o = (operands[name].astype(f) for name in ("x", "scale", "offset"))
    ways = list(honest(x, s, o, g["output"].astype(f), epsilon, total))
    assert len(ways) == 9
    for way in ways:
        for name, got in way.items():
            assert_within(got, values[name], bounds[name])


@pytest.mark.parametrize("operator", ["batch_norm_training", "group_norm", "instance_norm"])
def test_the_bound_follows_the_sets(operator: str) -> None:
    """The same float32 formulas on sets that lie elsewhere in x."""
    shape: tuple[int, ...] = (3, 4, 6)
    own: dict[str, Any] = {"epsilon": 1e-3}
    own |= {"batch_norm_training": dict(TRAINING), "group_norm": {"groups": 2, **own}}.get(operator, own)
    operands, g = operands_of(operator, shape, own, 2.0), cotangents_of(shape)
    reference = OPERATORS[operator]
    values = {**reference.forward(**operands, **own), **reference.vjp(g, **operands, **own)}
    magnitudes = reference.magnitude(g, **operands, **own)
    x, s, o, grown = (a.astype(f) for a in (operands["x"], operands["scale"], operands["offset"], g["output"]))
    axes = {"batch_norm_training": (0, 1), "instance_norm": (1,), "group_norm": (1, 3)}[operator]
    parts = (3, 4, 2, 3) if operator == "group_norm" else shape
    x, grown = x.reshape(parts), grown.reshape(parts)
    s, o = s.reshape(parts[2:]), o.reshape(parts[2:])
    n = f(np.prod([parts[axis] for axis in axes]))

    def mean(of: Array) -> Array:
        return np.asarray(of.sum(axis=axes, keepdims=True, dtype=f) / n)

    c = x - mean(x)
    inverse = f(1) / np.sqrt(mean(c * c) + f(own["epsilon"]))
    standard, d = c * inverse, grown * s
    back = inverse * (d - mean(d) - standard * mean(d * standard))
    summed = (0, 1)
    for name, got in (
        ("x", back.reshape(shape)),
        ("scale", (grown * standard).sum(axis=summed, dtype=f).ravel()),
        ("offset", grown.sum(axis=summed, dtype=f).ravel()),
    ):
        assert_within(got, values[name], magnitudes.gradients[name])
    assert_within((standard * s + o).reshape(shape), values["output"], magnitudes.outputs["output"])


@pytest.mark.parametrize("bessel", [False, True])
@pytest.mark.parametrize("momentum", [0.0, 0.01, 0.75, 0.99, 1.0])
@pytest.mark.parametrize("centre", [0.0, 3.0, 500.0])
def test_running_statistics_lie_inside_the_bound(bessel: bool, momentum: float, centre: float) -> None:
    n = 20
    question = {"epsilon": 1e-3, "momentum": momentum, "bessel": bessel}
    operands = operands_of("batch_norm_training", (n, 5), question, centre)
    operands["x"][:, 0] = operands["x"][0, 0]
    reference = OPERATORS["batch_norm_training"]
    exact = reference.forward(**operands, **question)
    bounds = reference.magnitude(None, **operands, **question).outputs
    x = operands["x"].astype(f).T
    stays, comes = f(momentum), f(1 - momentum)
    for total in SUMS:
        for moments in (two_passes, welford, chan):
            mean, variance = (part.ravel() for part in moments(x, total))
            if bessel:
                variance = variance * (f(n) / f(n - 1))
            for name, new in (("mean", mean), ("variance", variance)):
                old = operands[name].astype(f)
                ways = [old * stays + new * comes, old * (f(1) - comes) + new * comes, old + comes * (new - old)]
                if momentum <= 0.5:
                    ways.append(new - stays * (new - old))
                for got in ways:
                    assert_within(got, exact[name], bounds[name])


def test_the_bound_is_no_excuse() -> None:
    """What is wrong by ten times what the bound counts lies outside; so do inputs of eight bits, and lost parts."""
    attributes: dict[str, Any] = {"axes": (1,), "epsilon": 1e-5}
    operands = operands_of("layer_norm", (8, 12), attributes, 0.5)
    del operands["offset"]
    g = cotangents_of((8, 12))
    reference = OPERATORS["layer_norm"]
    exact = reference.forward(**operands, **attributes)["output"]
    gradients = reference.vjp(g, **operands, **attributes)
    magnitudes = reference.magnitude(g, **operands, **attributes)
    # The inverse root wrong by ten times the roundings of sums, root and rest: (n + 6) / 2 + 8, and as many for its
    # condition; the bound itself has few units of other terms.
    wrong = 1 + 10 * 2 * (9 + 8) * UNIT_ROUNDOFF_32
    assert share_outside(exact * wrong, exact, magnitudes.outputs["output"]) > MOST
    assert (
        share_outside(gradients["scale"] * (1 + 2.0**-11), gradients["scale"], magnitudes.gradients["scale"]) > MOST
    )
    few = {name: bfloat16(value) for name, value in operands.items()}
    moved = reference.forward(**few, **attributes)["output"]
    assert share_outside(moved, exact, magnitudes.outputs["output"]) > MOST
    moved_gradients = reference.vjp({"output": bfloat16(g["output"])}, **few, **attributes)
    for name, gradient in gradients.items():
        assert share_outside(moved_gradients[name], gradient, magnitudes.gradients[name]) > MOST
    # epsilon 1e-5 or 2e-5: five units in a million of a variance of 1, or eighty roundings.
    near = reference.forward(**operands, axes=(1,), epsilon=1e-3)["output"]
    assert share_outside(near, exact, magnitudes.outputs["output"]) > MOST


def test_at_inference_ten_roundings_of_the_inverse_show() -> None:
    """Without a mean and an offset nothing is added: fifteen roundings are all that the output may have."""
    operands = operands_of("batch_norm", (40, 3), {})
    operands |= {"mean": np.zeros(3), "offset": np.zeros(3)}
    reference = OPERATORS["batch_norm"]
    exact = reference.forward(**operands, epsilon=1e-5)["output"]
    magnitude = reference.magnitude(None, **operands, epsilon=1e-5).outputs["output"]
    assert share_outside(exact * (1 + 20 * UNIT_ROUNDOFF_32), exact, magnitude) == 1
    assert share_outside(exact * (1 + 10 * UNIT_ROUNDOFF_32), exact, magnitude) == 0
    g = cotangents_of((40, 3))
    gradient = reference.vjp(g, **operands, epsilon=1e-5)["x"]
    own = reference.magnitude(g, **operands, epsilon=1e-5).gradients["x"]
    assert share_outside(gradient * (1 + 20 * UNIT_ROUNDOFF_32), gradient, own) == 1


@pytest.mark.parametrize("centre", [0.0, 2.0, 300.0])
def test_inference_lies_inside_the_bound(centre: float) -> None:
    operands, g = operands_of("batch_norm", (30, 4), {}, centre), cotangents_of((30, 4))
    operands["mean"] = (operands["mean"] + centre).astype(f).astype(np.float64)
    operands["variance"][1] = 0.0
    reference = OPERATORS["batch_norm"]
    exact = {**reference.forward(**operands, epsilon=1e-5), **reference.vjp(g, **operands, epsilon=1e-5)}
    magnitudes = reference.magnitude(g, **operands, epsilon=1e-5)
    x, m, v, s, o = (operands[name].astype(f) for name in ("x", "mean", "variance", "scale", "offset"))
    grown = g["output"].astype(f)
    inverse = f(1) / np.sqrt(v + f(1e-5))
    w = inverse * s
    for got in (
        (x - m) * inverse * s + o,
        (x - m) * w + o,
        x * w + (o - m * w),
        (x - m) / np.sqrt(v + f(1e-5)) * s + o,
    ):
        assert_within(got, exact["output"], magnitudes.outputs["output"])
    for got in (grown * w, grown * s * inverse, grown * inverse * s):
        assert_within(got, exact["x"], magnitudes.gradients["x"])
    for got in (
        (grown * ((x - m) * inverse)).cumsum(axis=0, dtype=f)[-1],
        (grown * (x - m)).cumsum(axis=0, dtype=f)[-1] * inverse,
        ((grown * x).cumsum(axis=0, dtype=f)[-1] - m * grown.cumsum(axis=0, dtype=f)[-1]) * inverse,
    ):
        assert_within(got, exact["scale"], magnitudes.gradients["scale"])


def test_what_the_bound_does_not_cover() -> None:
    """The mean of squares less the squared mean loses the square of the condition: it is told from honest forms."""
    attributes: dict[str, Any] = {"axes": (1,), "epsilon": 1e-5}
    operands = operands_of("layer_norm", (8, 20), attributes, 1000.0)
    reference = OPERATORS["layer_norm"]
    exact = reference.forward(**operands, **attributes)["output"]
    magnitude = reference.magnitude(None, **operands, **attributes).outputs["output"]
    x = operands["x"].astype(f)
    mean = in_order(x) / f(20)
    variance = np.maximum(in_order(x * x) / f(20) - mean * mean, f(0))
    got = (x - mean) / np.sqrt(variance + f(1e-5)) * operands["scale"].astype(f) + operands["offset"].astype(f)
    assert (np.abs(got - exact) > radius(magnitude)).any()


def test_the_constants_of_the_derivation() -> None:
    t = np.geomspace(1e-6, 1e6, 100_001)
    assert ((1 - 1 / np.sqrt(1 + t * t)) / t).max() < 0.31
    n = np.arange(1.0, 50_001.0)
    roundings = np.array([mean_roundings(int(k)) for k in n])
    updates = np.concatenate([[0.0], (roundings**2 / n)[1:].cumsum()])
    closed = np.array([variance_roundings(int(k)) for k in n])
    assert (2 * np.sqrt(2 * updates) <= closed).all()
    harmonic = np.concatenate([[0.0], (1 / n).cumsum()[:-1]])
    assert (np.minimum(5 * (n - 1), n + 3 + 3 * harmonic) <= roundings).all()


def test_nan_takes_its_set_alone() -> None:
    x = np.arange(12.0).reshape(3, 4)
    x[1, 2] = np.nan
    row = OPERATORS["layer_norm"].forward(x=x, axes=(1,), epsilon=1e-5)["output"]
    assert np.isnan(row).any(axis=1).tolist() == [False, True, False]
    running = {"mean": np.zeros(4), "variance": np.ones(4)}
    reference = OPERATORS["batch_norm_training"]
    outputs = reference.forward(x=x, **running, **TRAINING)
    for name in ("mean", "variance"):
        assert np.isnan(outputs[name]).tolist() == [False, False, True, False]
    bounds = reference.magnitude({"output": np.ones((3, 4))}, x=x, **running, **TRAINING)
    for magnitude in (*bounds.outputs.values(), *bounds.gradients.values()):
        assert np.isfinite(np.broadcast_to(radius(magnitude), magnitude.absolute.shape)[..., [0, 1, 3]]).all()


def test_far_beyond_the_format_nothing_is_promised() -> None:
    """A mean of 10^9 roundings' deviations: float32 knows nothing of the variance, and the bound says so."""
    x = 1e9 + np.arange(6.0).reshape(1, 6)
    magnitude = OPERATORS["layer_norm"].magnitude(None, x=x, axes=(1,), epsilon=1e-5).outputs["output"]
    assert (radius(magnitude) > 1).all()


EMPTY = np.zeros((0, 3))


@pytest.mark.parametrize(
    ("operator", "question", "message"),
    [
        ("batch_norm", {"x": np.ones(3), "mean": np.ones(3), "variance": np.ones(3)}, "axes of x"),
        ("batch_norm", {"x": np.ones((2, 3)), "mean": np.ones(2), "variance": np.ones(3)}, "mean"),
        ("batch_norm", {"x": np.ones((2, 3)), "mean": np.ones(3), "variance": np.ones((3, 1))}, "variance"),
        (
            "batch_norm",
            {"x": np.ones((2, 3)), "mean": np.ones(3), "variance": np.ones(3), "epsilon": 0.0},
            "epsilon",
        ),
        ("batch_norm_training", {"x": np.ones((1, 3)), **TRAINING}, "numbers a channel"),
        ("batch_norm_training", {"x": EMPTY, **TRAINING, "bessel": False}, "numbers a channel"),
        ("batch_norm_training", {"x": np.ones((2, 3)), **TRAINING, "momentum": 1.5}, "momentum"),
        ("layer_norm", {"x": np.ones((2, 3)), "axes": ()}, "axes"),
        ("layer_norm", {"x": np.ones((2, 3)), "axes": (2,)}, "axes"),
        ("layer_norm", {"x": np.ones((2, 3)), "axes": (1, 0)}, "ascending"),
        ("layer_norm", {"x": np.ones((2, 3)), "axes": (1, -1)}, "distinct"),
        ("layer_norm", {"x": np.ones((2, 0)), "axes": (1,)}, "share a mean"),
        ("layer_norm", {"x": np.ones((2, 3)), "axes": (1,), "scale": np.ones(2)}, "scale"),
        ("group_norm", {"x": np.ones((2, 5)), "groups": 2}, "groups"),
        ("group_norm", {"x": np.ones((2, 4)), "groups": 0}, "groups"),
        ("group_norm", {"x": np.ones((2, 0, 4)), "groups": 2}, "share a mean"),
        ("group_norm", {"x": np.ones((2, 4)), "groups": 2, "offset": np.ones(2)}, "offset"),
        ("instance_norm", {"x": np.ones((2, 4))}, "axes of x"),
        ("instance_norm", {"x": np.ones((2, 0, 4))}, "share a mean"),
    ],
)
def test_questions_without_an_answer(operator: str, question: dict[str, Any], message: str) -> None:
    if operator == "batch_norm_training":
        question = {"mean": np.ones(3), "variance": np.ones(3), **question}
    with pytest.raises(InvalidShape, match=message):
        OPERATORS[operator].forward(**{"epsilon": 1e-5, **question})


def test_an_empty_batch_is_legal_where_nothing_is_measured_over_it() -> None:
    for operator, own in (
        ("batch_norm", {"mean": np.ones(3), "variance": np.ones(3)}),
        ("layer_norm", {"axes": (1,)}),
        ("group_norm", {"groups": 3}),
    ):
        question = {"x": EMPTY, "scale": np.ones(3), **own, "epsilon": 1e-5}
        reference = OPERATORS[operator]
        assert reference.forward(**question)["output"].shape == (0, 3)
        gradients = reference.vjp({"output": EMPTY}, **question)
        assert gradients["x"].shape == (0, 3)
        assert gradients["scale"].tolist() == [0, 0, 0]
        bounds = reference.magnitude({"output": EMPTY}, **question)
        assert bounds.gradients["scale"].absolute.tolist() == [0, 0, 0]
