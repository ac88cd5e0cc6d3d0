"""What draws its own numbers: kernels that are filled, and dropout. The answer is a sample, judged as one.

Each is drawn twice, one after the other from one generator that the seed starts: `output`, and `again`.
"""

from dataclasses import dataclass
from typing import Final, Literal

from conformance.case.contract import Operand, Operator, Shapes, require
from conformance.case.model import Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class Initialize:
    """The law of a kernel's numbers.

    Attributes:
        scheme: the variance: 2 / (in + out) for glorot, 2 / in for he, 1 / in for lecun, the fans being the receptive
            field times the kernel's last two sizes; `constant` takes `scale` instead.
        distribution: uniform, normal, or normal cut off at twice its deviation and widened to have the variance.
        scale: of the scheme `constant`: the interval's end, or the normal's deviation before it is cut off.
        groups: of the convolution that the kernel is for; no scheme counts them.
        seed: what the framework's own generator starts from.
    """

    scheme: Literal["glorot", "he", "lecun", "constant"] = "glorot"
    distribution: Literal["uniform", "normal", "truncated_normal"] = "uniform"
    scale: float = 0.05
    groups: int = 1
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomDropout:
    """The probability with which an element is dropped; what is kept is divided by 1 - rate."""

    rate: float
    seed: int = 0


def initialize_shapes(attributes: Initialize, shapes: Shapes) -> dict[str, Shape]:
    """A kernel (*receptive field, in / groups, out)."""
    w = shapes["w"]
    if attributes.scheme != "constant":
        require(len(w) >= 2, f"w must have at least 2 axes (..., in, out), got shape {w}")
        require(min(w) >= 1, f"every size of w must be at least 1, got shape {w}")
    require(attributes.scale > 0, f"scale must be above 0, got {attributes.scale}")
    return {"output": w, "again": w}


def random_dropout_shapes(attributes: RandomDropout, shapes: Shapes) -> dict[str, Shape]:
    """Element-wise."""
    require(0 <= attributes.rate < 1, f"rate must be in [0, 1), got {attributes.rate}")
    return {"output": shapes["x"], "again": shapes["x"]}


OPERATORS: Final = (
    Operator(
        name="initialize",
        attributes=Initialize,
        operands=(Operand(name="w", differentiable=False),),
        outputs=("output", "again"),
        shapes=initialize_shapes,
        data=("normal",),
        random=True,
    ),
    Operator(
        name="random_dropout",
        attributes=RandomDropout,
        operands=(Operand(name="x", differentiable=False),),
        outputs=("output", "again"),
        shapes=random_dropout_shapes,
        data=("normal",),
        random=True,
    ),
)
