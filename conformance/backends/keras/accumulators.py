"""In which format Keras sums on a CPU, where it stores bfloat16 or float16, and what it stores twice.

Measured with Keras 3.15.1 on torch 2.13, tensorflow-cpu 2.21 and jax 0.10.2, on x86-64 with AVX-512 and AMX: over
the shipped questions every array named here lies within the bound of one rounding of a sum in float32; on wide
integers it is the rounded sum itself. The kernels are those of the framework below, and so are the rows, but for
what Keras makes of several operations.
"""

from typing import Final

from conformance.backends.accumulators import Rows

# Everywhere a layer adds its bias to what has been stored: PyTorch's own layers hand it to the kernel.
STORED_SUMS: Final = tuple((glob, storage) for glob in ("conv*", "dense") for storage in ("bfloat16", "float16"))


def inherited(below: Rows, assembled: tuple[str, ...] = ()) -> Rows:
    """The rows of the framework below, without those of operators that Keras makes of several operations."""
    return tuple(row for row in below if row[0] not in assembled)
