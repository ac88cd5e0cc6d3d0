"""Norms against their definition, and as what they are: never less than the sum of a term's absolute values."""

from itertools import product

import numpy as np
import pytest

from conformance.reference import conv, conv_transpose
from conformance.reference.transforms import convolution_norms


def test_norms_by_hand() -> None:
    """One image of one channel, 3 at most; taps 1, -2, 4 sum to 7."""
    x = np.array([[[1.0], [-3.0], [2.0], [0.5]]])
    w = np.array([[[1.0]], [[-2.0]], [[4.0]]])
    output, gradients = convolution_norms(x=x, w=w, groups=1, cotangent=np.array([[[5.0], [-1.0]]]), transposed=False)
    assert output.tolist() == [[[21.0]]]
    assert gradients["x"].tolist() == [[[35.0]]]
    assert gradients["w"].tolist() == [[[18.0]]]


@pytest.mark.parametrize(("transposed", "groups"), list(product((False, True), (1, 2, 3))))
def test_no_sum_of_terms_exceeds_its_norm(transposed: bool, groups: int) -> None:
    rng = np.random.default_rng([groups, transposed])
    x = rng.normal(size=(2, 6, 7, 6))
    w = rng.normal(size=(3, 2, 12 // groups, 6) if transposed else (3, 2, 6 // groups, 12))
    operator = conv_transpose if transposed else conv
    given = {"x": x, "w": w, "stride": (2, 1), "dilation": (1, 2), "groups": groups, "padding": "same"}
    given |= {"output_padding": (0, 0)} if transposed else {}
    cotangent = rng.normal(size=operator.forward(**given)["output"].shape)
    magnitudes = operator.magnitude({"output": cotangent}, **given)
    output, gradients = convolution_norms(x=x, w=w, groups=groups, cotangent=cotangent, transposed=transposed)
    rounding = 1 + 1e3 * 2.0**-53  # sums of at most a thousand terms, either way
    assert (magnitudes.outputs["output"].absolute <= output * rounding).all()
    for name in ("x", "w"):
        assert (magnitudes.gradients[name].absolute <= gradients[name] * rounding).all(), name
