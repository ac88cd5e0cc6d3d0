"""In which format TensorFlow sums on a CPU, where it stores bfloat16 or float16, and what it stores twice.

Eigen's kernels, which answer where oneDNN is off, sum many more arrays in the storage format than oneDNN's, and a
graph divides the cotangent of a mean by multiplying it with a rounded reciprocal.

Measured with tensorflow-cpu 2.21 on x86-64 with AVX-512 and AMX: over the shipped questions and random
ones of up to 150 terms a row, every array named here lies within the bound of one rounding of a sum in float32; on
wide integers it is the rounded sum itself, which 8 or 11 significant bits on the way would not give.
"""

from typing import Final

from conformance.backends.accumulators import Rows, in_float32

_ALWAYS: Final[Rows] = (
    *in_float32(
        ("bfloat16", "float16"),
        # One operation, or one kernel that converts to float32 and rounds once.
        {"outputs": ("add", "bias_add", "multiply", "prelu", "tanh")},
    ),
    *in_float32(
        ("bfloat16",),
        {
            # What is summed up where it was broadcast; float16 is summed as it is.
            "gradients/x": ("add",),
            "gradients/y": ("add",),
            "gradients/offset": ("batch_norm", "batch_norm_training", "layer_norm"),
        },
    ),
    *in_float32(
        ("float16",),
        {
            # BiasAddGrad sums float16 in float32 and bfloat16 as it is.
            "gradients/b": ("conv*", "dense", "bias_add"),
        },
    ),
)

_ONEDNN: Final[Rows] = in_float32(
    ("bfloat16", "float16"),
    {
        # oneDNN's products, and its softmax.
        "outputs": ("conv*", "correlate", "dense", "matmul", "softmax"),
        # Explicit pads of two spatial axes leave it for Eigen's, which sum in the storage format: those differences
        # are on file.
        "gradients/x": ("conv*", "correlate", "dense"),
        "gradients/w": ("conv*", "correlate", "dense"),
    },
)

_EIGEN: Final[Rows] = (
    *in_float32(("bfloat16", "float16"), {"outputs": ("conv1d", "conv2d", "convolve", "correlate")}),
    *in_float32(
        ("float16",),
        {"outputs": ("dense", "matmul"), "gradients/x": ("dense",), "gradients/w": ("dense",)},
    ),
    *in_float32(("bfloat16",), {"outputs": ("softmax",)}),
)

_EAGER: Final[Rows] = in_float32(("bfloat16", "float16"), {"gradients/x": ("mean", "global_average_pool2d")})


def accumulators(*, onednn: bool, traced: bool) -> Rows:
    """The claims of one set of switches: whose kernels answer, and whether a graph does."""
    return (*_ALWAYS, *(_ONEDNN if onednn else _EIGEN), *(() if traced else _EAGER))


# tf.nn.bias_add is an operation of its own: on wide integers its result is the rounded sum, plus the bias, rounded.
STORED_SUMS: Final = tuple((glob, storage) for glob in ("conv*", "dense") for storage in ("bfloat16", "float16"))
