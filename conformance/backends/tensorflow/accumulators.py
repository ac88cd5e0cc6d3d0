"""In which format TensorFlow sums on a CPU, where it stores bfloat16 or float16, and what it stores twice.

Eigen's kernels, which answer where oneDNN is off or the processor has no arithmetic in the format, sum many more
arrays in the storage format than oneDNN's, and a graph divides the cotangent of a mean by multiplying it with a
rounded reciprocal.

Measured with tensorflow-cpu 2.21 on x86-64 with AVX-512 and AMX: over the shipped questions and random
ones of up to 150 terms a row, every array named here lies within the bound of one rounding of a sum in float32; on
wide integers it is the rounded sum itself, which 8 or 11 significant bits on the way would not give.
"""

from collections.abc import Sequence
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


# Where TensorFlow asks oneDNN unless it is told: on processors with instructions for networks (`IsMklEnabled`).
_FOR_NETWORKS: Final = {"avx512_vnni", "avx512_bf16", "avx_vnni", "amx_tile", "amx_bf16"}


def onednn_formats(features: Sequence[str], asked: str | None) -> tuple[str, ...]:
    """The formats in which oneDNN's kernels answer on an x86 processor (`IsDataTypeSupportedByOneDNNOnThisCPU`).

    Args:
        features: the processor's instructions.
        asked: the environment's `TF_ENABLE_ONEDNN_OPTS`, if it has one.
    """
    has = set(features)
    on = bool(has & _FOR_NETWORKS) if asked is None else asked in ("1", "true")
    if not on:
        return ()
    supported = {
        "float32": True,
        "bfloat16": has & {"avx512f", "avx_ne_convert"},
        "float16": "avx_ne_convert" in has or ("avx512bw" in has and has & {"avx512_fp16", "amx_fp16"}),
    }
    return tuple(name for name, with_these in supported.items() if with_these)


def accumulators(*, onednn: Sequence[str], traced: bool) -> Rows:
    """The claims of one machine and one set of switches.

    Args:
        onednn: the storage formats that oneDNN's kernels answer in; in the others Eigen's do.
        traced: whether a graph is run.
    """
    ours = tuple(row for row in _ONEDNN if row[1] in onednn)
    others = tuple(row for row in _EIGEN if row[1] not in onednn)
    return (*_ALWAYS, *ours, *others, *(() if traced else _EAGER))


# tf.nn.bias_add is an operation of its own: on wide integers its result is the rounded sum, plus the bias, rounded.
STORED_SUMS: Final = tuple((glob, storage) for glob in ("conv*", "dense") for storage in ("bfloat16", "float16"))
