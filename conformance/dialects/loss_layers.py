"""Losses of `torch.nn` and `keras.losses`, read: what they ask of predictions of a shape.

Weights are arrays, which a call names.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from conformance.case.contract import require
from conformance.case.families.losses import CrossEntropy, DenseCrossEntropy, Divergence, Loss, Reduction
from conformance.case.model import Shape
from conformance.dialects.model import Question, Step
from conformance.dialects.source import NAMED, Call, Signature

Read = Callable[[Call, Shape], Step]

_OLD: Final[Signature] = {"size_average": None, "reduce": None}
_REDUCED: Final[Signature] = {"reduction": "mean"}
_KERAS_REDUCED: Final[Signature] = {"reduction": "sum_over_batch_size"}
_SMOOTHED: Final[Signature] = {"from_logits": False, "label_smoothing": 0.0, "axis": -1, **_KERAS_REDUCED}
_TORCH_REDUCTIONS: Final[Mapping[str, Reduction]] = {"mean": "mean", "sum": "sum", "none": "none"}
_KERAS_REDUCTIONS: Final[Mapping[str, Reduction]] = {"sum_over_batch_size": "mean", "sum": "sum", "none": "none"}
# What torch ignores by default; no label is negative.
_NOTHING: Final = -100

TORCH_SIGNATURES: Final[Mapping[str, Signature]] = MappingProxyType(
    {
        "CrossEntropyLoss": {
            "weight": NAMED,
            "size_average": None,
            "ignore_index": _NOTHING,
            "reduce": None,
            "reduction": "mean",
            "label_smoothing": 0.0,
        },
        "BCEWithLogitsLoss": {"weight": NAMED, **_OLD, **_REDUCED, "pos_weight": NAMED},
        "KLDivLoss": {**_OLD, **_REDUCED, "log_target": False},
        "MSELoss": {**_OLD, **_REDUCED},
    }
)
KERAS_SIGNATURES: Final[Mapping[str, Signature]] = MappingProxyType(
    {
        "SparseCategoricalCrossentropy": {"from_logits": False, "ignore_class": None, **_KERAS_REDUCED, "axis": -1},
        "CategoricalCrossentropy": _SMOOTHED,
        "BinaryCrossentropy": _SMOOTHED,
        "MeanSquaredError": _KERAS_REDUCED,
    }
)


def _step(call: Call, operator: str, attributes: object, **shapes: Shape) -> Step:
    return Step(text=call.text, questions=(Question(operator=operator, attributes=attributes, shapes=shapes),))


def _rows(call: Call, x: Shape) -> Shape:
    require(len(x) == 2, f"{call.layer} is read of logits (batch, classes); flatten images before it, got shape {x}")
    return x[:1]


def _reduction(call: Call) -> Reduction:
    call.only("size_average", None)
    call.only("reduce", None)
    return _TORCH_REDUCTIONS[call.word("reduction", tuple(_TORCH_REDUCTIONS))]


def _torch_cross_entropy(call: Call, x: Shape) -> Step:
    ignored = call.arguments["ignore_index"]
    if not isinstance(ignored, int):
        raise call.fault(f"ignore_index must be an integer, got {ignored!r}")
    attributes = CrossEntropy(
        reduction=_reduction(call),
        smoothing=call.number("label_smoothing"),
        ignored=None if ignored == _NOTHING else ignored,
    )
    weights = {"weights": x[1:]} if call.given("weight") else {}
    return _step(call, "softmax_cross_entropy", attributes, logits=x, labels=_rows(call, x), **weights)


def _torch_binary(call: Call, x: Shape) -> Step:
    weights = {"weights": x} if call.given("weight") else {}
    if call.given("pos_weight"):
        weights["positive_weights"] = x[-1:]
    return _step(call, "binary_cross_entropy", Loss(reduction=_reduction(call)), logits=x, labels=x, **weights)


def _torch_divergence(call: Call, x: Shape) -> Step:
    call.only("log_target", False)
    batch = call.arguments["reduction"] == "batchmean"
    attributes = Divergence(reduction="batch_mean" if batch else _reduction(call))
    return _step(call, "kl_divergence", attributes, x=x, targets=x)


def _torch_squared_error(call: Call, x: Shape) -> Step:
    return _step(call, "mean_squared_error", Loss(reduction=_reduction(call)), x=x, targets=x)


def _keras_reduction(call: Call) -> Reduction:
    return _KERAS_REDUCTIONS[call.word("reduction", tuple(_KERAS_REDUCTIONS))]


def _of_logits(call: Call) -> None:
    if not call.flag("from_logits"):
        raise call.fault("it is read with from_logits=True alone; probabilities are cut off at 1e-7 before it")
    call.only("axis", -1)


def _keras_cross_entropy(call: Call, x: Shape) -> Step:
    _of_logits(call)
    ignored = call.arguments["ignore_class"]
    if ignored is not None and not isinstance(ignored, int):
        raise call.fault(f"ignore_class must be an integer, got {ignored!r}")
    attributes = CrossEntropy(reduction=_keras_reduction(call), ignored=ignored)
    return _step(call, "softmax_cross_entropy", attributes, logits=x, labels=_rows(call, x))


def _keras_dense_cross_entropy(call: Call, x: Shape) -> Step:
    _of_logits(call)
    _rows(call, x)
    attributes = DenseCrossEntropy(reduction=_keras_reduction(call), smoothing=call.number("label_smoothing"))
    return _step(call, "softmax_cross_entropy_dense", attributes, logits=x, labels=x)


def _keras_binary(call: Call, x: Shape) -> Step:
    _of_logits(call)
    call.only("label_smoothing", 0.0, 0)
    # Its other reductions average over the last axis first.
    call.only("reduction", "sum_over_batch_size")
    return _step(call, "binary_cross_entropy", Loss(), logits=x, labels=x)


def _keras_squared_error(call: Call, x: Shape) -> Step:
    call.only("reduction", "sum_over_batch_size")
    return _step(call, "mean_squared_error", Loss(), x=x, targets=x)


TORCH: Final[Mapping[str, Read]] = MappingProxyType(
    {
        "CrossEntropyLoss": _torch_cross_entropy,
        "BCEWithLogitsLoss": _torch_binary,
        "KLDivLoss": _torch_divergence,
        "MSELoss": _torch_squared_error,
    }
)
KERAS: Final[Mapping[str, Read]] = MappingProxyType(
    {
        "SparseCategoricalCrossentropy": _keras_cross_entropy,
        "CategoricalCrossentropy": _keras_dense_cross_entropy,
        "BinaryCrossentropy": _keras_binary,
        "MeanSquaredError": _keras_squared_error,
    }
)
