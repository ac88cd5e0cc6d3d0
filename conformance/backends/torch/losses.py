"""PyTorch's losses: `torch.nn.functional` has them all, options included."""

from typing import Any

from conformance.backends.base import Native, Recorded, translated
from conformance.case.families.losses import CrossEntropy, DenseCrossEntropy, Divergence, Loss


class TorchLosses:
    """A part of the adapter, which brings the framework's modules."""

    torch: Recorded
    F: Recorded

    def softmax_cross_entropy(
        self, attributes: CrossEntropy, logits: Native, labels: Native, weights: Native | None = None
    ) -> Native:
        options: dict[str, Any] = {} if attributes.ignored is None else {"ignore_index": attributes.ignored}
        return self._cross_entropy(attributes, logits, labels, weights, options)

    def softmax_cross_entropy_dense(
        self, attributes: DenseCrossEntropy, logits: Native, labels: Native, weights: Native | None = None
    ) -> Native:
        return self._cross_entropy(attributes, logits, labels, weights, {})

    def _cross_entropy(
        self,
        a: CrossEntropy | DenseCrossEntropy,
        logits: Native,
        labels: Native,
        weights: Native | None,
        options: dict[str, Any],
    ) -> Native:
        if weights is not None:
            options["weight"] = weights
        if a.smoothing:
            options["label_smoothing"] = a.smoothing
        return self.F.cross_entropy(logits, labels, reduction=a.reduction, **options)

    def binary_cross_entropy(
        self,
        attributes: Loss,
        logits: Native,
        labels: Native,
        weights: Native | None = None,
        positive_weights: Native | None = None,
    ) -> Native:
        return self.F.binary_cross_entropy_with_logits(
            logits, labels, weight=weights, pos_weight=positive_weights, reduction=attributes.reduction
        )

    def kl_divergence(self, attributes: Divergence, x: Native, targets: Native) -> Native:
        reduction = translated(attributes.reduction, lambda name: name.replace("_", ""))
        return self.F.kl_div(x, targets, reduction=reduction)

    def mean_squared_error(self, attributes: Loss, x: Native, targets: Native) -> Native:
        return self.F.mse_loss(x, targets, reduction=attributes.reduction)
