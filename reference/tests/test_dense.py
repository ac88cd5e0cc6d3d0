"""Dense layers against loops, hand-worked numbers and single-precision sums in several orders."""

from itertools import product as cartesian
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conformance.reference import dense, pairs
from conformance.reference.magnitude import Array
from conformance.reference.padding import InvalidShape
from conformance.reference.tests.products import Products, integers, normal32, radius
from conformance.reference.tests.steps import MOST, assert_within, share_outside

SHAPES = st.tuples(st.lists(st.integers(0, 3), max_size=2), st.integers(1, 5), st.integers(1, 4))


def products_of(lead: tuple[int, ...], inputs: int, units: int) -> Products:
    """Enumerates rows, units and inputs in plain loops."""
    rows = int(np.prod(lead, dtype=int))
    triples = [
        (row * units + unit, row * inputs + i, i * units + unit)
        for row, unit, i in cartesian(range(rows), range(units), range(inputs))
    ]
    result, left, right = np.array(triples, dtype=int).reshape(-1, 3).T
    return Products(
        result=result,
        left=left,
        right=right,
        result_shape=(*lead, units),
        left_shape=(*lead, inputs),
        right_shape=(inputs, units),
    )


@settings(deadline=None, max_examples=50)
@given(shapes=SHAPES, bias=st.booleans(), seed=st.integers(0, 2**32 - 1))
def test_dense_equals_the_loops(shapes: Any, bias: bool, seed: int) -> None:
    lead, inputs, units = shapes
    rng = np.random.default_rng(seed)
    pairs = products_of(tuple(lead), inputs, units)
    # Whole numbers are summed without rounding in any order, so everything is equal to the bit.
    x, w, g = integers(rng, pairs.left_shape), integers(rng, pairs.right_shape), integers(rng, pairs.result_shape)
    b = integers(rng, (units,)) if bias else None
    added = 0 if b is None else b
    assert np.array_equal(dense.dense_forward(x=x, w=w, b=b)["output"], pairs.total(x, w) + added)
    gradients = dense.dense_vjp({"output": g}, x=x, w=w, b=b)
    expected = {"x": pairs.for_left().total(g, w), "w": pairs.for_right().total(x, g)}
    if bias:
        expected["b"] = sum((g[index] for index in np.ndindex(*lead)), np.zeros(units))
    assert gradients.keys() == expected.keys()
    for name, gradient in expected.items():
        assert gradients[name].shape == gradient.shape
        assert np.array_equal(gradients[name], gradient)
    bound = dense.dense_magnitude({"output": g}, x=x, w=w, b=b)
    extra = 0 if b is None else np.abs(b)
    assert np.array_equal(bound.outputs["output"].absolute, pairs.total(np.abs(x), np.abs(w)) + extra)
    assert (bound.outputs["output"].terms == pairs.count() + bias).all()
    assert (bound.gradients["x"].terms == pairs.for_left().count()).all()
    assert (bound.gradients["w"].terms == pairs.for_right().count()).all()


@pytest.mark.parametrize("bias", [False, True])
def test_single_precision_lies_inside_the_bound_and_a_changed_element_outside(bias: bool) -> None:
    rng = np.random.default_rng(8)
    pairs = products_of((6,), 20, 5)
    x, w, g = normal32(rng, (6, 20)), normal32(rng, (20, 5)), normal32(rng, (6, 5))
    b = normal32(rng, (5,)) if bias else None
    value, gradients = dense.dense_forward(x=x, w=w, b=b)["output"], dense.dense_vjp({"output": g}, x=x, w=w, b=b)
    bound = dense.dense_magnitude({"output": g}, x=x, w=w, b=b)
    for got in pairs.in_float32(x, w, rng, b):
        assert_within(got, value, bound.outputs["output"])
    for got in pairs.for_left().in_float32(g, w, rng):
        assert_within(got, gradients["x"], bound.gradients["x"])
    for got in pairs.for_right().in_float32(x, g, rng):
        assert_within(got, gradients["w"], bound.gradients["w"])
    x[:, 7] *= 1 + 1e-3
    assert share_outside(dense.dense_forward(x=x, w=w, b=b)["output"], value, bound.outputs["output"]) > MOST


def test_bias_add_by_hand() -> None:
    x, b = np.array([[[1.0, 2.0]], [[3.0, 4.0]], [[5.0, 7.0]]]), np.array([10.0, -20.0])
    assert dense.bias_add_forward(x=x, b=b)["output"].tolist() == [[[11, -18]], [[13, -16]], [[15, -13]]]
    gradients = dense.bias_add_vjp({"output": x}, x=x, b=b)
    assert gradients["b"].tolist() == [9, 13]
    assert np.array_equal(gradients["x"], x)
    bound = dense.bias_add_magnitude({"output": -x}, x=x, b=b)
    assert bound.outputs["output"].absolute.tolist() == [[[11, 22]], [[13, 24]], [[15, 27]]]
    assert bound.gradients["b"].absolute.tolist() == [9, 13]
    assert bound.gradients["b"].terms == 3
    assert not radius(bound.gradients["x"]).any()


def test_bias_add_in_single_precision_lies_inside_the_bound() -> None:
    rng = np.random.default_rng(9)
    x, b, g = normal32(rng, (50, 4)), normal32(rng, (4,)), normal32(rng, (50, 4))
    bound = dense.bias_add_magnitude({"output": g}, x=x, b=b)
    assert_within((x + b).astype(np.float32), x + b, bound.outputs["output"])
    for rows in (g, g[::-1], g[np.argsort(np.abs(g[:, 0]))]):
        got = rows.astype(np.float32).cumsum(axis=0, dtype=np.float32)[-1]
        assert_within(got, g.sum(axis=0), bound.gradients["b"])
    assert share_outside(x * (1 + 1e-3) + b, x + b, bound.outputs["output"]) > MOST
    assert share_outside(g.sum(axis=0) + 1e-3, g.sum(axis=0), bound.gradients["b"]) == 1


@pytest.mark.parametrize("shape", [(2, 3, 4), (5,), (0, 3, 2), (2, 0)])
def test_flatten_is_row_major_and_exact(shape: tuple[int, ...]) -> None:
    x = np.arange(np.prod(shape), dtype=np.float64).reshape(shape)
    output = dense.flatten_forward(x=x)["output"]
    assert output.shape == (shape[0], np.prod(shape[1:]))
    for index in np.ndindex(*shape):
        place = 0
        for size, position in zip(shape[1:], index[1:], strict=True):
            place = place * size + position
        assert output[index[0], place] == x[index]
    assert np.array_equal(dense.flatten_vjp({"output": output}, x=x)["x"], x)
    bound = dense.flatten_magnitude({"output": output}, x=x)
    assert bound.outputs["output"].absolute.shape == output.shape
    assert not radius(bound.gradients["x"]).any()


def test_dropout_by_hand() -> None:
    x, mask = np.array([1.0, 2.0, 3.0]), np.array([True, False, True])
    assert dense.dropout_forward(x=x, mask=mask, keep=0.5)["output"].tolist() == [2, 0, 6]
    assert dense.dropout_vjp({"output": -x}, x=x, mask=mask, keep=0.25)["x"].tolist() == [-4, 0, -12]
    odd = np.array([np.inf, np.nan, np.inf])
    assert np.array_equal(dense.dropout_forward(x=odd, mask=mask, keep=0.5)["output"], [np.inf, np.nan, np.inf], True)
    assert np.isnan(dense.dropout_forward(x=odd, mask=~mask, keep=0.5)["output"][0])


@pytest.mark.parametrize("keep", [0.1, 0.3, 0.7, 1.0])
def test_dropout_in_single_precision_lies_inside_the_bound(keep: float) -> None:
    rng = np.random.default_rng(10)
    x, g, mask = normal32(rng, (3000,)), normal32(rng, (3000,)), rng.random(3000) < keep
    bound = dense.dropout_magnitude({"output": g}, x=x, mask=mask, keep=keep)
    value = dense.dropout_forward(x=x, mask=mask, keep=keep)["output"]
    gradient = dense.dropout_vjp({"output": g}, x=x, mask=mask, keep=keep)["x"]
    one, kept = np.float32(1), np.float32(keep)

    def singles(a: Array) -> list[Array]:
        a = a.astype(np.float32)
        return [a * mask / kept, a * (mask * (one / kept))]

    for got in singles(x):
        assert_within(got, value, bound.outputs["output"])
    for got in singles(g):
        assert_within(got, gradient, bound.gradients["x"])
    assert share_outside(value * (1 + 1e-3), value, bound.outputs["output"]) > MOST * mask.mean()


def test_impossible_questions_are_refused() -> None:
    x, w = np.zeros((2, 3)), np.zeros((3, 4))
    with pytest.raises(InvalidShape, match="w of dense"):
        dense.dense_forward(x=x, w=np.zeros((4, 3)))
    with pytest.raises(InvalidShape, match="b of dense"):
        dense.dense_forward(x=x, w=w, b=np.zeros(3))
    with pytest.raises(InvalidShape, match="scalar"):
        dense.dense_forward(x=np.zeros(()), w=w)
    with pytest.raises(InvalidShape, match="cotangent"):
        dense.dense_vjp({"output": np.zeros((2, 3))}, x=x, w=w)
    with pytest.raises(InvalidShape, match="b of bias_add"):
        dense.bias_add_forward(x=x, b=np.zeros(1))
    with pytest.raises(InvalidShape, match="scalar"):
        dense.flatten_forward(x=np.zeros(()))
    with pytest.raises(InvalidShape, match="mask"):
        dense.dropout_forward(x=x, mask=np.ones(3, dtype=bool), keep=0.5)
    with pytest.raises(InvalidShape, match="mask"):
        dense.dropout_forward(x=x, mask=np.ones((2, 3)), keep=0.5)
    for keep in (0.0, -0.5, 1.5, float("nan")):
        with pytest.raises(InvalidShape, match="keep"):
            dense.dropout_forward(x=x, mask=np.ones((2, 3), dtype=bool), keep=keep)


def test_large_absolute_sums_in_float32_are_no_less_than_the_exact_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of dense layers and matrices, a batch repeated; numbers over sixty orders of magnitude, and zeros."""
    rng = np.random.default_rng(7)

    def drawn(*shape: int) -> np.ndarray:
        return rng.normal(size=shape) * 10.0 ** rng.integers(-60, 8, shape) * rng.integers(0, 2, shape)

    layer, matrices = (
        {"x": drawn(3, 70, 300), "w": drawn(300, 90), "b": drawn(90)},
        {
            "x": drawn(5, 60, 110),
            "y": drawn(1, 110, 330),
        },
    )
    cotangents = {"output": drawn(3, 70, 90)}, {"output": drawn(5, 60, 330)}

    def both() -> list[Any]:
        return [
            dense.dense_magnitude(cotangents[0], **layer),
            pairs.matmul_magnitude(cotangents[1], **matrices),
        ]

    single = both()
    monkeypatch.setattr("conformance.reference.magnitude.SINGLE", 1 << 60)
    for short, exact in zip(single, both(), strict=True):
        assert short.outputs["output"].absolute.dtype == np.float32
        for name, one in (short.outputs | short.gradients).items():
            other = (exact.outputs | exact.gradients)[name]
            assert one.terms == other.terms
            assert (one.absolute >= other.absolute * (1 - 1e3 * 2.0**-53)).all(), name
            assert np.median(one.absolute) <= np.median(other.absolute) * (1 + 1e-3), name
