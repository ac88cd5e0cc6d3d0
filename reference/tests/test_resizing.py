"""Resizing against rational arithmetic, SciPy's zoom, and three single-precision ways to compute it."""

import itertools
from fractions import Fraction
from math import ceil, floor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from conformance.reference import resizing
from conformance.reference.magnitude import Array
from conformance.reference.padding import InvalidShape
from conformance.reference.tests.products import UNIT_ROUNDOFF_64, normal32, radius

HALF = Fraction(1, 2)
SIZES = st.integers(1, 12)
KERNELS = st.sampled_from(
    [
        ("linear", "half_pixel", -0.5, "clamp"),
        ("linear", "align_corners", -0.5, "clamp"),
        ("linear", "asymmetric", -0.5, "clamp"),
        ("cubic", "half_pixel", -0.75, "clamp"),
        ("cubic", "half_pixel", -0.5, "renormalize"),
        ("cubic", "half_pixel", -0.3, "renormalize"),
        ("cubic", "align_corners", -0.75, "clamp"),
        ("cubic", "align_corners", -0.5, "renormalize"),
        ("cubic", "asymmetric", -0.75, "clamp"),
    ]
)


def asked(size: tuple[int, ...], method: str, coordinates: str, **others: Any) -> dict[str, Any]:
    defaults = {"rounding": "half_up", "coefficient": -0.5, "edge": "clamp"}
    return {"size": size, "method": method, "coordinates": coordinates, **defaults, **others}


def coordinate(o: int, n: int, m: int, coordinates: str) -> Fraction:
    if coordinates == "half_pixel":
        return (o + HALF) * Fraction(n, m) - HALF
    if coordinates == "asymmetric":
        return Fraction(o * n, m)
    return Fraction(o * (n - 1), m - 1) if m > 1 else Fraction(0)


def kernel(d: Fraction, method: str, a: Fraction) -> Fraction:
    d = abs(d)
    if method == "linear":
        return max(1 - d, Fraction(0))
    if d <= 1:
        return (a + 2) * d**3 - (a + 3) * d**2 + 1
    return a * (d**3 - 5 * d**2 + 8 * d - 4) if d < 2 else Fraction(0)


def matrix(n: int, m: int, method: str, coordinates: str, coefficient: float, edge: str) -> Array:
    """The definition, in rational numbers: every element's weight in every output."""
    rows = []
    for o in range(m):
        at = coordinate(o, n, m, coordinates)
        row = [Fraction(0)] * n
        for p in range(floor(at) - 2, floor(at) + 4):
            weight = kernel(at - p, method, Fraction(coefficient))
            if 0 <= p < n or edge == "clamp" or method == "linear":
                row[min(max(p, 0), n - 1)] += weight
        total = sum(row)
        rows.append([float(weight / total) for weight in row])
    return np.array(rows)


@settings(max_examples=200, deadline=None)
@given(n=SIZES, m=SIZES, kind=KERNELS)
def test_every_weight_is_the_definition_s(n: int, m: int, kind: tuple[str, str, float, str]) -> None:
    """A unit image gives the weights; each is off by a few roundings of terms of the kernel, which are below 64."""
    method, coordinates, coefficient, edge = kind
    attributes = asked((m,), method, coordinates, coefficient=coefficient, edge=edge)
    got = resizing.forward(x=np.eye(n)[None], **attributes)["output"][0]
    assert np.abs(got - matrix(n, m, *kind)).max() <= 64 * UNIT_ROUNDOFF_64
    backward = resizing.vjp({"output": np.eye(m)[None]}, x=np.zeros((1, n, m)), **attributes)["x"][0]
    np.testing.assert_array_equal(backward.T, got)


@given(
    n=SIZES,
    m=SIZES,
    coordinates=st.sampled_from(resizing.COORDINATES),
    rounding=st.sampled_from(resizing.ROUNDINGS),
)
def test_nearest_takes_the_rounded_coordinate(n: int, m: int, coordinates: str, rounding: str) -> None:
    rounded = {
        "floor": floor,
        "ceil": ceil,
        "half_up": lambda at: floor(at + HALF),
        "half_down": lambda at: ceil(at - HALF),
    }[rounding]
    expected = [min(max(rounded(coordinate(o, n, m, coordinates)), 0), n - 1) for o in range(m)]
    attributes = asked((m,), "nearest", coordinates, rounding=rounding)
    x = np.arange(n, dtype=np.float64).reshape(1, n, 1)
    assert resizing.forward(x=x, **attributes)["output"].ravel().tolist() == expected
    cotangent = 2.0 ** np.arange(m).reshape(1, m, 1)
    gradient = resizing.vjp({"output": cotangent}, x=x, **attributes)["x"].ravel()
    assert gradient.tolist() == [sum(2.0**o for o in range(m) if expected[o] == p) for p in range(n)]
    bounds = resizing.magnitude({"output": cotangent}, x=x, **attributes)
    assert not bounds.outputs["output"].absolute.any()
    np.testing.assert_array_equal(bounds.gradients["x"].absolute.ravel(), gradient)
    seen = np.array([expected.count(p) for p in range(n)])
    np.testing.assert_array_equal(bounds.gradients["x"].terms.ravel(), np.maximum(seen - 1, 0))


@pytest.mark.parametrize("size", [(8, 9), (3, 4), (9, 5)])
@pytest.mark.parametrize(("coordinates", "grid_mode"), [("half_pixel", True), ("align_corners", False)])
def test_linear_is_scipy_s_zoom(size: tuple[int, int], coordinates: str, grid_mode: bool) -> None:
    x = np.random.default_rng(3).standard_normal((5, 7))
    zoomed = ndimage.zoom(
        x, (size[0] / 5, size[1] / 7), order=1, mode="nearest", grid_mode=grid_mode, prefilter=False
    )
    got = resizing.forward(x=x[None, ..., None], **asked(size, "linear", coordinates))["output"][0, ..., 0]
    # SciPy has the coordinates from a rounded ratio: a hundred roundings of numbers below 10 are plenty.
    assert np.abs(got - zoomed).max() <= 1000 * UNIT_ROUNDOFF_64


@pytest.mark.parametrize(
    "kind", [("linear", "asymmetric", -0.5, "clamp"), ("cubic", "half_pixel", -0.5, "renormalize")]
)
def test_rows_columns_and_slices_are_resized_apart(kind: tuple[str, str, float, str]) -> None:
    method, coordinates, coefficient, edge = kind
    x = np.random.default_rng(4).standard_normal((2, 3, 5, 4, 2))
    attributes = asked((5, 2, 6), method, coordinates, coefficient=coefficient, edge=edge)
    matrices = [matrix(n, m, *kind) for n, m in zip(x.shape[1:-1], attributes["size"], strict=True)]
    got = resizing.forward(x=x, **attributes)["output"]
    np.testing.assert_allclose(got, np.einsum("ai,bj,ck,nijkd->nabcd", *matrices, x), rtol=0, atol=2.0**-44)
    cotangent = np.random.default_rng(5).standard_normal(got.shape)
    gradient = resizing.vjp({"output": cotangent}, x=x, **attributes)["x"]
    assert abs(np.vdot(cotangent, got) - np.vdot(gradient, x)) <= 2.0**-40


def test_hand_worked_cubic() -> None:
    """Half way between the second and the third of four: -1/16, 9/16, 9/16, -1/16 for a = -1/2."""
    x = np.array([16.0, 32, 48, 160]).reshape(1, 4, 1)
    got = resizing.forward(x=x, **asked((1,), "cubic", "half_pixel"))["output"].item()
    assert got == -1 + 18 + 27 - 10
    got = resizing.forward(x=x, **asked((1,), "cubic", "half_pixel", coefficient=-0.75))["output"].item()
    assert got == (-3 * 16 + 19 * 32 + 19 * 48 - 3 * 160) / 32
    # A quarter before the first: of k(1/4) = 111/128 and k(5/4) = -9/128, both over their sum.
    got = resizing.forward(x=x[:, :2], **asked((4,), "cubic", "half_pixel", edge="renormalize"))["output"].ravel()
    assert abs(got[0] - (111 * 16 - 9 * 32) / 102) <= 64 * UNIT_ROUNDOFF_64


# The bound ----------------------------------------------------------------------------------------------------------

ONE = np.float32(1)
TINY = np.float32(0.5)


def ratio32(n: int, m: int, coordinates: str) -> np.float32:
    return (
        np.float32(n - 1) / np.float32(max(m - 1, 1))
        if coordinates == "align_corners"
        else (np.float32(n) / np.float32(m))
    )


def coordinates32(n: int, m: int, coordinates: str) -> Array:
    """As PyTorch and TensorFlow have them: a rounded ratio times o or o + 1/2, minus 1/2."""
    o = np.arange(m, dtype=np.float32)
    if coordinates == "half_pixel":
        return (o + TINY) * ratio32(n, m, coordinates) - TINY
    return o * ratio32(n, m, coordinates)


def warped32(n: int, m: int, coordinates: str) -> Array:
    """As JAX has them: with a scale, its reciprocal, and a translation."""
    o = np.arange(m, dtype=np.float32)
    if (
        n == 1 and coordinates == "align_corners"
    ):  # a ratio of 0 has no reciprocal; half pixels look at the one element
        return (o + TINY) * (ONE / np.float32(m)) - TINY
    scale = ONE / ratio32(n, m, coordinates)
    translation = np.float32(0) if coordinates == "half_pixel" else TINY * (ONE - scale)
    inverse = ONE / scale
    return (o + TINY) * inverse - translation * inverse - TINY


def kernel32(d: Array, method: str, a: float) -> Array:
    if method == "linear":
        return np.maximum(ONE - d, np.float32(0))
    one, two, three, four, five = (np.float32(c) for c in (a + 2, -(a + 3), -5 * a, 8 * a, -4 * a))
    inner = (one * d + two) * d * d + ONE
    outer = ((np.float32(a) * d + three) * d + four) * d + five
    return np.where(d <= 1, inner, np.where(d < 2, outer, np.float32(0)))


def matrix32(at: Array, n: int, method: str, a: float, edge: str) -> Array:
    reach = 2 if method == "cubic" else 1
    places = np.floor(at)[:, None] + np.arange(1 - reach, reach + 1, dtype=np.float32)
    weights = kernel32(np.abs(at[:, None] - places), method, a)
    if edge == "renormalize" and method == "cubic":
        weights = np.where((places >= 0) & (places < n), weights, np.float32(0))
        weights = weights / weights.sum(axis=1, keepdims=True, dtype=np.float32)
    found = np.zeros((len(at), n), np.float32)
    np.add.at(found, (np.arange(len(at))[:, None], np.clip(places, 0, n - 1).astype(int)), weights)
    assert found.dtype == np.float32
    return found


def lerped32(x: Array, at: Array, axis: int) -> Array:
    """As TensorFlow has it: a + (b - a) t."""
    n = x.shape[axis]
    low = np.floor(at)
    shape = [-1 if other == axis else 1 for other in range(x.ndim)]
    t = (at - low).reshape(shape)
    a = x.take(np.clip(low, 0, n - 1).astype(int), axis)
    b = x.take(np.clip(low + 1, 0, n - 1).astype(int), axis)
    return np.asarray(a + (b - a) * t)


@settings(max_examples=150, deadline=None)
@given(rows=st.tuples(SIZES, SIZES), columns=st.tuples(SIZES, SIZES), kind=KERNELS, seed=st.integers(0, 2**32 - 1))
def test_single_precision_lies_within_the_bound(
    rows: tuple[int, int], columns: tuple[int, int], kind: tuple[str, str, float, str], seed: int
) -> None:
    method, coordinates, coefficient, edge = kind
    rng = np.random.default_rng(seed)
    size = (rows[1], columns[1])
    x, cotangent = normal32(rng, (1, rows[0], columns[0], 2)), normal32(rng, (1, *size, 2))
    attributes = asked(size, method, coordinates, coefficient=coefficient, edge=edge)
    bounds = resizing.magnitude({"output": cotangent}, x=x, **attributes)
    output = resizing.forward(x=x, **attributes)["output"]
    gradient = resizing.vjp({"output": cotangent}, x=x, **attributes)["x"]
    for coordinates_of in (coordinates32, warped32):
        at = [coordinates_of(n, m, coordinates) for n, m in (rows, columns)]
        down, across = (
            matrix32(c, n, method, coefficient, edge) for c, n in zip(at, (rows[0], columns[0]), strict=True)
        )
        computed = [
            np.einsum("ai,bj,nijc->nabc", down, across, x.astype(np.float32), optimize=how) for how in (False, True)
        ]
        if method == "linear":
            computed.append(lerped32(lerped32(x.astype(np.float32), at[1], 2), at[0], 1))
        for one in computed:
            assert one.dtype == np.float32
            assert np.all(np.abs(one - output) <= radius(bounds.outputs["output"]))
        pulled = np.einsum("ai,bj,nabc->nijc", down, across, cotangent.astype(np.float32))
        assert np.all(np.abs(pulled - gradient) <= radius(bounds.gradients["x"]))


@pytest.mark.parametrize("method", ["linear", "cubic"])
@pytest.mark.parametrize("coordinates", ["half_pixel", "align_corners"])
def test_the_bound_tells_a_weight_that_is_off_by_a_thousandth(method: str, coordinates: str) -> None:
    """As a table of 1024 steps has it: the coordinate is rounded to a multiple of 1/1024."""
    rng = np.random.default_rng(8)
    x = normal32(rng, (2, 5, 7, 3))
    attributes = asked((8, 9), method, coordinates, coefficient=-0.75)
    exact = [coordinates32(n, m, coordinates) for n, m in ((5, 8), (7, 9))]
    rounded = [(np.rint(at * 1024) / 1024).astype(np.float32) for at in exact]
    down, across = (matrix32(at, n, method, -0.75, "clamp") for at, n in zip(rounded, (5, 7), strict=True))
    output = resizing.forward(x=x, **attributes)["output"]
    bound = radius(resizing.magnitude(None, x=x, **attributes).outputs["output"])
    off = np.abs(np.einsum("ai,bj,nijc->nabc", down, across, x) - output) > bound
    assert off.mean() > 0.5
    assert np.median(bound) < 2.0**-13 * np.sqrt(np.mean(output**2))


# All that an output covers ------------------------------------------------------------------------------------------

SPREAD = st.sampled_from(
    [
        {"method": "linear", "antialias": True, "edge": "renormalize"},
        {"method": "linear", "antialias": True, "edge": "clamp"},
        {"method": "cubic", "antialias": True, "edge": "renormalize"},
        {"method": "cubic", "antialias": True, "edge": "clamp", "coefficient": -0.75},
        {"method": "area", "cover": "share"},
        {"method": "area", "cover": "whole"},
    ]
)


def spread_matrix(n: int, m: int, kind: dict[str, Any]) -> Array:
    """The definition, in rational numbers."""
    rows, ratio = [], Fraction(n, m)
    for o in range(m):
        row = [Fraction(0)] * n
        if kind["method"] == "area":
            for p in range(n):
                share = max(min((o + 1) * ratio, Fraction(p + 1)) - max(o * ratio, Fraction(p)), Fraction(0))
                row[p] = Fraction(share > 0) if kind["cover"] == "whole" else share
        else:
            width = max(ratio, Fraction(1))
            at = coordinate(o, n, m, "half_pixel")
            for p in range(floor(at - 2 * width), ceil(at + 2 * width) + 1):
                weight = kernel((at - p) / width, kind["method"], Fraction(kind.get("coefficient", -0.5)))
                if 0 <= p < n or kind["edge"] == "clamp":
                    row[min(max(p, 0), n - 1)] += weight
        rows.append([float(weight / sum(row)) for weight in row])
    return np.array(rows)


@settings(max_examples=150, deadline=None)
@given(n=SIZES, m=SIZES, kind=SPREAD)
def test_every_weight_of_what_is_covered_is_the_definition_s(n: int, m: int, kind: dict[str, Any]) -> None:
    """As above; a sum of a few dozen weights divides."""
    attributes = {**asked((m,), "linear", "half_pixel"), **kind}
    got = resizing.forward(x=np.eye(n)[None], **attributes)["output"][0]
    assert np.abs(got - spread_matrix(n, m, kind)).max() <= 128 * UNIT_ROUNDOFF_64
    backward = resizing.vjp({"output": np.eye(m)[None]}, x=np.zeros((1, n, m)), **attributes)["x"][0]
    np.testing.assert_array_equal(backward.T, got)


def test_hand_worked_means() -> None:
    """Three elements to two: 1 and half of the middle one, or both as wholes; and the triangle of width 3/2."""
    x = np.array([6.0, 12, 30]).reshape(1, 3, 1)

    def resized(**kind: Any) -> list[float]:
        return resizing.forward(x=x, **{**asked((2,), "area", "half_pixel"), **kind})["output"].ravel().tolist()

    share = resized()
    assert np.abs(np.array(share) - [8, 24]).max() <= 32 * UNIT_ROUNDOFF_64
    assert resized(cover="whole") == [9, 21]
    # Coordinates 1/4 and 7/4; the weights at distances 1/4, 3/4, 7/4 are 5/6, 1/2 and 0, over 4/3.
    widened = resized(method="linear", antialias=True, edge="renormalize")
    assert np.abs(np.array(widened) - [(5 * 6 + 3 * 12) / 8, (3 * 12 + 5 * 30) / 8]).max() <= 64 * UNIT_ROUNDOFF_64
    # Element -1, at the distance 5/4, is the edge's again: 1/6 more of it, over 3/2.
    clamped = resized(method="linear", antialias=True, edge="clamp")
    assert abs(clamped[0] - (6 * 6 + 3 * 12) / 9) <= 64 * UNIT_ROUNDOFF_64


def covered32(n: int, m: int, kind: dict[str, Any], *, reciprocal: bool) -> Array:
    """In single precision: by a ratio that divides, or by its reciprocal that multiplies."""
    o, p = np.arange(m, dtype=np.float32)[:, None], np.arange(n, dtype=np.float32)
    ratio = ONE / (np.float32(m) / np.float32(n)) if reciprocal else np.float32(n) / np.float32(m)
    if kind["method"] == "area":
        begin, end = o * ratio, o * ratio + ratio if reciprocal else (o + ONE) * ratio
        weights = np.maximum(np.minimum(end, p + ONE) - np.maximum(begin, p), np.float32(0))
        if kind["cover"] == "whole":
            weights = np.array(
                [[max((o + 1) * n - p * m, 0) * max((p + 1) * m - o * n, 0) > 0 for p in range(n)] for o in range(m)],
                np.float32,
            )
    else:
        reach = ceil(2 * max(n / m, 1)) + 1
        p = np.arange(-reach, n + reach, dtype=np.float32) if kind["edge"] == "clamp" else p
        width = np.maximum(ratio, ONE)
        distance = np.abs((o + TINY) * ratio - TINY - p)
        distance = distance * (ONE / width) if reciprocal else distance / width
        weights = kernel32(distance, kind["method"], kind.get("coefficient", -0.5))
        if kind["edge"] == "clamp":
            found = np.zeros((m, n), np.float32)
            np.add.at(found, (np.arange(m)[:, None], np.clip(p, 0, n - 1).astype(int)[None, :]), weights)
            weights = found
    weights = np.asarray(weights / weights.sum(axis=1, keepdims=True, dtype=np.float32))
    assert weights.dtype == np.float32
    return weights


@settings(max_examples=150, deadline=None)
@given(rows=st.tuples(SIZES, SIZES), columns=st.tuples(SIZES, SIZES), kind=SPREAD, seed=st.integers(0, 2**32 - 1))
def test_single_precision_of_what_is_covered_lies_within_the_bound(
    rows: tuple[int, int], columns: tuple[int, int], kind: dict[str, Any], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    size = (rows[1], columns[1])
    x, cotangent = normal32(rng, (1, rows[0], columns[0], 2)), normal32(rng, (1, *size, 2))
    attributes = {**asked(size, "linear", "half_pixel"), **kind}
    bounds = resizing.magnitude({"output": cotangent}, x=x, **attributes)
    output = resizing.forward(x=x, **attributes)["output"]
    gradient = resizing.vjp({"output": cotangent}, x=x, **attributes)["x"]
    for reciprocal in (False, True):
        down, across = (covered32(n, m, kind, reciprocal=reciprocal) for n, m in (rows, columns))
        computed = np.einsum("ai,bj,nijc->nabc", down, across, x.astype(np.float32))
        assert np.all(np.abs(computed - output) <= radius(bounds.outputs["output"]))
        pulled = np.einsum("ai,bj,nabc->nijc", down, across, cotangent.astype(np.float32))
        assert np.all(np.abs(pulled - gradient) <= radius(bounds.gradients["x"]))


@pytest.mark.parametrize(
    ("kind", "other"),
    [
        ({"method": "linear", "antialias": True, "edge": "renormalize"}, {"edge": "clamp"}),
        ({"method": "cubic", "antialias": True, "edge": "renormalize"}, {"coefficient": -0.51}),
        ({"method": "area", "cover": "share"}, {"cover": "whole"}),
    ],
)
def test_the_bound_of_what_is_covered_tells_readings_apart(kind: dict[str, Any], other: dict[str, Any]) -> None:
    x = normal32(np.random.default_rng(9), (2, 11, 13, 2))
    attributes = {**asked((4, 5), "linear", "half_pixel"), **kind}
    output = resizing.forward(x=x, **attributes)["output"]
    bound = radius(resizing.magnitude(None, x=x, **attributes).outputs["output"])
    read = resizing.forward(x=x, **{**attributes, **other})["output"]
    assert (np.abs(read - output) > bound).mean() > 0.5
    assert np.median(bound) < 2.0**-12 * np.sqrt(np.mean(output**2))


def test_no_images_and_no_cotangents() -> None:
    x = np.zeros((0, 3, 4, 2))
    for method in resizing.METHODS:
        attributes = asked((5, 6), method, "half_pixel")
        assert resizing.forward(x=x, **attributes)["output"].shape == (0, 5, 6, 2)
        assert resizing.vjp({"output": np.zeros((0, 5, 6, 2))}, x=x, **attributes)["x"].shape == x.shape
        assert resizing.magnitude(None, x=x, **attributes).gradients == {}


@pytest.mark.parametrize(
    ("shape", "changes", "what"),
    [
        ((1, 4), {}, "axes of x"),
        ((1, 4, 4, 1), {"size": (4,)}, "size"),
        ((1, 4, 4, 1), {"size": (0, 4)}, "size"),
        ((1, 0, 4, 1), {}, "spatial sizes of x"),
        ((1, 4, 4, 1), {"method": "lanczos"}, "method"),
        ((1, 4, 4, 1), {"method": "area", "coordinates": "asymmetric"}, "coordinates"),
        ((1, 4, 4, 1), {"method": "area", "cover": "half"}, "cover"),
        ((1, 4, 4, 1), {"method": "nearest", "antialias": True}, "antialias"),
        ((1, 4, 4, 1), {"coordinates": "align_corners", "antialias": True}, "coordinates"),
        ((1, 4, 4, 1), {"coordinates": "corner"}, "coordinates"),
        ((1, 4, 4, 1), {"rounding": "even"}, "rounding"),
        ((1, 4, 4, 1), {"edge": "zero"}, "edge"),
        ((1, 4, 4, 1), {"coefficient": 0.5}, "coefficient"),
        ((1, 4, 4, 1), {"method": "cubic", "coordinates": "asymmetric", "edge": "renormalize"}, "edge"),
    ],
)
def test_what_has_no_answer_is_refused(shape: tuple[int, ...], changes: dict[str, Any], what: str) -> None:
    attributes = {**asked((4, 4), "linear", "half_pixel"), **changes}
    with pytest.raises(InvalidShape) as caught:
        resizing.forward(x=np.zeros(shape), **attributes)
    assert caught.value.what == what


def test_a_cotangent_of_another_shape_is_refused() -> None:
    for function, coordinates in itertools.product((resizing.vjp, resizing.magnitude), resizing.COORDINATES):
        with pytest.raises(InvalidShape):
            function(
                {"output": np.zeros((1, 4, 4, 1))}, x=np.zeros((1, 3, 3, 1)), **asked((4, 5), "linear", coordinates)
            )
