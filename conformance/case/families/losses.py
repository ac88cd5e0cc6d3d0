"""Losses."""

from dataclasses import dataclass
from typing import Final, Literal

from conformance.case.contract import LARGE_LOGITS, Operand, Operator, Shapes, require
from conformance.case.model import Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossEntropy:
    """How the losses of a batch become one."""

    reduction: Literal["mean", "sum", "none"] = "mean"


def cross_entropy_shapes(attributes: CrossEntropy, shapes: Shapes) -> dict[str, Shape]:
    """Logits (batch, classes), labels (batch,) -> () or (batch,)."""
    logits, labels = shapes["logits"], shapes["labels"]
    require(len(logits) == 2, f"logits must have 2 axes (batch, classes), got shape {logits}")
    require(labels == logits[:1], f"labels must have shape {logits[:1]}, one a row of logits, got {labels}")
    return {"output": labels if attributes.reduction == "none" else ()}


OPERATORS: Final = (
    Operator(
        name="softmax_cross_entropy",
        attributes=CrossEntropy,
        operands=(
            Operand(name="logits"),
            Operand(name="labels", kind="integer", differentiable=False),
        ),
        shapes=cross_entropy_shapes,
        special=LARGE_LOGITS,
    ),
)
