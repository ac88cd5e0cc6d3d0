"""Patches against the definition, element by element, and fold as their adjoint."""

from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from conformance.reference import patches
from conformance.reference.padding import InvalidShape, windows
from conformance.reference.tests.products import integers, normal32, radius

PADDINGS = st.sampled_from(["valid", "same", "same_lower", ((0, 1), (2, 0)), ((1, 1), (0, 0))])
TWO = st.tuples(st.integers(1, 3), st.integers(1, 3))


def place(i: int, j: int, c: int, window: tuple[int, int], channels: int, order: str) -> int:
    rows, columns = window
    return (i * columns + j) * channels + c if order == "channels_last" else (c * rows + i) * columns + j


@settings(max_examples=120, deadline=None)
@given(
    sizes=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    window=TWO,
    stride=TWO,
    dilation=TWO,
    padding=PADDINGS,
    order=st.sampled_from(patches.ORDERS),
    batch=st.sampled_from([2, 1, 0]),
    seed=st.integers(0, 2**32 - 1),
)
def test_every_number_is_where_the_definition_says(
    sizes: tuple[int, int],
    window: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int],
    padding: Any,
    order: str,
    batch: int,
    seed: int,
) -> None:
    attributes: dict[str, Any] = {
        "window": window,
        "stride": stride,
        "dilation": dilation,
        "padding": padding,
        "order": order,
    }
    try:
        over = windows(sizes=sizes, kernel=window, stride=stride, dilation=dilation, padding=padding)
    except InvalidShape:
        with pytest.raises(InvalidShape):
            patches.extract_patches_forward(x=np.zeros((1, *sizes, 2)), **attributes)
        assume(False)
    rng, channels = np.random.default_rng(seed), 2
    x = integers(rng, (batch, *sizes, channels))
    counts = tuple(along.outputs for along in over)
    got = patches.extract_patches_forward(x=x, **attributes)["output"]
    assert got.shape == (batch, *counts, window[0] * window[1] * channels)
    given_patches = integers(rng, got.shape)
    image, seen = np.zeros(x.shape), np.zeros(sizes)
    for a, b, i, j in product(range(counts[0]), range(counts[1]), range(window[0]), range(window[1])):
        row = a * stride[0] + i * dilation[0] - over[0].low
        column = b * stride[1] + j * dilation[1] - over[1].low
        inside = 0 <= row < sizes[0] and 0 <= column < sizes[1]
        for c in range(channels):
            at = place(i, j, c, window, channels, order)
            expected = x[:, row, column, c] if inside else np.zeros(batch)
            np.testing.assert_array_equal(got[:, a, b, at], expected)
            if inside:
                image[:, row, column, c] += given_patches[:, a, b, at]
        if inside:
            seen[row, column] += 1
    folding = {**attributes, "size": sizes}
    np.testing.assert_array_equal(patches.fold_forward(x=given_patches, **folding)["output"], image)
    cotangents = {"output": given_patches}
    np.testing.assert_array_equal(patches.extract_patches_vjp(cotangents, x=x, **attributes)["x"], image)
    np.testing.assert_array_equal(patches.fold_vjp({"output": x}, x=given_patches, **folding)["x"], got)
    of_patches = patches.extract_patches_magnitude(cotangents, x=x, **attributes)
    of_fold = patches.fold_magnitude({"output": x}, x=given_patches, **folding)
    assert not of_patches.outputs["output"].absolute.any()
    assert not of_fold.gradients["x"].absolute.any()
    absolute = patches.fold_forward(x=np.abs(given_patches), **folding)["output"]
    for sums in (of_patches.gradients["x"], of_fold.outputs["output"]):
        np.testing.assert_array_equal(sums.absolute, absolute)
        np.testing.assert_array_equal(sums.terms, np.broadcast_to(np.maximum(seen - 1, 0)[..., None], x.shape))


def test_single_precision_sums_lie_within_the_bound_and_a_lost_patch_does_not() -> None:
    rng = np.random.default_rng(5)
    attributes: dict[str, Any] = {
        "size": (6, 7),
        "window": (3, 4),
        "stride": (1, 1),
        "dilation": (1, 1),
        "padding": "valid",
        "order": "channels_last",
    }
    x = normal32(rng, (2, 4, 4, 24))
    exact = patches.fold_forward(x=x, **attributes)["output"]
    bound = radius(patches.fold_magnitude(None, x=x, **attributes).outputs["output"])
    for rows, columns in product((range(4), range(3, -1, -1)), repeat=2):
        total = np.zeros(exact.shape, np.float32)
        for a, b in product(rows, columns):
            total[:, a : a + 3, b : b + 4] += x[:, a, b].reshape(2, 3, 4, 2).astype(np.float32)
        assert np.all(np.abs(total - exact) <= bound)
    x[0, 1, 2, 5] *= 1.001
    assert (np.abs(patches.fold_forward(x=x, **attributes)["output"] - exact) > bound).sum() == 1


ATTRIBUTES: dict[str, Any] = {
    "window": (2, 2),
    "stride": (1, 1),
    "dilation": (1, 1),
    "padding": "valid",
    "order": "channels_last",
}


@pytest.mark.parametrize(
    ("shape", "changes", "what"),
    [
        ((1, 3, 3), {}, "axes of x"),
        ((1, 3, 3, 8), {"order": "columns_first"}, "order"),
        ((1, 3, 3, 8), {"size": (4,)}, "size"),
        ((1, 3, 3, 8), {"size": (4, 5)}, "patches of x"),
        ((1, 3, 3, 7), {}, "channels of x"),
    ],
)
def test_a_fold_that_does_not_fit_is_refused(shape: tuple[int, ...], changes: dict[str, Any], what: str) -> None:
    with pytest.raises(InvalidShape) as caught:
        patches.fold_forward(x=np.zeros(shape), **{"size": (4, 4), **ATTRIBUTES, **changes})
    assert caught.value.what == what


def test_cotangents_of_another_shape_are_refused() -> None:
    with pytest.raises(InvalidShape):
        patches.extract_patches_vjp({"output": np.zeros((1, 2, 2, 4))}, x=np.zeros((1, 3, 3, 2)), **ATTRIBUTES)
    with pytest.raises(InvalidShape):
        patches.fold_vjp({"output": np.zeros((1, 4, 4, 1))}, x=np.zeros((1, 3, 3, 8)), size=(4, 4), **ATTRIBUTES)
