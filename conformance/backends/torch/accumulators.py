"""In which format PyTorch sums on a CPU, where it stores bfloat16 or float16.

Measured with torch 2.13 on x86-64 with AVX-512 and AMX: over the shipped questions and random ones of up to 150 terms
a row, every array named here lies within the bound of one rounding of a sum in float32; on wide integers it is the
rounded sum itself, which 8 or 11 significant bits on the way would not give.
"""

from typing import Final

from conformance.backends.accumulators import Rows, in_float32

# One kernel that converts to float32, computes and rounds once.
ONE_KERNEL: Final = (
    *("elu", "gelu", "hard_sigmoid", "hard_swish", "leaky_relu"),
    *("mish", "prelu", "selu", "silu", "softplus"),
)

ACCUMULATORS: Final[Rows] = in_float32(
    ("bfloat16", "float16"),
    {
        "outputs": (
            # oneDNN's and mkl's products, and the signals that are convolutions: the bias is added before rounding.
            *("conv*", "correlate", "dense", "matmul"),
            # Sums over many: one kernel each.
            *("mean", "global_average_pool2d", "adaptive_average_pool2d"),
            *("batch_norm", "layer_norm", "group_norm"),
            # One operation, rounded once.
            *("add", "bias_add", "multiply", "dropout"),
            *ONE_KERNEL,
            *("log_sigmoid", "sigmoid", "tanh"),
        ),
        # Those of log_sigmoid, sigmoid, tanh and softmax start from the output as it was stored. A broadcast factor's
        # is stored before it is summed (matmul, multiply); the pools' and pads' are added up where they are stored.
        "gradients/x": (
            *("conv*", "correlate", "dense"),
            *("mean", "global_average_pool2d", "add", "dropout"),
            *ONE_KERNEL,
        ),
        "gradients/w": ("conv*", "correlate", "dense"),
        "gradients/b": ("conv*", "dense", "bias_add"),
        "gradients/y": ("add",),
        # Plain sums of the cotangent; layer_norm adds its rows up in the storage format.
        "gradients/offset": ("batch_norm", "batch_norm_training", "group_norm"),
    },
)
