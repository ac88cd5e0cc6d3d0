"""Losses: how a batch of predictions and what they should have been become numbers to be minimised."""

from dataclasses import dataclass, field
from typing import Any, Final, Literal

from conformance.case.contract import LARGE_LOGITS, LATER, Grown, Operand, Operator, Shapes, require
from conformance.case.model import Shape

Reduction = Literal["mean", "sum", "none"]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class CrossEntropy(Grown):
    """How the losses of a batch become one, and what a label says.

    Attributes:
        reduction: the mean divides by the labels' weights, added up; without weights by the rows that count.
        smoothing: the share of a label that is spread evenly over all classes, its own included.
        ignored: the label whose rows do not count: they lose 0, and the mean does not divide by them.
    """

    reduction: Reduction = "mean"
    smoothing: float = field(default=0.0, metadata=LATER)
    ignored: int | None = field(default=None, metadata=LATER)


@dataclass(frozen=True, slots=True, kw_only=True)
class DenseCrossEntropy:
    """As `CrossEntropy`, of labels that are probabilities: the mean divides by the rows, whatever the weights."""

    reduction: Reduction = "mean"
    smoothing: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """The losses of all elements are averaged over their number, added, or kept."""

    reduction: Reduction = "mean"


@dataclass(frozen=True, slots=True, kw_only=True)
class Divergence:
    """As `Loss`; a batch_mean divides by the rows, as a divergence of distributions is the sum of a row."""

    reduction: Literal["mean", "batch_mean", "sum", "none"] = "mean"


def cross_entropy_shapes(attributes: CrossEntropy, shapes: Shapes) -> dict[str, Shape]:
    """Logits (batch, classes), labels (batch,), weights (classes,) -> () or (batch,)."""
    logits, labels = shapes["logits"], shapes["labels"]
    require(len(logits) == 2, f"logits must have 2 axes (batch, classes), got shape {logits}")
    require(labels == logits[:1], f"labels must have shape {logits[:1]}, one a row of logits, got {labels}")
    _check_classes(attributes, shapes)
    return {"output": labels if attributes.reduction == "none" else ()}


def dense_cross_entropy_shapes(attributes: DenseCrossEntropy, shapes: Shapes) -> dict[str, Shape]:
    """Logits and labels (batch, classes), weights (classes,) -> () or (batch,)."""
    logits, labels = shapes["logits"], shapes["labels"]
    require(len(logits) == 2, f"logits must have 2 axes (batch, classes), got shape {logits}")
    require(labels == logits, f"labels must have the logits' shape {logits}, got {labels}")
    _check_classes(attributes, shapes)
    return {"output": logits[:1] if attributes.reduction == "none" else ()}


def _check_classes(attributes: CrossEntropy | DenseCrossEntropy, shapes: Shapes) -> None:
    classes = shapes["logits"][1:]
    if "weights" in shapes:
        require(shapes["weights"] == classes, f"weights must have shape {classes}, got {shapes['weights']}")
    require(0 <= attributes.smoothing <= 1, f"smoothing must be in [0, 1], got {attributes.smoothing}")


def binary_cross_entropy_shapes(attributes: Loss, shapes: Shapes) -> dict[str, Shape]:
    """Logits, labels and weights of one shape (..., classes), positive weights (classes,) -> () or that shape."""
    logits = shapes["logits"]
    for name in ("labels", "weights"):
        if name in shapes:
            require(shapes[name] == logits, f"{name} must have the logits' shape {logits}, got {shapes[name]}")
    if "positive_weights" in shapes:
        got = shapes["positive_weights"]
        require(got == logits[-1:], f"positive_weights must have shape {logits[-1:]}, one a class, got {got}")
    return _reduced(attributes, logits)


def squared_error_shapes(attributes: Loss | Divergence, shapes: Shapes) -> dict[str, Shape]:
    """Predictions and targets of one shape -> () or that shape."""
    x, targets = shapes["x"], shapes["targets"]
    require(targets == x, f"targets must have x's shape {x}, got {targets}")
    return _reduced(attributes, x)


def divergence_shapes(attributes: Divergence, shapes: Shapes) -> dict[str, Shape]:
    """Logarithms and probabilities of one shape (batch, ...) -> () or that shape."""
    x = shapes["x"]
    require(len(x) >= 1, "x must have an axis at least, of which a batch_mean is taken")
    return squared_error_shapes(attributes, shapes)


def _reduced(attributes: Any, shape: Shape) -> dict[str, Shape]:
    return {"output": shape if attributes.reduction == "none" else ()}


_LOGITS: Final = Operand(name="logits")
_WEIGHTS: Final = Operand(name="weights", differentiable=False, optional=True, domain="non_negative")

OPERATORS: Final = (
    Operator(
        name="softmax_cross_entropy",
        attributes=CrossEntropy,
        operands=(_LOGITS, Operand(name="labels", kind="integer", differentiable=False), _WEIGHTS),
        shapes=cross_entropy_shapes,
        special=LARGE_LOGITS,
    ),
    Operator(
        name="softmax_cross_entropy_dense",
        attributes=DenseCrossEntropy,
        operands=(_LOGITS, Operand(name="labels", domain="shares"), _WEIGHTS),
        shapes=dense_cross_entropy_shapes,
        special=LARGE_LOGITS,
    ),
    Operator(
        name="binary_cross_entropy",
        attributes=Loss,
        operands=(
            _LOGITS,
            Operand(name="labels", domain="unit"),
            _WEIGHTS,
            Operand(name="positive_weights", differentiable=False, optional=True, domain="non_negative"),
        ),
        shapes=binary_cross_entropy_shapes,
        data=("normal",),
    ),
    Operator(
        # What is learned is x; the slope of p log p at 0 is infinite, and no framework's own loss is held to it.
        name="kl_divergence",
        attributes=Divergence,
        operands=(Operand(name="x"), Operand(name="targets", domain="shares", differentiable=False)),
        shapes=divergence_shapes,
        data=("normal",),
    ),
    Operator(
        name="mean_squared_error",
        attributes=Loss,
        operands=(Operand(name="x"), Operand(name="targets")),
        shapes=squared_error_shapes,
        data=("normal",),
    ),
)
