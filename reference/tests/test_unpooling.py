"""Unpooling against nested loops, and as what undoes a choice of maxima."""

from itertools import product
from typing import Any

import numpy as np
import pytest

from conformance.reference import unpooling
from conformance.reference.magnitude import Array
from conformance.reference.padding import InvalidShape


def drawn(seed: int, indexed: str) -> tuple[Array, Array]:
    """Numbers of 3 x 2 pixels in two images of three channels, for places in 4 x 5."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((2, 3, 2, 3))
    if indexed == "image":
        chosen = [rng.permutation(4 * 5 * 3)[:18].reshape(3, 2, 3) for _ in range(2)]
    else:
        planes = [[rng.permutation(20)[:6].reshape(3, 2) for _ in range(3)] for _ in range(2)]
        chosen = [np.stack(image, axis=-1) for image in planes]
    return x, np.stack(chosen)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("indexed", unpooling.INDEXED)
def test_every_number_is_put_where_its_index_says(seed: int, indexed: str) -> None:
    x, indices = drawn(seed, indexed)
    cotangent = np.random.default_rng(seed + 100).standard_normal((2, 4, 5, 3))
    expected, gradient = np.zeros(cotangent.shape), np.zeros(x.shape)
    for n, i, j, c in product(*map(range, x.shape)):
        index, channel = int(indices[n, i, j, c]), c
        if indexed == "image":
            index, channel = divmod(index, 3)
        row, column = divmod(index, 5)
        expected[n, row, column, channel] = x[n, i, j, c]
        gradient[n, i, j, c] = cotangent[n, row, column, channel]
    attributes: dict[str, Any] = {"indices": indices, "size": (4, 5), "indexed": indexed}
    np.testing.assert_array_equal(unpooling.forward(x=x, **attributes)["output"], expected)
    np.testing.assert_array_equal(unpooling.vjp({"output": cotangent}, x=x, **attributes)["x"], gradient)
    bounds = unpooling.magnitude({"output": cotangent}, x=x, **attributes)
    assert bounds.outputs["output"].absolute.shape == cotangent.shape
    assert not bounds.outputs["output"].absolute.any()
    assert not bounds.gradients["x"].absolute.any()
    assert unpooling.magnitude(None, x=x, **attributes).gradients == {}


def test_no_images() -> None:
    x, indices = np.zeros((0, 2, 2, 3)), np.zeros((0, 2, 2, 3), np.int64)
    assert unpooling.forward(x=x, indices=indices, size=(4, 4), indexed="plane")["output"].shape == (0, 4, 4, 3)


@pytest.mark.parametrize(
    ("indices", "changes", "what"),
    [
        ([[[0, 8]]], {}, "indices"),
        ([[[0, -1]]], {}, "indices"),
        ([[[3, 3]]], {}, "indices"),
        ([[[0, 1, 2]]], {}, "shape of indices"),
        ([[[0, 1]]], {"size": (0, 4)}, "size"),
        ([[[0, 1]]], {"indexed": "batch"}, "indexed"),
    ],
)
def test_what_has_no_answer_is_refused(indices: list[Any], changes: dict[str, Any], what: str) -> None:
    attributes: dict[str, Any] = {"size": (2, 4), "indexed": "plane", **changes}
    with pytest.raises(InvalidShape) as caught:
        unpooling.forward(x=np.ones((1, 1, 2, 1)), indices=np.array(indices)[..., None], **attributes)
    assert caught.value.what == what


def test_an_index_of_another_plane_is_another_number_s() -> None:
    """In the plane both channels may have the same index; in the image it is taken."""
    x, indices = np.ones((1, 1, 1, 2)), np.zeros((1, 1, 1, 2), np.int64)
    assert unpooling.forward(x=x, indices=indices, size=(1, 2), indexed="plane")["output"].sum() == 2
    with pytest.raises(InvalidShape):
        unpooling.forward(x=x, indices=indices, size=(1, 2), indexed="image")
