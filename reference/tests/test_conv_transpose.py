"""Transposed convolution against its definition: kernels placed on a canvas, term by term."""

from collections.abc import Callable
from itertools import product as cartesian
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conformance.reference import conv, conv_transpose
from conformance.reference.padding import InvalidShape
from conformance.reference.tests.products import Products, integers, normal32, radius

Configuration = dict[str, Any]
AXES = ("sizes", "kernel", "stride", "dilation")


def shown(configuration: Configuration) -> list[range]:
    """Returns the canvas positions that the output shows, one range an axis."""
    padding = configuration["padding"]
    ranges = []
    for axis, (n, k, s, d) in enumerate(zip(*(configuration[name] for name in AXES), strict=True)):
        span = (k - 1) * d + 1
        if configuration.get("output_size"):
            # The image whose windows begin at every s-th place: so far they reach beyond it, SAME pads it.
            m = configuration["output_size"][axis]
            beyond = max((n - 1) * s + span - m, 0)
            same = {"valid": 0, "same": beyond // 2, "same_lower": beyond - beyond // 2}
            low = same[padding] if isinstance(padding, str) else padding[axis][0]
            ranges.append(range(low, low + m))
        elif padding == "valid":
            ranges.append(range(n * s + max(span - s, 0)))
        elif isinstance(padding, str):
            cropped = max(span - s, 0)
            low = cropped // 2 if padding == "same" else cropped - cropped // 2
            ranges.append(range(low, low + n * s))
        else:
            low, high = padding[axis]
            ranges.append(range(low, (n - 1) * s + span - high + configuration["output_padding"][axis]))
    return ranges


def products_of(configuration: Configuration) -> Products:
    """Enumerates elements, taps and channels in plain loops: tap t of element i goes to i * stride + t * dilation."""
    c = configuration
    ranges = shown(c)
    x_shape = (c["batch"], *c["sizes"], c["groups"] * c["inputs"])
    w_shape = (*c["kernel"], c["outputs"], c["groups"] * c["inputs"])
    y_shape = (c["batch"], *(len(axis) for axis in ranges), c["groups"] * c["outputs"])
    y_at, x_at, w_at = (np.arange(np.prod(shape, dtype=int)).reshape(shape) for shape in (y_shape, x_shape, w_shape))
    triples: list[tuple[int, int, int]] = []
    for n, i in cartesian(range(c["batch"]), np.ndindex(*c["sizes"])):
        for t in np.ndindex(*c["kernel"]):
            q = [a * s + b * d for a, b, s, d in zip(i, t, c["stride"], c["dilation"], strict=True)]
            p = tuple(position - axis.start for position, axis in zip(q, ranges, strict=True))
            if c.get("pad_mode") == "circular":
                p = tuple(position % len(axis) for position, axis in zip(p, ranges, strict=True))
            elif not all(0 <= position < len(axis) for position, axis in zip(p, ranges, strict=True)):
                continue
            for group, a, b in np.ndindex(c["groups"], c["outputs"], c["inputs"]):
                source = group * c["inputs"] + b
                triples.append(
                    (y_at[(n, *p, group * c["outputs"] + a)], x_at[(n, *i, source)], w_at[(*t, a, source)])
                )
    result, left, right = np.array(triples, dtype=int).reshape(-1, 3).T
    return Products(
        result=result, left=left, right=right, result_shape=y_shape, left_shape=x_shape, right_shape=w_shape
    )


def attributes_of(configuration: Configuration) -> dict[str, Any]:
    names = ("stride", "dilation", "groups", "padding", "output_padding", "output_size", "pad_mode")
    return {name: configuration[name] for name in names if name in configuration}


@st.composite
def configurations(draw: Callable[..., Any]) -> Configuration:
    """Draws configurations that have an answer; no two axes need agree in anything."""
    rank = draw(st.integers(1, 3))
    few = st.integers(1, 3)
    named = draw(st.sampled_from([None, None, "valid", "same", "same_lower"]))
    sizes, kernel, stride, dilation, pads, extra = [], [], [], [], [], []
    for _ in range(rank):
        n, k, s, d = draw(st.integers(1, 7 - rank)), draw(few), draw(few), draw(few)
        canvas = (n - 1) * s + (k - 1) * d + 1
        low = draw(st.integers(0, min(3, canvas - 1)))
        pads.append((low, draw(st.integers(0, min(3, canvas - 1 - low)))))
        extra.append(draw(st.integers(0, max(s, d) - 1)) if named is None else 0)
        sizes.append(n)
        kernel.append(k)
        stride.append(s)
        dilation.append(d)
    told = []
    if draw(st.integers(0, 2)) == 0:
        extra = [0] * rank
        for n, k, s, d, pair in zip(sizes, kernel, stride, dilation, pads, strict=True):
            same = named in ("same", "same_lower")
            reach = 0 if same else (k - 1) * d - (0 if named else sum(pair))
            told.append((n - 1) * s + 1 + reach + draw(st.integers(0, s - 1)))
    return {
        "batch": draw(st.sampled_from([1, 2, 2, 2, 0])),
        "sizes": tuple(sizes),
        "kernel": tuple(kernel),
        "stride": tuple(stride),
        "dilation": tuple(dilation),
        "padding": named or tuple(pads),
        "output_padding": tuple(extra),
        "output_size": tuple(told),
        "pad_mode": draw(st.sampled_from(["zeros", "zeros", "circular"])),
        "groups": draw(few),
        "inputs": draw(st.integers(1, 2)),
        "outputs": draw(st.integers(1, 2)),
    }


# Every asymmetry at once, and enough terms that a vacuous bound would be seen.
ASYMMETRIC: Configuration = {
    "batch": 2,
    "sizes": (4, 6),
    "kernel": (3, 4),
    "stride": (2, 1),
    "dilation": (1, 2),
    "padding": ((1, 0), (0, 2)),
    "output_padding": (1, 0),
    "groups": 2,
    "inputs": 4,
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
    b = integers(rng, cotangent.shape[-1:])
    got = conv_transpose.forward(x=x, w=w, b=b, **attributes)["output"]
    np.testing.assert_array_equal(got, products.total(x, w) + b, strict=True)
    got = conv_transpose.forward(x=x, w=w, **attributes)["output"]
    np.testing.assert_array_equal(got, products.total(x, w), strict=True)

    gradients = conv_transpose.vjp({"output": cotangent}, x=x, w=w, b=b, **attributes)
    over_positions = tuple(range(cotangent.ndim - 1))
    assert gradients.keys() == {"x", "w", "b"}
    np.testing.assert_array_equal(gradients["x"], products.for_left().total(cotangent, w), strict=True)
    np.testing.assert_array_equal(gradients["w"], products.for_right().total(x, cotangent), strict=True)
    np.testing.assert_array_equal(gradients["b"], cotangent.sum(axis=over_positions), strict=True)

    magnitudes = conv_transpose.magnitude({"output": cotangent}, x=x, w=w, b=b, **attributes)
    expected = {
        "output": (products.count() + 1, products.total(abs(x), abs(w)) + abs(b)),
        "x": (products.for_left().count(), products.for_left().total(abs(cotangent), abs(w))),
        "w": (products.for_right().count(), products.for_right().total(abs(x), abs(cotangent))),
        "b": (np.full(b.shape, cotangent.size / b.size), abs(cotangent).sum(axis=over_positions)),
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
    gradients = conv_transpose.vjp({"output": cotangent}, x=x, w=w, **attributes)
    magnitudes = conv_transpose.magnitude({"output": cotangent}, x=x, w=w, **attributes)
    value = conv_transpose.forward(x=x, w=w, **attributes)["output"]
    for got, expected, magnitude in (
        (value, products.total(x, w), magnitudes.outputs["output"]),
        (gradients["x"], products.for_left().total(cotangent, w), magnitudes.gradients["x"]),
        (gradients["w"], products.for_right().total(x, cotangent), magnitudes.gradients["w"]),
    ):
        np.testing.assert_array_equal(got, expected)
        np.testing.assert_array_equal(np.isfinite(magnitude.absolute), np.isfinite(expected))


def test_hand_worked_crops() -> None:
    """Two elements, three taps, stride 2 make the canvas 1 10 102 20 200; each padding shows another part of it."""
    x, w = np.array([1.0, 2]).reshape(1, 2, 1), np.array([1.0, 10, 100]).reshape(3, 1, 1)
    for padding, output_padding, expected in (
        ("valid", 0, [1, 10, 102, 20, 200]),
        ("same", 0, [1, 10, 102, 20]),
        ("same_lower", 0, [10, 102, 20, 200]),
        (((1, 1),), 0, [10, 102, 20]),
        (((1, 1),), 1, [10, 102, 20, 200]),
        (((0, 0),), 1, [1, 10, 102, 20, 200, 0]),
    ):
        got = conv_transpose.forward(
            x=x, w=w, stride=(2,), dilation=(1,), groups=1, padding=padding, output_padding=(output_padding,)
        )
        assert got["output"].ravel().tolist() == expected, (padding, output_padding)


def test_hand_worked_sizes_that_are_told() -> None:
    """Of the canvas 1 10 102 20 200 three elements have two windows of "same" in strides of two, and so have four."""
    x, w = np.array([1.0, 2]).reshape(1, 2, 1), np.array([1.0, 10, 100]).reshape(3, 1, 1)
    for padding, expected in (
        ("same", [10, 102, 20]),
        ("same", [1, 10, 102, 20]),
        ("same_lower", [10, 102, 20]),
        ("same_lower", [10, 102, 20, 200]),
        ("valid", [1, 10, 102, 20, 200]),
        ("valid", [1, 10, 102, 20, 200, 0]),
        (((1, 1),), [10, 102, 20]),
        (((1, 1),), [10, 102, 20, 200]),
    ):
        given = {"stride": (2,), "dilation": (1,), "groups": 1, "padding": padding, "output_padding": (0,)}
        got = conv_transpose.forward(x=x, w=w, **given, output_size=(len(expected),))  # type: ignore[arg-type]
        assert got["output"].ravel().tolist() == expected, padding


def test_hand_worked_circular_pads() -> None:
    """Of the canvas 1 10 102 20 200 what is beyond the output is added at its other end."""
    x, w = np.array([1.0, 2]).reshape(1, 2, 1), np.array([1.0, 10, 100]).reshape(3, 1, 1)
    for padding, output_padding, expected in (
        ("valid", 0, [1, 10, 102, 20, 200]),
        ("same", 0, [201, 10, 102, 20]),
        ("same_lower", 0, [10, 102, 20, 201]),
        (((1, 1),), 0, [210, 102, 21]),
        (((1, 1),), 1, [10, 102, 20, 201]),
        (((2, 2),), 0, [333]),
    ):
        got = conv_transpose.forward(
            x=x,
            w=w,
            stride=(2,),
            dilation=(1,),
            groups=1,
            padding=padding,
            output_padding=(output_padding,),
            pad_mode="circular",
        )
        assert got["output"].ravel().tolist() == expected, padding


def test_hand_worked_stride_beyond_the_kernel() -> None:
    """One tap, stride 3: the canvas ends at the last element; zeros fill up "same" and "valid" to n * stride."""
    x, w = np.array([1.0, 2]).reshape(1, 2, 1), np.array([5.0]).reshape(1, 1, 1)
    for padding in ("same", "same_lower", "valid"):
        got = conv_transpose.forward(
            x=x, w=w, stride=(3,), dilation=(1,), groups=1, padding=padding, output_padding=(0,)
        )
        assert got["output"].ravel().tolist() == [5, 0, 0, 10, 0, 0]


@settings(max_examples=30, deadline=None)
@given(configuration=configurations(), seed=st.integers(0, 2**32 - 1))
def test_it_is_the_adjoint_of_convolution(configuration: Configuration, seed: int) -> None:
    """<conv_transpose(x), y> = <x, conv(y)>, exactly on whole numbers, where the convolution of y has x's shape."""
    rng, attributes = np.random.default_rng(seed), attributes_of(configuration)
    circular = attributes.pop("pad_mode") == "circular"
    if configuration["padding"] in ("same", "same_lower") and not circular:
        padding = configuration["padding"]
    else:
        padding = tuple((axis.start, 0) for axis in shown(configuration))
    x = integers(rng, (2, *configuration["sizes"], configuration["groups"] * configuration["inputs"]))
    w = integers(
        rng, (*configuration["kernel"], configuration["outputs"], configuration["groups"] * configuration["inputs"])
    )
    placed = conv_transpose.forward(x=x, w=w, **attributes, pad_mode="circular" if circular else "zeros")["output"]
    product = (placed * (y := integers(rng, placed.shape))).sum()
    del attributes["output_padding"], attributes["output_size"]
    if not isinstance(padding, str):
        # Where the output ends short of the canvas, the convolution needs the missing part back, as zeros.
        needed = [
            (n - 1) * s + (k - 1) * d + 1 for n, k, s, d in zip(*(configuration[name] for name in AXES), strict=True)
        ]
        padding = tuple(
            (low, max(0, need - low - size))
            for (low, _), need, size in zip(padding, needed, y.shape[1:-1], strict=True)
        )
        if circular:
            y, padding = np.pad(y, ((0, 0), *padding, (0, 0)), mode="wrap"), ((0, 0),) * len(padding)
    seen = conv.forward(x=y, w=w, **(attributes | {"padding": padding}))["output"]
    # Positions shown beyond the canvas may make room for further windows: they are not x's.
    seen = seen[(slice(None), *(slice(n) for n in configuration["sizes"]))]
    assert product == (x * seen).sum()


def test_float32_in_any_order_lies_inside_the_bound_and_a_changed_tap_does_not() -> None:
    """The bound holds for float32 sums in several orders, and still sees one tap wrong by a thousandth."""
    products, rng = products_of(ASYMMETRIC), np.random.default_rng(21)
    attributes = attributes_of(ASYMMETRIC)
    x, w, cotangent = (
        normal32(rng, shape) for shape in (products.left_shape, products.right_shape, products.result_shape)
    )
    b = normal32(rng, cotangent.shape[-1:])
    y = conv_transpose.forward(x=x, w=w, b=b, **attributes)["output"]
    gradients = conv_transpose.vjp({"output": cotangent}, x=x, w=w, b=b, **attributes)
    magnitudes = conv_transpose.magnitude({"output": cotangent}, x=x, w=w, b=b, **attributes)
    for expected, magnitude, computed in (
        (y, magnitudes.outputs["output"], products.in_float32(x, w, rng, bias=b)),
        (gradients["x"], magnitudes.gradients["x"], products.for_left().in_float32(cotangent, w, rng)),
        (gradients["w"], magnitudes.gradients["w"], products.for_right().in_float32(x, cotangent, rng)),
    ):
        for got in computed:
            assert np.all(abs(got - expected) <= radius(magnitude))
    changed = w.copy()
    changed[1, 1] *= 1 + 1e-3
    # Tap (1, 1) of element (i, j) goes to canvas position (2 i + 1, j + 2), output position (2 i, j + 2).
    has_tap = np.zeros(y.shape, dtype=bool)
    has_tap[:, 0:8:2, 2:8] = True
    moved = abs(conv_transpose.forward(x=x, w=changed, b=b, **attributes)["output"] - y)
    beyond = moved > radius(magnitudes.outputs["output"])
    assert not beyond[~has_tap].any()
    assert beyond[has_tap].mean() > 0.9
    moved = conv_transpose.vjp({"output": cotangent}, x=x, w=changed, b=b, **attributes)["x"] - gradients["x"]
    assert (abs(moved) > radius(magnitudes.gradients["x"])).mean() > 0.8


@pytest.mark.parametrize(
    ("sizes", "inputs", "outputs", "groups", "stride"),
    [
        ((30, 25), 12, 9, 1, (1, 1)),
        ((30, 25), 12, 9, 1, (2, 3)),
        ((40, 50), 16, 2, 1, (1, 1)),
        ((40, 50), 16, 2, 1, (1, 2)),
        ((50, 70), 1, 1, 24, (2, 1)),
        ((30, 40), 5, 3, 8, (2, 1)),
    ],
)
def test_large_arrays_are_computed_as_their_small_parts_are(
    sizes: tuple[int, int], inputs: int, outputs: int, groups: int, stride: tuple[int, int]
) -> None:
    """Blocks, and the ways for few and many channels, against one strided slice a tap and group."""
    rng = np.random.default_rng(4)
    kernel, batch = (3, 2), 5
    x = integers(rng, (batch, *sizes, groups * inputs))
    w = integers(rng, (*kernel, outputs, groups * inputs))
    got = conv_transpose.forward(
        x=x, w=w, stride=stride, dilation=(1, 1), groups=groups, padding=((0, 0), (0, 0)), output_padding=(0, 0)
    )["output"]
    expected = np.zeros_like(got)
    for (i, j), group in cartesian(np.ndindex(*kernel), range(groups)):
        rows = slice(i, i + (sizes[0] - 1) * stride[0] + 1, stride[0])
        columns = slice(j, j + (sizes[1] - 1) * stride[1] + 1, stride[1])
        a, b = slice(group * outputs, (group + 1) * outputs), slice(group * inputs, (group + 1) * inputs)
        expected[:, rows, columns, a] += np.einsum("nhwb,ab->nhwa", x[..., b], w[i, j, :, b])
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": np.zeros((2, 5))}, "axes of x"),
        ({"x": np.zeros((1, 0, 5, 2))}, "output elements"),
        ({"w": np.zeros((3, 4, 2))}, "axes of w"),
        ({"w": np.zeros((3, 0, 4, 2))}, "kernel"),
        ({"w": np.zeros((3, 3, 4, 3))}, "last axis of w"),
        ({"w": np.zeros((3, 3, 0, 2)), "b": np.zeros(0)}, "output channels"),
        ({"b": np.zeros(3)}, "shape of b"),
        ({"groups": 0}, "groups"),
        ({"groups": 3}, "groups"),
        ({"stride": (0, 1)}, "stride"),
        ({"dilation": (1,)}, "dilation"),
        ({"padding": "smae"}, "padding"),
        ({"padding": ((5, 4), (0, 0)), "output_padding": (0, 0)}, "output elements"),
        ({"padding": ((0, -1), (0, 0))}, "padding"),
        ({"padding": "same", "output_padding": (1, 0)}, "output_padding"),
        ({"output_padding": (-1, 0)}, "output_padding"),
        ({"output_padding": (0,)}, "output_padding"),
        ({"output_padding": (0, 1)}, "output_padding"),
        ({"pad_mode": "reflect"}, "pad_mode"),
        ({"output_padding": (2, 0), "stride": (2, 1)}, "output_padding"),
        ({"output_size": (7, 8)}, r"output_size: .*\(5, 5\) windows, it has \(5, 6\)"),
        ({"output_size": (6, 7)}, "output_size"),
        ({"output_size": (7, 7, 7)}, "output_size"),
        ({"output_size": (7, 0)}, "output_size"),
        ({"output_size": (8, 7), "stride": (2, 1), "padding": "same"}, "output_size"),
        ({"output_size": (7, 7), "output_padding": (1, 0), "stride": (2, 2)}, "output_padding"),
    ],
)
def test_impossible_questions_are_refused(change: dict[str, Any], message: str) -> None:
    """All three functions refuse them; the canvas has 7 rows."""
    question = {
        "x": np.zeros((1, 5, 5, 2)),
        "w": np.zeros((3, 3, 4, 2)),
        "b": np.zeros(4),
        "stride": (1, 1),
        "dilation": (1, 1),
        "groups": 1,
        "padding": ((0, 0), (0, 0)),
        "output_padding": (0, 0),
        **change,
    }
    with pytest.raises(InvalidShape, match=message):
        conv_transpose.forward(**question)
    with pytest.raises(InvalidShape, match=message):
        conv_transpose.vjp({"output": np.zeros((1, 7, 7, 4))}, **question)
    with pytest.raises(InvalidShape, match=message):
        conv_transpose.magnitude(None, **question)


def test_a_cotangent_of_another_shape_is_refused() -> None:
    """It would otherwise be broadcast."""
    x, w = np.zeros((1, 5, 2)), np.zeros((3, 4, 2))
    with pytest.raises(InvalidShape, match="cotangent"):
        conv_transpose.vjp(
            {"output": np.zeros((1, 5, 1))},
            x=x,
            w=w,
            stride=(1,),
            dilation=(1,),
            groups=1,
            padding="same",
            output_padding=(0,),
        )
