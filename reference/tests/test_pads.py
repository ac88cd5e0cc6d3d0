"""Pads of every mode against NumPy's, and their gradients as adjoints."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conformance.reference.padding import InvalidShape
from conformance.reference.pads import pad_forward, pad_magnitude, pad_vjp
from conformance.reference.tests.products import normal32
from conformance.reference.tests.steps import MOST, assert_within, bfloat16, share_outside


def test_pad_by_hand() -> None:
    x = np.array([[1.0, 2.0], [3.0, np.nan]])
    got = pad_forward(x=x, padding=((1, 0), (0, 2)), mode="constant", value=-7.0)["output"]
    np.testing.assert_array_equal(got, [[-7, -7, -7, -7], [1, 2, -7, -7], [3, np.nan, -7, -7]], strict=True)
    cotangent = np.arange(12.0).reshape(3, 4)
    gradient = pad_vjp({"output": cotangent}, x=x, padding=((1, 0), (0, 2)), mode="constant", value=-7.0)["x"]
    np.testing.assert_array_equal(gradient, [[4, 5], [8, 9]])


@settings(deadline=None)
@given(
    pads=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=5),
    batch=st.integers(0, 2),
)
def test_pad_is_numpys_and_its_gradient_the_adjoint(pads: list[tuple[int, int]], batch: int) -> None:
    """On whole numbers the adjoint identity of the linear part holds exactly."""
    rng = np.random.default_rng(len(pads))
    padding = tuple(pads)
    x = rng.integers(-9, 10, size=(batch, 2, 3, 1, 2)[: len(pads)]).astype(np.float64)
    got = pad_forward(x=x, padding=padding, mode="constant", value=2.5)["output"]
    np.testing.assert_array_equal(got, np.pad(x, padding, constant_values=2.5), strict=True)
    cotangent = rng.integers(-9, 10, size=got.shape).astype(np.float64)
    gradient = pad_vjp({"output": cotangent}, x=x, padding=padding, mode="constant", value=2.5)["x"]
    assert gradient.shape == x.shape
    assert (pad_forward(x=x, padding=padding, mode="constant", value=0.0)["output"] * cotangent).sum() == (
        x * gradient
    ).sum()


def test_pad_is_exact() -> None:
    x = np.ones((2, 3))
    magnitudes = pad_magnitude({"output": np.ones((3, 3))}, x=x, padding=((1, 0), (0, 0)), mode="constant", value=1.0)
    for magnitude, shape in ((magnitudes.outputs["output"], (3, 3)), (magnitudes.gradients["x"], (2, 3))):
        assert magnitude.absolute.shape == shape
        assert not magnitude.radius(unit_roundoff=0.5, smallest_normal=1.0).any()
    assert pad_magnitude(None, x=x, padding=((1, 0), (0, 0)), mode="constant", value=1.0).gradients == {}


@pytest.mark.parametrize("padding", [((0, 0),), ((0, 0), (0, -3)), ((0, 0), (-2, -1)), ((0, 0), (1,))])
def test_pad_refuses_pairs_that_do_not_fit(padding: Any) -> None:
    x = np.zeros((2, 2))
    with pytest.raises(InvalidShape, match="padding"):
        pad_forward(x=x, padding=padding, mode="constant", value=0.0)
    with pytest.raises(InvalidShape, match="padding"):
        pad_vjp({"output": x}, x=x, padding=padding, mode="constant", value=0.0)


def test_pad_refuses_a_cotangent_of_another_shape() -> None:
    with pytest.raises(InvalidShape, match="cotangent"):
        pad_vjp(
            {"output": np.zeros((2, 2))}, x=np.zeros((2, 2)), padding=((0, 1), (0, 0)), mode="constant", value=0.0
        )


REPEATING = ("reflect", "symmetric", "edge", "wrap")


@pytest.mark.parametrize("mode", REPEATING)
@settings(deadline=None, max_examples=40)
@given(
    pads=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=3),
    batch=st.integers(0, 1),
)
def test_modes_are_numpys_and_gradients_are_adjoints(mode: Any, pads: list[tuple[int, int]], batch: int) -> None:
    rng = np.random.default_rng(len(pads))
    padding = ((0, 0),) * batch + tuple(pads)
    x = rng.integers(-9, 10, size=((0,) * batch + (3, 4, 5))[: len(padding)]).astype(np.float64)
    got = pad_forward(x=x, padding=padding, mode=mode, value=0.0)["output"]
    if not batch:
        np.testing.assert_array_equal(got, np.pad(x, padding, mode=mode), strict=True)
    cotangent = rng.integers(-9, 10, size=got.shape).astype(np.float64)
    gradient = pad_vjp({"output": cotangent}, x=x, padding=padding, mode=mode, value=0.0)["x"]
    assert gradient.shape == x.shape
    assert (got * cotangent).sum() == (x * gradient).sum()


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("constant", "vvabcdvv"),
        ("reflect", "cbabcdcb"),
        ("symmetric", "baabcddc"),
        ("edge", "aaabcddd"),
        ("wrap", "cdabcdab"),
    ],
)
def test_modes_by_hand(mode: str, expected: str) -> None:
    x = np.array([ord(letter) for letter in "abcd"], dtype=np.float64)
    got = pad_forward(x=x, padding=((2, 2),), mode=mode, value=float(ord("v")))["output"]
    assert "".join(chr(int(code)) for code in got) == expected


@pytest.mark.parametrize("mode", REPEATING)
def test_single_precision_gradients_lie_inside_the_bound_and_rounded_cotangents_outside(mode: str) -> None:
    rng = np.random.default_rng(7)
    x, padding = normal32(rng, (3, 4)), ((2, 1), (0, 2))
    g = normal32(rng, (6, 6))
    exact = pad_vjp({"output": g}, x=x, padding=padding, mode=mode, value=0.0)["x"]
    bound = pad_magnitude({"output": g}, x=x, padding=padding, mode=mode, value=0.0).gradients["x"]
    places = pad_forward(x=np.arange(12.0).reshape(3, 4), padding=padding, mode=mode, value=0.0)["output"]
    for order in (np.arange(36), np.arange(36)[::-1], rng.permutation(36)):
        total = np.zeros(12, dtype=np.float32)
        np.add.at(total, places.ravel()[order].astype(int), g.ravel()[order].astype(np.float32))
        assert_within(total.reshape(3, 4), exact, bound)
    moved = pad_vjp({"output": bfloat16(g)}, x=x, padding=padding, mode=mode, value=0.0)["x"]
    assert share_outside(moved, exact, bound) > MOST


@pytest.mark.parametrize(
    ("mode", "pads"), [("reflect", (3, 0)), ("symmetric", (0, 4)), ("wrap", (4, 0)), ("mirror", (1, 1))]
)
def test_what_would_repeat_a_repetition_is_refused(mode: str, pads: tuple[int, int]) -> None:
    with pytest.raises(InvalidShape, match=r"mode"):
        pad_forward(x=np.zeros(3), padding=(pads,), mode=mode, value=0.0)


@pytest.mark.parametrize("mode", REPEATING)
def test_nothing_cannot_be_repeated(mode: str) -> None:
    with pytest.raises(InvalidShape, match="mode"):
        pad_forward(x=np.zeros((2, 0)), padding=((0, 0), (1, 0)), mode=mode, value=0.0)


CUT = st.tuples(st.integers(-2, 2), st.integers(-2, 2))


@pytest.mark.parametrize("mode", ["constant", *REPEATING])
@settings(deadline=None, max_examples=60)
@given(pads=st.lists(CUT, min_size=1, max_size=3))
def test_negative_pads_cut_first(mode: Any, pads: list[tuple[int, int]]) -> None:
    """NumPy's pads of a slice; the gradient of what is cut off is 0, and on whole numbers the adjoint is exact."""
    rng = np.random.default_rng(len(pads))
    x = rng.integers(-9, 10, size=(7, 8, 9)[: len(pads)]).astype(np.float64)
    a: dict[str, Any] = {"padding": tuple(pads), "mode": mode, "value": 1.5 if mode == "constant" else 0.0}
    kept = tuple(slice(max(-low, 0), n - max(-high, 0)) for n, (low, high) in zip(x.shape, pads, strict=True))
    more = [(max(low, 0), max(high, 0)) for low, high in pads]
    options = {"constant_values": 1.5} if mode == "constant" else {"mode": mode}
    got = pad_forward(x=x, **a)["output"]
    np.testing.assert_array_equal(got, np.pad(x[kept], more, **options), strict=True)
    cotangent = rng.integers(-9, 10, size=got.shape).astype(np.float64)
    gradient = pad_vjp({"output": cotangent}, x=x, **a)["x"]
    inside = np.zeros(x.shape, np.bool_)
    inside[kept] = True
    assert not gradient[~inside].any()
    assert (pad_forward(x=x, **{**a, "value": 0.0})["output"] * cotangent).sum() == (x * gradient).sum()
    magnitude = pad_magnitude({"output": cotangent}, x=x, **a).gradients["x"]
    assert (magnitude.terms >= 0).all()
    assert not np.broadcast_to(magnitude.absolute, x.shape)[~inside].any()


def test_a_cut_by_hand() -> None:
    """What is repeated is what is left: of a b c d without the last, wrapped by two, b c a b c."""
    x = np.array([1.0, 2.0, 3.0, 4.0])
    expected = {
        "constant": [7, 7, 1, 2, 3],
        "reflect": [3, 2, 1, 2, 3],
        "symmetric": [2, 1, 1, 2, 3],
        "edge": [1, 1, 1, 2, 3],
        "wrap": [2, 3, 1, 2, 3],
    }
    for mode, numbers in expected.items():
        got = pad_forward(x=x, padding=((2, -1),), mode=mode, value=7.0)["output"]
        np.testing.assert_array_equal(got, numbers)
    cotangents = {"output": np.array([1.0, 10, 100, 1000, 10000])}
    gradient = pad_vjp(cotangents, x=x, padding=((2, -1),), mode="wrap", value=0.0)["x"]
    np.testing.assert_array_equal(gradient, [100, 1001, 10010, 0])


@pytest.mark.parametrize("mode", ["constant", *REPEATING])
def test_everything_may_be_cut_off(mode: str) -> None:
    x = np.ones((2, 5))
    got = pad_forward(x=x, padding=((0, 0), (-3, -2)), mode=mode, value=1.0)["output"]
    assert got.shape == (2, 0)
    gradient = pad_vjp({"output": got}, x=x, padding=((0, 0), (-3, -2)), mode=mode, value=1.0)["x"]
    np.testing.assert_array_equal(gradient, np.zeros((2, 5)))
    if mode != "constant":
        with pytest.raises(InvalidShape, match="padding"):
            pad_forward(x=x, padding=((0, 0), (-5, 3)), mode=mode, value=0.0)
    else:
        got = pad_forward(x=x, padding=((0, 0), (-5, 3)), mode=mode, value=1.5)["output"]
        np.testing.assert_array_equal(got, np.full((2, 3), 1.5))
