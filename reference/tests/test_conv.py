"""Convolution against its definition, term by term."""

from collections.abc import Callable
from itertools import product as cartesian
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal

from conformance.reference import conv, conv_transpose
from conformance.reference.magnitude import Array
from conformance.reference.padding import InvalidShape
from conformance.reference.tests.products import Products, integers, normal32, radius

Configuration = dict[str, Any]


def pads_of(configuration: Configuration) -> list[tuple[int, int]]:
    """Returns the pads; for the named ones by TensorFlow's published formula."""
    padding = configuration["padding"]
    if not isinstance(padding, str):
        return list(padding)
    pads = []
    for n, k, s, d in zip(*(configuration[name] for name in ("sizes", "kernel", "stride", "dilation")), strict=True):
        total = max((-(-n // s) - 1) * s + (k - 1) * d + 1 - n, 0) if padding != "valid" else 0
        small, big = total // 2, total - total // 2
        pads.append((big, small) if padding == "same_lower" else (small, big))
    return pads


def products_of(configuration: Configuration) -> Products:
    """Enumerates windows, taps and channels in plain loops."""
    c = configuration
    starts = [
        [start for start in range(-low, n + high, s) if start + (k - 1) * d < n + high]
        for n, k, s, d, (low, high) in zip(
            c["sizes"], c["kernel"], c["stride"], c["dilation"], pads_of(c), strict=True
        )
    ]
    x_shape = (c["batch"], *c["sizes"], c["groups"] * c["inputs"])
    w_shape = (*c["kernel"], c["inputs"], c["groups"] * c["outputs"])
    y_shape = (c["batch"], *(len(axis) for axis in starts), c["groups"] * c["outputs"])
    y_at, x_at, w_at = (np.arange(np.prod(shape, dtype=int)).reshape(shape) for shape in (y_shape, x_shape, w_shape))
    triples: list[tuple[int, int, int]] = []
    for n, o in cartesian(range(c["batch"]), np.ndindex(*y_shape[1:-1])):
        for t in np.ndindex(*c["kernel"]):
            p = tuple(axis[i] + j * d for axis, i, j, d in zip(starts, o, t, c["dilation"], strict=True))
            if not all(0 <= position < size for position, size in zip(p, c["sizes"], strict=True)):
                continue
            for group, a, b in np.ndindex(c["groups"], c["inputs"], c["outputs"]):
                out = group * c["outputs"] + b
                triples.append((y_at[(n, *o, out)], x_at[(n, *p, group * c["inputs"] + a)], w_at[(*t, a, out)]))
    result, left, right = np.array(triples, dtype=int).reshape(-1, 3).T
    return Products(
        result=result, left=left, right=right, result_shape=y_shape, left_shape=x_shape, right_shape=w_shape
    )


def attributes_of(configuration: Configuration) -> dict[str, Any]:
    return {name: configuration[name] for name in ("stride", "dilation", "groups", "padding")}


@st.composite
def configurations(draw: Callable[..., Any]) -> Configuration:
    """Draws configurations that have an answer; no two axes need agree in anything."""
    rank = draw(st.integers(1, 3))
    few = st.integers(1, 3)
    named = draw(st.sampled_from([None, None, "valid", "same", "same_lower"]))
    kernel, stride, dilation, pads, sizes = [], [], [], [], []
    for _ in range(rank):
        k, s, d = draw(few), draw(few), draw(few)
        low, high = (draw(st.integers(0, 3)), draw(st.integers(0, 3))) if named is None else (0, 0)
        least = 1 if named in ("same", "same_lower") else max(1, (k - 1) * d + 1 - low - high)
        kernel.append(k)
        stride.append(s)
        dilation.append(d)
        pads.append((low, high))
        sizes.append(least + draw(st.integers(0, 9 - 2 * rank)))
    return {
        "batch": draw(st.sampled_from([1, 2, 2, 2, 0])),
        "sizes": tuple(sizes),
        "kernel": tuple(kernel),
        "stride": tuple(stride),
        "dilation": tuple(dilation),
        "padding": named or tuple(pads),
        "groups": draw(few),
        "inputs": draw(st.integers(1, 2)),
        "outputs": draw(st.integers(1, 2)),
    }


# Every asymmetry at once, and enough terms that a vacuous bound would be seen.
ASYMMETRIC: Configuration = {
    "batch": 2,
    "sizes": (7, 10),
    "kernel": (3, 2),
    "stride": (2, 1),
    "dilation": (1, 3),
    "padding": ((1, 0), (0, 2)),
    "groups": 2,
    "inputs": 3,
    "outputs": 2,
}


@settings(max_examples=150, deadline=None)
@given(configuration=configurations(), seed=st.integers(0, 2**32 - 1))
def test_value_gradients_and_magnitudes_are_the_sums_of_the_definition(
    configuration: Configuration, seed: int
) -> None:
    """On whole numbers every sum is exact, so that nothing but equality will do."""
    products, rng = products_of(configuration), np.random.default_rng(seed)
    attributes = attributes_of(configuration)
    x, w, cotangent = (
        integers(rng, shape) for shape in (products.left_shape, products.right_shape, products.result_shape)
    )
    b = integers(rng, w.shape[-1:])
    got = conv.forward(x=x, w=w, b=b, **attributes)["output"]
    np.testing.assert_array_equal(got, products.total(x, w) + b, strict=True)
    np.testing.assert_array_equal(conv.forward(x=x, w=w, **attributes)["output"], products.total(x, w), strict=True)

    gradients = conv.vjp({"output": cotangent}, x=x, w=w, b=b, **attributes)
    assert gradients.keys() == {"x", "w", "b"}
    np.testing.assert_array_equal(gradients["x"], products.for_left().total(cotangent, w), strict=True)
    np.testing.assert_array_equal(gradients["w"], products.for_right().total(x, cotangent), strict=True)
    np.testing.assert_array_equal(gradients["b"], cotangent.sum(axis=tuple(range(cotangent.ndim - 1))), strict=True)

    magnitudes = conv.magnitude({"output": cotangent}, x=x, w=w, b=b, **attributes)
    expected = {
        "output": (products.count() + 1, products.total(abs(x), abs(w)) + abs(b)),
        "x": (products.for_left().count(), products.for_left().total(abs(cotangent), abs(w))),
        "w": (products.for_right().count(), products.for_right().total(abs(x), abs(cotangent))),
        "b": (np.full(b.shape, cotangent.size / b.size), abs(cotangent).sum(axis=tuple(range(cotangent.ndim - 1)))),
    }
    for name, magnitude in {**magnitudes.outputs, **magnitudes.gradients}.items():
        terms, absolute = expected.pop(name)
        np.testing.assert_array_equal(magnitude.terms, terms, strict=True)
        np.testing.assert_array_equal(magnitude.absolute, absolute, strict=True)
        np.testing.assert_array_equal(magnitude.underflow, terms, strict=True)
    assert not expected


@settings(max_examples=60, deadline=None)
@given(configuration=configurations(), seed=st.integers(0, 2**32 - 1))
def test_specials_reach_the_results_of_their_terms_and_no_others(configuration: Configuration, seed: int) -> None:
    """NaN and infinity spread as the definition says, and a bound is finite exactly where the value is."""
    products, rng = products_of(configuration), np.random.default_rng(seed)
    attributes = attributes_of(configuration)
    operands = []
    for shape in (products.left_shape, products.right_shape, products.result_shape):
        operand = integers(rng, shape).ravel()
        where = rng.permutation(operand.size)[:2]
        operand[where] = rng.choice([np.nan, np.inf, -np.inf], size=where.size)
        operands.append(operand.reshape(shape))
    x, w, cotangent = operands
    gradients = conv.vjp({"output": cotangent}, x=x, w=w, **attributes)
    magnitudes = conv.magnitude({"output": cotangent}, x=x, w=w, **attributes)
    for got, expected, magnitude in (
        (conv.forward(x=x, w=w, **attributes)["output"], products.total(x, w), magnitudes.outputs["output"]),
        (gradients["x"], products.for_left().total(cotangent, w), magnitudes.gradients["x"]),
        (gradients["w"], products.for_right().total(x, cotangent), magnitudes.gradients["w"]),
    ):
        np.testing.assert_array_equal(got, expected)
        np.testing.assert_array_equal(np.isfinite(magnitude.absolute), np.isfinite(expected))


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_without_strides_and_channels_it_is_scipys_correlate(rank: int) -> None:
    """SciPy's "valid" correlation of whole numbers is equal."""
    rng = np.random.default_rng(rank)
    x, w = integers(rng, (7, 6, 5)[:rank]), integers(rng, (3, 2, 4)[:rank])
    got = conv.forward(
        x=x[None, ..., None],
        w=w[..., None, None],
        stride=(1,) * rank,
        dilation=(1,) * rank,
        groups=1,
        padding="valid",
    )["output"]
    np.testing.assert_array_equal(got[0, ..., 0], signal.correlate(x, w, mode="valid", method="direct"))


def test_hand_worked_same_with_stride_and_an_even_kernel() -> None:
    """Four elements, two taps: the one zero of "same" stands at the end, that of "same_lower" at the beginning."""
    x, w = np.array([1.0, 2, 3, 4]).reshape(1, 4, 1), np.array([10.0, 1]).reshape(2, 1, 1)
    common: dict[str, Any] = {"x": x, "w": w, "dilation": (1,), "groups": 1}
    for stride, padding, expected in (
        (1, "same", [12, 23, 34, 40]),
        (1, "same_lower", [1, 12, 23, 34]),
        (2, "same", [12, 34]),
        (3, "same", [12, 40]),
        (3, "same_lower", [1, 34]),
        (1, ((2, 1),), [0, 1, 12, 23, 34, 40]),
    ):
        got = conv.forward(stride=(stride,), padding=padding, **common)["output"].ravel()
        assert got.tolist() == expected, (stride, padding)


def test_float32_in_any_order_lies_inside_the_bound_and_a_changed_tap_does_not() -> None:
    """The bound holds for float32 sums in several orders, and still sees one tap wrong by a thousandth."""
    products, rng = products_of(ASYMMETRIC), np.random.default_rng(20)
    attributes = attributes_of(ASYMMETRIC)
    x, w, cotangent = (
        normal32(rng, shape) for shape in (products.left_shape, products.right_shape, products.result_shape)
    )
    b = normal32(rng, w.shape[-1:])
    y = conv.forward(x=x, w=w, b=b, **attributes)["output"]
    gradients = conv.vjp({"output": cotangent}, x=x, w=w, b=b, **attributes)
    magnitudes = conv.magnitude({"output": cotangent}, x=x, w=w, b=b, **attributes)
    for expected, magnitude, computed in (
        (y, magnitudes.outputs["output"], products.in_float32(x, w, rng, bias=b)),
        (gradients["x"], magnitudes.gradients["x"], products.for_left().in_float32(cotangent, w, rng)),
        (gradients["w"], magnitudes.gradients["w"], products.for_right().in_float32(x, cotangent, rng)),
    ):
        for got in computed:
            assert np.all(abs(got - expected) <= radius(magnitude))
    changed = w.copy()
    changed[1, 1] *= 1 + 1e-3
    moved = abs(conv.forward(x=x, w=changed, b=b, **attributes)["output"] - y) > radius(magnitudes.outputs["output"])
    # The outputs that have tap (1, 1) inside the data: rows all, columns all but the last two (which see the padding
    # there).
    has_tap = np.ones(y.shape, dtype=bool)
    has_tap[:, :, [o for o in range(y.shape[2]) if o + 3 >= 10]] = False
    assert not moved[~has_tap].any()
    assert moved[has_tap].mean() > 0.9
    moved = conv.vjp({"output": cotangent}, x=x, w=changed, b=b, **attributes)["x"] - gradients["x"]
    assert (abs(moved) > radius(magnitudes.gradients["x"])).mean() > 0.2


@pytest.mark.parametrize(
    ("sizes", "inputs", "outputs", "groups", "stride"),
    [
        ((40, 37), 9, 5, 1, (1, 1)),
        ((40, 37), 9, 5, 1, (2, 3)),
        ((300, 130), 1, 4, 1, (1, 1)),
        ((300, 130), 1, 4, 1, (2, 1)),
        ((90, 90), 1, 1, 20, (1, 1)),
        ((40, 40), 1, 2, 30, (2, 1)),
        ((60, 50), 4, 3, 10, (1, 2)),
    ],
)
def test_large_arrays_are_computed_as_their_small_parts_are(
    sizes: tuple[int, int], inputs: int, outputs: int, groups: int, stride: tuple[int, int]
) -> None:
    """Blocks, and the ways for few and many channels, against SciPy's correlation of single channels."""
    rng = np.random.default_rng(3)
    kernel, batch = (3, 2), 3
    x = integers(rng, (batch, *sizes, groups * inputs))
    w = integers(rng, (*kernel, inputs, groups * outputs))
    attributes: dict[str, Any] = {"stride": stride, "dilation": (1, 1), "groups": groups, "padding": "valid"}
    y = conv.forward(x=x, w=w, **attributes)["output"]
    cotangent = integers(rng, y.shape)
    gradients = conv.vjp({"output": cotangent}, x=x, w=w, **attributes)
    # The cotangent at stride 1: zeros between.
    dense = np.zeros((batch, *(n - k + 1 for n, k in zip(sizes, kernel, strict=True)), groups * outputs))
    dense[:, :: stride[0], :: stride[1]] = cotangent
    chosen = [(0, 0, 0), (groups - 1, inputs - 1, outputs - 1)]
    for group, _, last in chosen:
        b = group * outputs + last
        total = sum(
            np.stack(
                [signal.correlate(image, w[:, :, a, b], "valid", "direct") for image in x[..., group * inputs + a]]
            )
            for a in range(inputs)
        )
        np.testing.assert_array_equal(y[..., b], np.asarray(total)[:, :: stride[0], :: stride[1]])
    for group, a, last in chosen:
        b = group * outputs + last
        of_w = sum(
            signal.correlate(image, change, "valid", "direct")
            for image, change in zip(x[..., group * inputs + a], dense[..., b], strict=True)
        )
        np.testing.assert_array_equal(gradients["w"][:, :, a, b], of_w)
        of_x = sum(
            np.stack([signal.convolve(change, w[:, :, a, group * outputs + i], "full", "direct") for change in part])
            for i, part in enumerate(np.moveaxis(dense[..., group * outputs : (group + 1) * outputs], -1, 0))
        )
        np.testing.assert_array_equal(gradients["x"][..., group * inputs + a], of_x)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": np.zeros((2, 5))}, "axes of x"),
        ({"x": np.zeros((1, 5, 5, 5, 5, 2))}, "axes of x"),
        ({"w": np.zeros((3, 2, 4))}, "axes of w"),
        ({"w": np.zeros((6, 3, 2, 4))}, "window of 6 taps"),
        ({"w": np.zeros((0, 3, 2, 4))}, "kernel"),
        ({"w": np.zeros((3, 3, 1, 4))}, "channels of w"),
        ({"b": np.zeros(3)}, "shape of b"),
        ({"groups": 0}, "groups"),
        ({"groups": 3}, "groups"),
        ({"stride": (0, 1)}, "stride"),
        ({"stride": (1,)}, "stride"),
        ({"dilation": (1, 0)}, "dilation"),
        ({"dilation": (3, 1)}, "window of 3 taps, 3 apart"),
        ({"padding": "smae"}, "padding"),
        ({"padding": ((0, 0),)}, "padding"),
        ({"padding": ((0, -1), (0, 0))}, "padding"),
    ],
)
def test_impossible_questions_are_refused(change: dict[str, Any], message: str) -> None:
    """All three functions refuse them."""
    question = {
        "x": np.zeros((1, 5, 5, 2)),
        "w": np.zeros((3, 3, 2, 4)),
        "b": np.zeros(4),
        "stride": (1, 1),
        "dilation": (1, 1),
        "groups": 1,
        "padding": "valid",
        **change,
    }
    with pytest.raises(InvalidShape, match=message):
        conv.forward(**question)
    with pytest.raises(InvalidShape, match=message):
        conv.vjp({"output": np.zeros((1, 3, 3, 4))}, **question)
    with pytest.raises(InvalidShape, match=message):
        conv.magnitude(None, **question)


def test_a_cotangent_of_another_shape_is_refused() -> None:
    """It would otherwise be broadcast."""
    question: dict[str, Any] = {
        "x": np.zeros((1, 5, 5, 2)),
        "w": np.zeros((3, 3, 2, 4)),
        "stride": (1, 1),
        "dilation": (1, 1),
        "groups": 1,
        "padding": "valid",
    }
    with pytest.raises(InvalidShape, match="cotangent"):
        conv.vjp({"output": np.zeros((1, 3, 3, 1))}, **question)


@pytest.mark.parametrize("padding", ["valid", "same"])
def test_layout_and_precision_of_the_operands_do_not_matter(padding: str) -> None:
    """Views, float32 and read-only memory give the same whole numbers."""
    rng = np.random.default_rng(8)
    # With "valid" these windows reach both ends of x, so that nothing need be copied for the sake of padding.
    x, w = integers(rng, (2, 6, 6, 3)), integers(rng, (3, 2, 3, 4))
    attributes: dict[str, Any] = {"stride": (1, 2), "dilation": (1, 1), "groups": 1, "padding": padding}
    y = conv.forward(x=x, w=w, **attributes)["output"]
    cotangent = integers(rng, y.shape)
    expected = {"output": y, **conv.vjp({"output": cotangent}, x=x, w=w, **attributes)}
    changes: tuple[Callable[[Array], Array], ...] = (
        np.asfortranarray,
        lambda a: a.astype(np.float32),
        lambda a: np.broadcast_to(a, a.shape),
        lambda a: a[::-1].copy()[::-1],
    )
    for change in changes:
        operands: dict[str, Any] = {"x": change(x), "w": change(w)}
        got = conv.vjp({"output": change(cotangent)}, **operands, **attributes)
        got["output"] = conv.forward(**operands, **attributes)["output"]
        for name, value in expected.items():
            np.testing.assert_array_equal(got[name], value, strict=True)


def test_without_cotangents_there_are_no_gradient_magnitudes() -> None:
    """The harness asks for outputs alone when a case has no gradients."""
    zeros = np.zeros((2, 1, 1))
    magnitudes = conv.magnitude(None, x=zeros, w=zeros, stride=(1,), dilation=(1,), groups=1, padding="same")
    assert magnitudes.gradients == {}


def test_terms_that_are_zero_are_not_counted_where_there_are_many() -> None:
    """Behind a ReLU and a maximum most products are zero, and adding zero is exact."""
    rng = np.random.default_rng(5)
    x = rng.normal(size=(3, 40, 40, 2)) * (rng.random((3, 40, 40, 2)) < 0.3)
    cotangent = rng.normal(size=(3, 40, 40, 2)) * (rng.random((3, 40, 40, 2)) < 0.2)
    w = np.ones((3, 3, 2, 2))
    magnitudes = conv.magnitude(
        {"output": cotangent}, x=x, w=w, stride=(1, 1), dilation=(1, 1), groups=1, padding="same"
    )
    magnitude = magnitudes.gradients["w"]
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    for i, j, a, b in np.ndindex(3, 3, 2, 2):
        products = padded[:, i : i + 40, j : j + 40, a] * cotangent[..., b]
        assert magnitude.terms[i, j, a, b] == np.count_nonzero(products)
        assert magnitude.absolute[i, j, a, b] == pytest.approx(np.abs(products).sum())


@pytest.mark.parametrize("operator", [conv, conv_transpose], ids=["conv", "conv_transpose"])
def test_large_absolute_sums_in_float32_are_no_less_than_the_exact_ones(
    operator: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Data over sixty orders of magnitude, where float32 underflows, and zeros."""
    rng = np.random.default_rng(7)

    def drawn(*shape: int) -> np.ndarray:
        return rng.normal(size=shape) * 10.0 ** rng.integers(-60, 8, shape) * rng.integers(0, 2, shape)

    transposed = operator is conv_transpose
    arguments: Configuration = {
        "x": drawn(2, 40, 40, 16),
        "w": drawn(3, 3, 8, 16) if transposed else drawn(3, 3, 16, 8),
    }
    arguments |= {"b": drawn(8), "stride": (2, 1), "dilation": (1, 1), "groups": 1, "padding": "same"}
    arguments |= {"output_padding": (0, 0)} if transposed else {}
    cotangent = {"output": drawn(*operator.forward(**arguments)["output"].shape)}
    single = operator.magnitude(cotangent, **arguments)
    monkeypatch.setattr("conformance.reference.magnitude.SINGLE", 1 << 60)
    exact = operator.magnitude(cotangent, **arguments)
    for name in ("x", "w", "b"):
        assert (single.gradients[name].absolute >= exact.gradients[name].absolute * (1 - 1e3 * 2.0**-53)).all(), name
    assert single.outputs["output"].absolute.dtype == np.float32
    assert (single.outputs["output"].absolute >= exact.outputs["output"].absolute * (1 - 1e3 * 2.0**-53)).all()
