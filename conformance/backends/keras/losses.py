"""Keras's losses: one class each, from logits."""

from collections.abc import Callable
from typing import Any, Final

from conformance.backends.base import Native, translated
from conformance.backends.keras.idiom import KerasIdiom
from conformance.case.families.losses import CrossEntropy, DenseCrossEntropy, Loss
from conformance.case.job import is_native

# Keras's names: its plain mean divides by the number of rows that are not masked, whatever they weigh.
_REDUCTIONS: Final = {"mean": "sum_over_batch_size", "sum": "sum", "none": "none"}


class KerasLosses(KerasIdiom):
    """A part of the adapter."""

    def _loss(
        self, kind: str, truth: Native, prediction: Native, weights: Native | None = None, **settings: Any
    ) -> Native:
        """Makes a loss and calls it."""
        loss = getattr(self.losses, kind)(**settings, dtype=self.dtype_of(prediction))
        more = {} if weights is None else {"sample_weight": weights}
        return self.called(loss, truth, prediction, **more)

    def softmax_cross_entropy(
        self, attributes: CrossEntropy, logits: Native, labels: Native, weights: Native | None = None
    ) -> Native:
        a = attributes
        if a.smoothing and not is_native(a.smoothing):
            return self._smoothed(a, logits, labels, weights)
        reduction = translated(a.reduction, _REDUCTIONS.__getitem__)
        of_rows = None
        if weights is not None:
            self.compose("Keras's losses know weights of rows, not of classes")
            of_rows = self.ops.take(weights, self._counted(a, labels)[0])
            if reduction == "sum_over_batch_size":
                reduction = "mean_with_sample_weight"
        ignored = {} if a.ignored is None else {"ignore_class": a.ignored}
        return self._loss(
            "SparseCategoricalCrossentropy",
            labels,
            logits,
            of_rows,
            from_logits=True,
            reduction=reduction,
            **ignored,
        )

    def _counted(self, a: CrossEntropy, labels: Native) -> tuple[Native, Native | None]:
        """Labels that are classes, and which of them count; none is left out where that is None."""
        if a.ignored is None or is_native(a.ignored):
            return labels, None
        counts = self.ops.not_equal(labels, a.ignored)
        return self.ops.where(counts, labels, self.ops.zeros_like(labels)), counts

    def _smoothed(self, a: CrossEntropy, logits: Native, labels: Native, weights: Native | None) -> Native:
        self.compose("Keras smooths labels that are one-hot, and ignores none of those")
        places, counts = self._counted(a, labels)
        shown = self.ops.one_hot(places, logits.shape[1], dtype=self.dtype_of(logits))
        of_rows = None if weights is None else self.ops.take(weights, places)
        if counts is not None:
            counts = self.ops.cast(counts, self.dtype_of(logits))
            of_rows = counts if of_rows is None else self.ops.multiply(of_rows, counts)
        if weights is None:
            reduction = _REDUCTIONS[a.reduction] if a.reduction != "mean" else "mean_with_sample_weight"
            return self._loss(
                "CategoricalCrossentropy",
                shown,
                logits,
                of_rows,
                from_logits=True,
                label_smoothing=a.smoothing,
                reduction=reduction,
            )
        losses = self._weighed(a.smoothing, logits, shown, weights)
        if counts is not None:
            losses = self.ops.multiply(losses, counts)
        if a.reduction == "mean":
            return self.ops.divide(self.ops.sum(losses), self.ops.sum(of_rows))
        return self._reduced(a.reduction, losses)

    def softmax_cross_entropy_dense(
        self, attributes: DenseCrossEntropy, logits: Native, labels: Native, weights: Native | None = None
    ) -> Native:
        a = attributes
        if weights is not None:
            return self._reduced(a.reduction, self._weighed(a.smoothing, logits, labels, weights))
        smoothing = {} if not is_native(a.smoothing) and not a.smoothing else {"label_smoothing": a.smoothing}
        return self._loss(
            "CategoricalCrossentropy",
            labels,
            logits,
            from_logits=True,
            **smoothing,
            reduction=translated(a.reduction, _REDUCTIONS.__getitem__),
        )

    def _weighed(self, smoothing: float, logits: Native, labels: Native, weights: Native) -> Native:
        """Losses by row whose classes have weights."""
        self.compose("Keras's losses know weights of rows, not of classes")
        if smoothing:
            spread = smoothing / logits.shape[1]
            labels = self.ops.add(self.ops.multiply(labels, 1 - smoothing), spread)
        told = self.ops.multiply(self.ops.multiply(labels, weights), self.ops.log_softmax(logits))
        return self.ops.negative(self.ops.sum(told, axis=1))

    def binary_cross_entropy(
        self,
        attributes: Loss,
        logits: Native,
        labels: Native,
        weights: Native | None = None,
        positive_weights: Native | None = None,
    ) -> Native:
        if positive_weights is None:
            return self._by_element("BinaryCrossentropy", attributes, labels, logits, weights, from_logits=True)
        self.compose("Keras's binary cross-entropy has no weight of positive labels")
        positive = self.ops.multiply(
            self.ops.multiply(labels, positive_weights), self.ops.softplus(self.ops.negative(logits))
        )
        negative = self.ops.multiply(self.ops.subtract(1.0, labels), self.ops.softplus(logits))
        losses = self.ops.add(positive, negative)
        if weights is not None:
            losses = self.ops.multiply(losses, weights)
        return self._reduced(attributes.reduction, losses)

    def mean_squared_error(self, attributes: Loss, x: Native, targets: Native) -> Native:
        return self._by_element("MeanSquaredError", attributes, targets, x, None)

    def _by_element(
        self, kind: str, a: Loss, truth: Native, prediction: Native, weights: Native | None, **settings: Any
    ) -> Native:
        """A loss that averages over the last axis first: which one of size 1 makes a mean of one element each."""
        reduction = translated(a.reduction, _REDUCTIONS.__getitem__)
        if self.own and weights is None:
            return self._loss(kind, truth, prediction, reduction=reduction, **settings)
        if a.reduction == "mean" and weights is None:
            return self._loss(kind, truth, prediction, reduction=reduction, **settings)
        self.compose("Keras's losses average over the last axis")

        def apart(value: Native) -> Native:
            return self.ops.expand_dims(value, -1)

        return self._loss(kind, apart(truth), apart(prediction), weights, reduction=reduction, **settings)

    def _reduced(self, reduction: str, losses: Native) -> Native:
        if reduction == "none":
            return losses
        function: Callable[[Native], Native] = getattr(self.ops, reduction)
        return function(losses)
