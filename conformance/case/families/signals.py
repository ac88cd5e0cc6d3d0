"""SciPy's signals, and polynomials."""

from dataclasses import dataclass
from typing import Final, Literal

from conformance.case.contract import LINEAR, Operator, Shapes, W, X, require, same_shape
from conformance.case.model import Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """SciPy's modes; `same` is centred on `full`."""

    mode: Literal["full", "same", "valid"] = "full"


@dataclass(frozen=True, slots=True, kw_only=True)
class Polynomial:
    """Coefficients, the highest power first."""

    coefficients: tuple[float, ...]


def signal_shapes(attributes: Signal, shapes: Shapes) -> dict[str, Shape]:
    """SciPy's sizes; in `valid` mode one operand must cover the other on every axis."""
    x, w = shapes["x"], shapes["w"]
    require(len(x) == len(w) and len(x) in (1, 2), f"x and w must both have 1 or 2 axes, got {x} and {w}")
    require(min(x + w) >= 1, f"x and w must not be empty, got {x} and {w}")
    if attributes.mode == "same":
        return {"output": x}
    if attributes.mode == "full":
        return {"output": tuple(n + k - 1 for n, k in zip(x, w, strict=True))}
    covers = [n >= k for n, k in zip(x, w, strict=True)]
    covered = [n <= k for n, k in zip(x, w, strict=True)]
    require(all(covers) or all(covered), f"in valid mode one of x {x} and w {w} must cover the other on every axis")
    return {"output": tuple(abs(n - k) + 1 for n, k in zip(x, w, strict=True))}


OPERATORS: Final = (
    *(
        Operator(name=name, attributes=Signal, operands=(X, W), shapes=signal_shapes, linear=True, data=LINEAR)
        for name in ("convolve", "correlate")
    ),
    Operator(name="polynomial", attributes=Polynomial, operands=(X,), shapes=same_shape, data=("normal",)),
)
