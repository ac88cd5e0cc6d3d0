"""What channel_shuffle is: attributes, operands, shapes."""

from dataclasses import dataclass
from typing import Final

from conformance.case.contract import LINEAR, Operator, Shapes, X, require
from conformance.case.model import Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelShuffle:
    """How many groups of neighbouring channels are dealt out in turn."""

    groups: int


def channel_shuffle_shapes(attributes: ChannelShuffle, shapes: Shapes) -> dict[str, Shape]:
    """X (batch, ..., channels); groups divide the channels."""
    x, groups = shapes["x"], attributes.groups
    require(len(x) >= 2, f"x must have a batch and channels, got shape {x}")
    require(groups >= 1 and x[-1] % groups == 0, f"groups must divide the {x[-1]} channels, got {groups}")
    return {"output": x}


OPERATORS: Final = (
    Operator(
        name="channel_shuffle",
        attributes=ChannelShuffle,
        operands=(X,),
        shapes=channel_shuffle_shapes,
        linear=True,
        data=LINEAR,
    ),
)
