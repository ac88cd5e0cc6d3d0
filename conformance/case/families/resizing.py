"""Resizing: images of another size, by interpolation."""

from dataclasses import dataclass, field
from functools import partial
from typing import Final, Literal

from conformance.case.contract import IMAGES, LATER, Grown, Operator, Shapes, X, require, spatial
from conformance.case.model import Shape


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Resize(Grown):
    """The output's size, and every convention by which elements are found and weighed.

    Attributes:
        size: the output's spatial sizes.
        method: what an output takes: one element, the weighted ones around it, or the mean of the part of the input
            that it covers.
        coordinates: where output o of m looks in n elements: (o + 1/2) n / m - 1/2, o (n - 1) / (m - 1), or o n / m.
        rounding: of a coordinate, for nearest alone. TensorFlow, JAX and PyTorch's nearest-exact round half pixels
            up, PyTorch's nearest and TensorFlow's first one take the floor of asymmetric ones.
        coefficient: of the cubic kernel alone: -0.75 in PyTorch and TensorFlow's first one, -0.5 in TensorFlow's
            half pixels and JAX.
        edge: of the cubic kernel, and of a widened one: whether an element beyond the edge is the edge's own
            (PyTorch's cubic, ONNX), or is left out and the other weights are scaled to a sum of 1 (TensorFlow's half
            pixels, JAX, and wherever PyTorch widens).
        antialias: a kernel is widened by n / m where an axis shrinks, and its weights are scaled to a sum of 1; of
            half pixels alone.
        cover: of area alone: an element counts by the share of it that is covered (TensorFlow, JAX), or wherever any
            part of it is, as a whole (PyTorch, whose area is an adaptive mean).
    """

    size: tuple[int, ...]
    method: Literal["nearest", "linear", "cubic", "area"] = "linear"
    coordinates: Literal["half_pixel", "align_corners", "asymmetric"] = "half_pixel"
    rounding: Literal["floor", "ceil", "half_up", "half_down"] = "half_up"
    coefficient: float = -0.5
    edge: Literal["clamp", "renormalize"] = "clamp"
    antialias: bool = field(default=False, metadata=LATER)
    cover: Literal["share", "whole"] = field(default="share", metadata=LATER)


def resize_shapes(attributes: Resize, shapes: Shapes, *, rank: int) -> dict[str, Shape]:
    """Output (batch, *size, channels), of so many spatial axes."""
    x = shapes["x"]
    sizes = spatial(x, rank)
    require(all(sizes), f"x must have an element at least, got shape {x}")
    require(len(attributes.size) == rank, f"size must have {rank} entries, got {attributes.size}")
    require(min(attributes.size) >= 1, f"size must be at least 1, got {attributes.size}")
    require(-1 <= attributes.coefficient <= 0, f"coefficient must be from -1 to 0, got {attributes.coefficient}")
    require(
        (attributes.method, attributes.coordinates, attributes.edge) != ("cubic", "asymmetric", "renormalize"),
        "asymmetric coordinates may leave no weight inside the input, so that its edge cannot be renormalized",
    )
    if attributes.antialias:
        require(attributes.method in ("linear", "cubic"), f"{attributes.method} has no kernel that antialias widens")
    if attributes.antialias or attributes.method == "area":
        require(
            attributes.coordinates == "half_pixel", f"what is covered has no {attributes.coordinates} coordinates"
        )
    return {"output": (x[0], *attributes.size, x[-1])}


OPERATORS: Final = tuple(
    # Weights are fractions, so wide integers are no exact gate here.
    Operator(
        name=f"resize{rank}d",
        attributes=Resize,
        operands=(X,),
        shapes=partial(resize_shapes, rank=rank),
        images=IMAGES,
        data=("normal",),
    )
    for rank in (1, 2, 3)
)
