"""What channel_shuffle gives: channel c of g groups comes to place (c mod n) g + c div n, n being a group's size."""

from typing import Final

from conformance.reference.magnitude import Array, Gradients, Magnitudes, Outputs, exact
from conformance.reference.operators import Reference
from conformance.reference.padding import InvalidShape, require_shape


def forward(*, x: Array, groups: int) -> Outputs:
    """Deals the channels of the groups out in turn.

    Args:
        x: (N, ..., C).
        groups: a divisor of C.

    Returns:
        "output", of x's shape.

    Raises:
        InvalidShape: x has no channels that the groups divide.
    """
    if x.ndim < 2 or groups < 1 or x.shape[-1] % groups:
        raise InvalidShape("groups", got=groups, required=f"a divisor of the channels of x, {x.shape}")
    return {"output": x[..., _order(x.shape[-1], groups)]}


def vjp(cotangents: Outputs, *, x: Array, groups: int) -> Gradients:
    """Puts the cotangent back: dealing out the groups' sizes undoes it."""
    forward(x=x, groups=groups)
    cotangent = require_shape("the cotangent of output", cotangents["output"], x.shape)
    return {"x": cotangent[..., _order(x.shape[-1], x.shape[-1] // groups)]}


def magnitude(cotangents: Outputs | None, *, x: Array, groups: int) -> Magnitudes:
    """All bounds are zero: numbers are moved."""
    forward(x=x, groups=groups)
    return Magnitudes(outputs={"output": exact(x)}, gradients={} if cotangents is None else {"x": exact(x)})


def _order(channels: int, groups: int) -> list[int]:
    """Which channel comes to each place."""
    size = channels // groups
    return [group * size + place for place in range(size) for group in range(groups)]


REFERENCES: Final = {"channel_shuffle": Reference(forward=forward, vjp=vjp, magnitude=magnitude)}
