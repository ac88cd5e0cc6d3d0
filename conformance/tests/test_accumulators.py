"""What adapters claim of their sums, by the processor that they run on: other machines take other kernels."""

import pytest

from conformance.backends.accumulators import Rows
from conformance.backends.tensorflow import accumulators as tensorflow
from conformance.backends.torch import accumulators as torch
from conformance.verdict.oracle import Accumulators

HASWELL = ("avx2",)
ICE_LAKE = (*HASWELL, "avx512f", "avx512bw", "avx512_vnni")
ZEN_4 = (*ICE_LAKE, "avx512_bf16")
SAPPHIRE_RAPIDS = (*ZEN_4, "avx512_fp16", "amx_tile", "amx_bf16")
GRAND_RIDGE = (*HASWELL, "avx_vnni", "avx_ne_convert")


def check_claims(claims: Rows, formats: tuple[str, ...], array: tuple[str, str, str], without: str) -> None:
    """In oneDNN's formats an array is summed in float32; float16, where it is none of them, in what is said."""
    operator, check, name = array
    for storage in ("bfloat16", "float16"):
        expected = "float32" if storage in formats else without
        assert Accumulators(claims).of(operator, storage, check, name).name == expected


@pytest.mark.parametrize(
    ("features", "formats"),
    [
        (HASWELL, ("float32",)),
        (ICE_LAKE, ("float32", "bfloat16")),
        (ZEN_4, ("float32", "bfloat16")),
        (SAPPHIRE_RAPIDS, ("float32", "bfloat16", "float16")),
        (GRAND_RIDGE, ("float32", "bfloat16", "float16")),
    ],
)
def test_tensorflow_asks_onednn_where_the_processor_has_arithmetic_in_the_format(
    features: tuple[str, ...], formats: tuple[str, ...]
) -> None:
    assert tensorflow.onednn_formats(features, "1") == formats
    assert tensorflow.onednn_formats(features, "0") == ()
    assert tensorflow.onednn_formats(features, None) == (formats if features != HASWELL else ())


@pytest.mark.parametrize(
    ("operator", "check", "name", "without"),
    [
        # A product of matrices for each image; what windows and images add to one element is added as it is stored.
        ("conv2d", "outputs", "output", "float32"),
        ("conv2d_transpose", "outputs", "output", "float16"),
        ("conv2d", "gradients", "x", "float16"),
        ("conv2d_transpose", "gradients", "x", "float32"),
        ("conv3d", "gradients", "w", "float16"),
        ("conv3d_transpose", "gradients", "w", "float16"),
        ("conv1d", "gradients", "b", "float16"),
        ("dense", "gradients", "w", "float32"),
    ],
)
def test_torch_sums_in_float32_where_onednn_convolves(operator: str, check: str, name: str, without: str) -> None:
    for formats in (("bfloat16", "float16"), ("bfloat16",)):
        check_claims(torch.accumulators(formats), formats, (operator, check, name), without)


@pytest.mark.parametrize(
    ("operator", "check", "name", "without"),
    [
        ("conv2d", "outputs", "output", "float32"),
        ("conv3d", "outputs", "output", "float16"),
        ("conv2d", "gradients", "w", "float16"),
        ("dense", "gradients", "w", "float32"),
    ],
)
def test_tensorflow_s_other_kernels_have_claims_of_their_own(
    operator: str, check: str, name: str, without: str
) -> None:
    for formats in (("bfloat16", "float16"), ("bfloat16",)):
        claims = tensorflow.accumulators(onednn=formats, traced=False)
        check_claims(claims, formats, (operator, check, name), without)
