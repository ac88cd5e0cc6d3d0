"""In which format JAX sums on a CPU, where it stores bfloat16 or float16, and what it stores twice.

Measured with jax and jaxlib 0.10.2 on x86-64 with AVX-512 and AMX: over the shipped questions and random ones of up
to 150 terms a row, every array named here lies within the bound of one rounding of a sum in float32; on wide integers
it is the rounded sum itself, which 8 or 11 significant bits on the way would not give.
"""

from typing import Final

from conformance.backends.accumulators import Rows, in_float32

ACCUMULATORS: Final[Rows] = in_float32(
    ("bfloat16", "float16"),
    {
        "outputs": (
            # XLA's products, and what is one of them in JAX's words.
            *("conv*", "correlate", "dense", "matmul", "fold"),
            # jnp.mean converts to float32.
            *("mean", "global_average_pool2d"),
            # One operation, rounded once; prelu and tanh as well.
            *("add", "bias_add", "multiply", "prelu", "tanh"),
        ),
        # A bias, an offset and whatever else is broadcast is summed up in the storage format; so are windows.
        "gradients/x": ("conv*", "correlate", "dense", "matmul", "extract_patches", "mean", "global_average_pool2d"),
        "gradients/w": ("conv*", "correlate", "dense"),
        "gradients/y": ("matmul",),
    },
)

# jnp.add is an operation of its own: on wide integers its result is the rounded sum, plus the bias, rounded.
STORED_SUMS: Final = tuple((glob, storage) for glob in ("conv*", "dense") for storage in ("bfloat16", "float16"))
