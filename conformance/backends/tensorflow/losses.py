"""TensorFlow's losses: `tf.nn` from logits, Keras' where it has an option that `tf.nn` lacks."""

from collections.abc import Callable
from typing import Any, Final

from conformance.backends.base import CallLog, Native, Recorded, translated, without_native
from conformance.case.families.losses import CrossEntropy, DenseCrossEntropy, Divergence, Loss
from conformance.case.job import is_native

# Keras' names: its plain mean divides by the number of rows that are not masked, whatever they weigh.
_REDUCTIONS: Final = {"mean": "mean_with_sample_weight", "sum": "sum", "none": "none"}


class TensorFlowLosses:
    """A part of the adapter, which brings the framework's modules."""

    log: CallLog
    tf: Recorded
    nn: Recorded
    math: Recorded
    _tf: Any
    compose: Callable[[str], None]

    def softmax_cross_entropy(
        self, attributes: CrossEntropy, logits: Native, labels: Native, weights: Native | None = None
    ) -> Native:
        a = attributes
        # Nothing is ignored by default.
        ignored = None if is_native(a.ignored) else a.ignored
        if not a.smoothing and ignored is None and weights is None:
            losses = self.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
            return self._reduced(a.reduction, losses)
        places = labels
        if ignored is not None:  # whose weight does not matter; any class will do
            places = self.tf.where(self.tf.equal(labels, ignored), self.tf.zeros_like(labels), labels)
        of_rows = None if weights is None else self.tf.gather(weights, places)
        if not a.smoothing:
            return self._keras(a, logits, labels, of_rows)
        self.compose("Keras smooths labels that are one-hot, and ignores none of those")
        shown = self.tf.one_hot(places, logits.shape[1], dtype=logits.dtype)
        losses = self._dense(a.smoothing, logits, shown, weights)
        counted = self.tf.ones_like(losses) if of_rows is None else of_rows
        if ignored is not None:
            counts = self.tf.cast(self.tf.not_equal(labels, ignored), logits.dtype)
            losses, counted = self.tf.multiply(losses, counts), self.tf.multiply(counted, counts)
        if a.reduction != "mean":
            return self._reduced(a.reduction, losses)
        return self.tf.divide(self.tf.reduce_sum(losses), self.tf.reduce_sum(counted))

    def _keras(self, a: CrossEntropy, logits: Native, labels: Native, of_rows: Native | None) -> Native:
        """Keras' loss ignores a class, and weighs rows."""
        options = without_native(
            {
                "from_logits": True,
                "ignore_class": a.ignored,
                "reduction": translated(a.reduction, _REDUCTIONS.__getitem__),
                "dtype": logits.dtype.name,
            }
        )
        loss = self._tf.keras.losses.SparseCategoricalCrossentropy(**options)
        result = loss(labels, logits, sample_weight=of_rows)
        given = ", ".join(f"{name}={value!r}" for name, value in options.items())
        name = f"tf.keras.losses.SparseCategoricalCrossentropy({given})"
        self.log.record(name, (labels, logits), {"sample_weight": of_rows}, result)
        return result

    def _dense(self, smoothing: float, logits: Native, labels: Native, weights: Native | None) -> Native:
        """Losses by row; only the smoothing has to be Keras'."""
        if weights is not None:
            self.compose("TensorFlow's losses know no weights of classes")
            if smoothing:
                classes = logits.shape[1]
                labels = self.tf.add(self.tf.multiply(labels, 1 - smoothing), smoothing / classes)
            told = self.tf.multiply(self.tf.multiply(labels, weights), self.nn.log_softmax(logits))
            return self.tf.negative(self.tf.reduce_sum(told, axis=1))
        if not smoothing:
            return self.nn.softmax_cross_entropy_with_logits(labels=labels, logits=logits)
        options = {"from_logits": True, "label_smoothing": smoothing}
        result = self._tf.keras.losses.categorical_crossentropy(labels, logits, **options)
        self.log.record("tf.keras.losses.categorical_crossentropy", (labels, logits), options, result)
        return result

    def softmax_cross_entropy_dense(
        self, attributes: DenseCrossEntropy, logits: Native, labels: Native, weights: Native | None = None
    ) -> Native:
        return self._reduced(attributes.reduction, self._dense(attributes.smoothing, logits, labels, weights))

    def binary_cross_entropy(
        self,
        attributes: Loss,
        logits: Native,
        labels: Native,
        weights: Native | None = None,
        positive_weights: Native | None = None,
    ) -> Native:
        if positive_weights is None:
            losses = self.nn.sigmoid_cross_entropy_with_logits(labels=labels, logits=logits)
        else:
            losses = self.nn.weighted_cross_entropy_with_logits(labels, logits, positive_weights)
        if weights is not None:
            losses = self.tf.multiply(losses, weights)
        return self._reduced(attributes.reduction, losses)

    def kl_divergence(self, attributes: Divergence, x: Native, targets: Native) -> Native:
        if is_native(attributes.reduction):  # Keras' loss has a default, and takes probabilities
            probabilities = self.tf.exp(x)
            result = self._tf.keras.losses.KLDivergence()(targets, probabilities)
            self.log.record("tf.keras.losses.KLDivergence()", (targets, probabilities), {}, result)
            return result
        self.compose("tf.nn has no divergence")
        own = self.math.xlogy(targets, targets)
        return self._reduced(attributes.reduction, self.tf.subtract(own, self.tf.multiply(targets, x)))

    def mean_squared_error(self, attributes: Loss, x: Native, targets: Native) -> Native:
        return self._reduced(attributes.reduction, self.math.squared_difference(x, targets))

    def _reduced(self, reduction: str, losses: Native) -> Native:
        if is_native(reduction) or reduction == "none":
            return losses
        self.compose("tf.nn reduces no losses")
        if reduction == "batch_mean":
            return self.tf.divide(self.tf.reduce_sum(losses), losses.shape[0])
        return getattr(self.tf, f"reduce_{reduction}")(losses)
