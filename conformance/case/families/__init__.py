"""Every operator's contract, a module a family: attributes, shape functions, and the entries of the table.

Data is channels-last. A family's table is a tuple `OPERATORS`.
"""

from typing import Final

from conformance.case.families import (
    activations,
    arrays,
    convolution,
    losses,
    pooling,
    products,
    sampling,
    signals,
    steps,
)

FAMILIES: Final = (convolution, pooling, arrays, products, activations, losses, steps, sampling, signals)
