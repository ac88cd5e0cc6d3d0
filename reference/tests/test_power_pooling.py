"""Norms of windows against a list of their elements, differences, and single precision."""

from itertools import product
from math import hypot
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from conformance.reference import power_pooling
from conformance.reference.magnitude import Array
from conformance.reference.padding import InvalidShape, windows
from conformance.reference.tests.products import UNIT_ROUNDOFF_64, normal32, radius

PADDINGS = st.sampled_from(["valid", "same", "same_lower", ((0, 1), (1, 0))])
TWO = st.tuples(st.integers(1, 3), st.integers(1, 3))
KINDS = st.sampled_from([(1, True), (1, False), (2, True), (2, False), (3, False)])


def norm(numbers: list[float], p: int, signed: bool) -> float:
    if p == 3:
        return float(np.cbrt(sum(abs(number) ** 3 for number in numbers)))
    return hypot(*numbers) if p == 2 else sum(numbers) if signed else sum(map(abs, numbers))


def seen(sizes: tuple[int, ...], attributes: dict[str, Any]) -> dict[tuple[int, int], list[tuple[int, int]]]:
    """The elements of every window."""
    over = windows(
        sizes=sizes,
        kernel=attributes["window"],
        stride=attributes["stride"],
        dilation=(1, 1),
        padding=attributes["padding"],
    )
    rows, columns = (
        [
            [p for p in range(o * w.stride - w.low, o * w.stride - w.low + w.kernel) if 0 <= p < w.size]
            for o in range(w.outputs)
        ]
        for w in over
    )
    return {(i, j): list(product(rows[i], columns[j])) for i, j in product(range(len(rows)), range(len(columns)))}


@settings(max_examples=100, deadline=None)
@given(
    sizes=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    window=TWO,
    stride=TWO,
    padding=PADDINGS,
    kind=KINDS,
    seed=st.integers(0, 2**32 - 1),
)
def test_norms_their_differences_and_their_bounds(
    sizes: tuple[int, int],
    window: tuple[int, int],
    stride: tuple[int, int],
    padding: Any,
    kind: tuple[int, bool],
    seed: int,
) -> None:
    p, signed = kind
    attributes: dict[str, Any] = {"window": window, "stride": stride, "padding": padding, "p": p, "signed": signed}
    try:
        cells = seen(sizes, attributes)
    except InvalidShape:
        assume(False)
    rng = np.random.default_rng(seed)
    x = normal32(rng, (2, *sizes, 2))
    got = power_pooling.forward(x=x, **attributes)["output"]
    size = power_pooling.forward(x=np.abs(x), **attributes)["output"]
    for n, c, (place, inside) in product(range(2), range(2), cells.items()):
        expected = norm([x[(n, *cell, c)] for cell in inside], p, signed)
        assert abs(got[(n, *place, c)] - expected) <= 32 * UNIT_ROUNDOFF_64 * size[(n, *place, c)]
    cotangent = normal32(rng, got.shape)
    gradient = power_pooling.vjp({"output": cotangent}, x=x, **attributes)["x"]
    along, step = rng.standard_normal(x.shape), 2.0**-20
    # A kink or a window close to zero within the step would make the quotient say nothing.
    assume(np.abs(x).min() > 2.0**-6)
    ends = [power_pooling.forward(x=x + by * along, **attributes)["output"] for by in (step, -step)]
    quotient = np.vdot(cotangent, ends[0] - ends[1]) / (2 * step)
    # The third derivative of a norm y is at most 3 |along|^3 / y^2, y above 2^-6; roundings are those of y over it.
    steep = np.abs(cotangent).sum() * (1 + np.abs(along).max()) ** 3 * x.size**1.5
    allowed = steep * (step**2 * 2.0**12 + 64 * UNIT_ROUNDOFF_64 / step)
    assert abs(quotient - np.vdot(gradient, along)) <= allowed
    bounds = power_pooling.magnitude({"output": cotangent}, x=x, **attributes)
    for forward32, backward32 in single(x, cotangent, cells, attributes):
        assert np.all(np.abs(forward32 - got) <= radius(bounds.outputs["output"]))
        assert np.all(np.abs(backward32 - gradient) <= radius(bounds.gradients["x"]))
    assert power_pooling.magnitude(None, x=x, **attributes).gradients == {}


def single(
    x: Array, cotangent: Array, cells: dict[tuple[int, int], list[tuple[int, int]]], attributes: dict[str, Any]
) -> list[tuple[Array, Array]]:
    """In float32: by the plain formula, and as PyTorch has it, by a mean that is multiplied back."""
    p, signed = attributes["p"], attributes["signed"]
    x32, g32 = x.astype(np.float32), cotangent.astype(np.float32)
    found = []
    output: Array
    gradient: Array
    for by_mean in (False, True):
        count = np.float32(np.prod(attributes["window"]))
        output, gradient = np.zeros(cotangent.shape, np.float32), np.zeros(x.shape, np.float32)
        for (top, left), inside in cells.items():
            total = np.zeros((2, 2), np.float32)
            for row, column in inside:
                one = x32[:, row, column]
                total = total + (np.abs(one) ** p if p > 1 else one if signed else np.abs(one))
            if by_mean:
                total = total / count * count
            value = total ** np.float32(1 / p)
            output[:, top, left] = value
            for row, column in inside:
                one, g = x32[:, row, column], g32[:, top, left]
                slope = (
                    np.where(value == 0, np.float32(0), np.float32(0.5) / value) * np.float32(2) * one
                    if p == 2
                    else one * np.abs(one) * total ** np.float32(-2 / 3)
                    if p == 3
                    else np.ones_like(one)
                    if signed
                    else np.sign(one)
                )
                gradient[:, row, column] += g / count * count * slope if by_mean else g * slope
        found.append((output, gradient))
    return found


def test_hand_worked_norms() -> None:
    x = np.array([3.0, -4, 0, 0]).reshape(1, 1, 4, 1)
    cotangents = {"output": np.array([10.0, 7]).reshape(1, 1, 2, 1)}
    for p, signed, norms, gradient in (
        (2, False, [5, 0], [6, -8, 0, 0]),
        (2, True, [5, 0], [6, -8, 0, 0]),
        (1, False, [7, 0], [10, -10, 0, 0]),
        (1, True, [-1, 0], [10, 10, 7, 7]),
    ):
        attributes: dict[str, Any] = {
            "window": (1, 2),
            "stride": (1, 2),
            "padding": "valid",
            "p": p,
            "signed": signed,
        }
        assert power_pooling.forward(x=x, **attributes)["output"].ravel().tolist() == norms
        assert power_pooling.vjp(cotangents, x=x, **attributes)["x"].ravel() == pytest.approx(gradient, abs=2.0**-49)
        bounds = power_pooling.magnitude(cotangents, x=x, **attributes)
        assert np.isfinite(radius(bounds.outputs["output"])).all()
        assert np.isfinite(radius(bounds.gradients["x"])).all()


def test_the_bound_tells_a_thousandth() -> None:
    attributes: dict[str, Any] = {"window": (2, 2), "stride": (2, 2), "padding": "valid", "p": 2, "signed": False}
    x = normal32(np.random.default_rng(1), (2, 4, 6, 3))
    exact = power_pooling.forward(x=x, **attributes)["output"]
    bound = radius(power_pooling.magnitude(None, x=x, **attributes).outputs["output"])
    largest = tuple(int(i) for i in np.unravel_index(np.abs(x).argmax(), x.shape))
    x[largest] *= 1.001
    assert (np.abs(power_pooling.forward(x=x, **attributes)["output"] - exact) > bound).sum() == 1


@pytest.mark.parametrize(
    ("shape", "changes", "what"),
    [((1, 3, 3), {}, "axes of x"), ((1, 3, 3, 1), {"p": 4}, "p"), ((1, 3, 3, 1), {"stride": (0, 1)}, "stride")],
)
def test_what_has_no_answer_is_refused(shape: tuple[int, ...], changes: dict[str, Any], what: str) -> None:
    attributes = {"window": (2, 2), "stride": (1, 1), "padding": "valid", "p": 2, "signed": False, **changes}
    with pytest.raises(InvalidShape) as caught:
        power_pooling.forward(x=np.zeros(shape), **attributes)
    assert caught.value.what == what


def windows_of_cubes(rng: np.random.Generator, positive: bool) -> Array:
    """Rows of five numbers whose cubes nearly cancel, to more than their tenth part and less than their third."""
    rows: list[Array] = []
    while len(rows) < 40:
        row = normal32(rng, (5,))
        kept, size = (row**3).sum(), (np.abs(row) ** 3).sum()
        if 0.02 < abs(kept) / size < 0.3 and (kept > 0) == positive:
            rows.append(row)
    return np.stack(rows).reshape(40, 1, 5, 1)


def test_signed_cubes_within_their_bounds() -> None:
    """In float32, by the plain formula and through a mean, where the sum cancels up to fifty times."""
    a: dict[str, Any] = {"window": (1, 5), "stride": (1, 1), "padding": "valid", "p": 3, "signed": True}
    rng = np.random.default_rng(7)
    x = windows_of_cubes(rng, positive=True)
    got = power_pooling.forward(x=x, **a)["output"]
    np.testing.assert_allclose(got[:, 0, 0, 0] ** 3, (x**3).sum(axis=(1, 2, 3)), rtol=2.0**-44)
    cotangents = {"output": normal32(rng, got.shape)}
    gradient = power_pooling.vjp(cotangents, x=x, **a)["x"]
    bounds = power_pooling.magnitude(cotangents, x=x, **a)
    x32, g32 = x.astype(np.float32), cotangents["output"].astype(np.float32)
    for order in (slice(None), slice(None, None, -1)):
        for count in (np.float32(1), np.float32(5)):
            total = np.zeros((40, 1, 1, 1), np.float32)
            for place in np.arange(5)[order]:
                total = total + x32[:, :, place : place + 1] ** np.float32(3)
            total = total / count * count
            output = total ** np.float32(1 / 3)
            slope = g32 / np.float32(3) * total ** np.float32(-2 / 3)
            assert np.all(np.abs(output - got) <= radius(bounds.outputs["output"]))
            pulled = slope * (np.float32(3) * x32**2)
            assert np.all(np.abs(pulled - gradient) <= radius(bounds.gradients["x"]))
    # It says something all the same: a thousandth of an output lies outside.
    assert np.all(radius(bounds.outputs["output"]) < got / 1000)
    assert np.all(radius(bounds.gradients["x"]) <= np.abs(gradient) / 100)


def test_a_negative_sum_of_cubes_has_no_root_and_no_gradient() -> None:
    a: dict[str, Any] = {"window": (1, 5), "stride": (1, 1), "padding": "valid", "p": 3, "signed": True}
    x = windows_of_cubes(np.random.default_rng(8), positive=False)
    got = power_pooling.forward(x=x, **a)["output"]
    assert np.isnan(got).all()
    assert np.isnan(power_pooling.vjp({"output": np.ones(got.shape)}, x=x, **a)["x"]).all()


def test_cubes_by_hand() -> None:
    x = np.array([1.0, 2, -1, -3, 4, 5]).reshape(1, 1, 6, 1)
    a: dict[str, Any] = {"window": (1, 3), "stride": (1, 3), "padding": "valid", "p": 3}
    cotangents = {"output": np.array([4.0, 36]).reshape(1, 1, 2, 1)}
    for signed, roots, gradient in (
        (True, [2, 162 ** (1 / 3)], [1, 4, 1, *(36 * np.array([9, 16, 25]) / 162 ** (2 / 3))]),
        (False, [10 ** (1 / 3), 6], [*(4 * np.array([1, 4, -1]) / 10 ** (2 / 3)), -9, 16, 25]),
    ):
        assert power_pooling.forward(x=x, signed=signed, **a)["output"].ravel() == pytest.approx(roots, rel=2.0**-50)
        got = power_pooling.vjp(cotangents, x=x, signed=signed, **a)["x"].ravel()
        assert got == pytest.approx(gradient, rel=2.0**-49)
