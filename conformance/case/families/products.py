"""Matrix products, sums and products of two arrays, and the bias."""

from typing import Final

from conformance.case.contract import (
    LINEAR,
    B,
    ForwardMode,
    NoAttributes,
    Operand,
    Operator,
    Shapes,
    W,
    X,
    Y,
    check_bias,
    require,
)
from conformance.case.model import Shape


def dense_shapes(attributes: NoAttributes, shapes: Shapes) -> dict[str, Shape]:
    """X (..., in), w (in, out) -> (..., out)."""
    x, w = shapes["x"], shapes["w"]
    require(len(w) == 2, f"w must have 2 axes (in, out), got shape {w}")
    require(len(x) >= 1 and x[-1] == w[0], f"x of shape {x} does not end in w's {w[0]} inputs")
    check_bias(shapes, w[1])
    return {"output": (*x[:-1], w[1])}


def bias_shapes(attributes: NoAttributes, shapes: Shapes) -> dict[str, Shape]:
    """B is added along the last axis."""
    x = shapes["x"]
    require(len(x) >= 1, "x must have an axis of channels, got a scalar")
    check_bias(shapes, x[-1])
    return {"output": x}


def _broadcast(x: Shape, y: Shape) -> Shape:
    sizes = []
    for place in range(1, max(len(x), len(y)) + 1):
        n, m = (shape[-place] if place <= len(shape) else 1 for shape in (x, y))
        require(n == m or 1 in (n, m), f"shapes {x} and {y} do not broadcast")
        sizes.append(m if n == 1 else n)
    return tuple(reversed(sizes))


def broadcast_shapes(attributes: NoAttributes, shapes: Shapes) -> dict[str, Shape]:
    """X and y broadcast by NumPy's rules."""
    return {"output": _broadcast(shapes["x"], shapes["y"])}


def matmul_shapes(attributes: NoAttributes, shapes: Shapes) -> dict[str, Shape]:
    """X (..., m, k), y (..., k, n) -> (..., m, n); the leading axes broadcast."""
    x, y = shapes["x"], shapes["y"]
    require(min(len(x), len(y)) >= 2, f"x and y must have 2 axes at least, got shapes {x} and {y}")
    require(x[-1] == y[-2], f"x of shape {x} does not end in y's {y[-2]} rows")
    return {"output": (*_broadcast(x[:-2], y[:-2]), x[-2], y[-1])}


PRODUCT: Final[ForwardMode] = "product"
SUM: Final[ForwardMode] = "sum"

OPERATORS: Final = tuple(
    Operator(
        name=name,
        attributes=NoAttributes,
        operands=operands,
        shapes=shapes,
        forward_mode=mode,
        linear=True,
        data=LINEAR,
    )
    for name, operands, shapes, mode in (
        ("dense", (X, W, B), dense_shapes, PRODUCT),
        ("bias_add", (X, Operand(name="b")), bias_shapes, SUM),
        ("matmul", (X, Y), matmul_shapes, PRODUCT),
        ("add", (X, Y), broadcast_shapes, SUM),
        ("multiply", (X, Y), broadcast_shapes, PRODUCT),
    )
)
