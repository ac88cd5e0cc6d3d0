"""Every operator's contract, a module a family: attributes, shape functions, and the entries of the table.

Data is channels-last. A family's table is a tuple `OPERATORS`.
"""

from typing import Final

from conformance.case.families import (
    activations,
    arrays,
    backward,
    convolution,
    losses,
    normalization,
    pooling,
    products,
    resizing,
    sampling,
    signals,
    steps,
    windows,
)

FAMILIES: Final = (
    convolution,
    pooling,
    arrays,
    products,
    activations,
    normalization,
    losses,
    steps,
    sampling,
    signals,
    resizing,
    windows,
    backward,
)
