"""depth_to_space and space_to_depth against the index arithmetic of ONNX and PyTorch, and as inverses."""

import itertools

import numpy as np
import pytest

from conformance.reference.operators import OPERATORS
from conformance.reference.padding import InvalidShape

QUESTIONS = list(itertools.product((1, 2, 3), ("dcr", "crd")))


@pytest.mark.parametrize(("block", "order"), QUESTIONS)
def test_every_number_lands_where_the_definition_says(block: int, order: str) -> None:
    rng = np.random.default_rng(1)
    channels = 2
    x = rng.standard_normal((2, 3, 4, channels * block**2))
    attributes = {"block": block, "order": order}
    output = OPERATORS["depth_to_space"].forward(x=x, **attributes)["output"]
    assert output.shape == (2, 3 * block, 4 * block, channels)
    for n, h, w, c in np.ndindex(output.shape):
        i, j = h % block, w % block
        depth = (i * block + j) * channels + c if order == "dcr" else c * block**2 + i * block + j
        assert output[n, h, w, c] == x[n, h // block, w // block, depth]
    assert np.array_equal(OPERATORS["space_to_depth"].forward(x=output, **attributes)["output"], x)


@pytest.mark.parametrize(("block", "order"), QUESTIONS)
@pytest.mark.parametrize("name", ["depth_to_space", "space_to_depth"])
def test_the_gradient_of_a_permutation_is_its_inverse(name: str, block: int, order: str) -> None:
    rng = np.random.default_rng(2)
    shape = (2, 2, 3, 2 * block**2) if name == "depth_to_space" else (2, 2 * block, 3 * block, 2)
    x, attributes, reference = rng.standard_normal(shape), {"block": block, "order": order}, OPERATORS[name]
    output = reference.forward(x=x, **attributes)
    assert np.array_equal(reference.vjp(output, x=x, **attributes)["x"], x)
    bound = reference.magnitude(output, x=x, **attributes)
    assert not bound.outputs["output"].absolute.any()
    assert not bound.gradients["x"].absolute.any()
    assert reference.magnitude(None, x=x, **attributes).gradients == {}


@pytest.mark.parametrize(
    ("name", "shape", "block", "order", "what"),
    [
        ("depth_to_space", (1, 2, 2, 6), 2, "dcr", "channels"),
        ("space_to_depth", (1, 3, 2, 1), 2, "dcr", "sides"),
        ("depth_to_space", (2, 2, 4), 2, "dcr", "axes"),
        ("space_to_depth", (1, 2, 2, 1), 0, "dcr", "block"),
        ("space_to_depth", (1, 2, 2, 1), 2, "rcd", "order"),
    ],
)
def test_impossible_questions_are_refused(
    name: str, shape: tuple[int, ...], block: int, order: str, what: str
) -> None:
    with pytest.raises(InvalidShape, match=what):
        OPERATORS[name].forward(x=np.zeros(shape), block=block, order=order)


def test_an_empty_batch_is_legal() -> None:
    x = np.zeros((0, 2, 3, 4))
    assert OPERATORS["depth_to_space"].forward(x=x, block=2, order="dcr")["output"].shape == (0, 4, 6, 1)
