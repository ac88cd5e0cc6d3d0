"""JAX's losses: recipes out of `jax.nn`, as its users write them."""

from collections.abc import Callable

from conformance.backends.base import Native, Recorded
from conformance.case.families.losses import CrossEntropy, DenseCrossEntropy, Divergence, Loss


class JaxLosses:
    """A part of the adapter, which brings the framework's modules."""

    jnp: Recorded
    nn: Recorded
    compose: Callable[[str], None]

    def softmax_cross_entropy(
        self, attributes: CrossEntropy, logits: Native, labels: Native, weights: Native | None = None
    ) -> Native:
        self.compose("JAX has no cross entropy")
        a = attributes
        counts = None
        if a.ignored is not None:
            counts = self.jnp.not_equal(labels, a.ignored)
            labels = self.jnp.where(counts, labels, 0)
        if a.smoothing:
            shown = self.nn.one_hot(labels, logits.shape[1], dtype=logits.dtype)
            losses = self._dense(a.smoothing, logits, shown, weights)
        else:
            picked = self.jnp.take_along_axis(self.nn.log_softmax(logits), self.jnp.expand_dims(labels, 1), axis=1)
            losses = self.jnp.negative(self.jnp.squeeze(picked, 1))
        of_rows = None if weights is None else self.jnp.take(weights, labels)
        if of_rows is not None and not a.smoothing:
            losses = self.jnp.multiply(losses, of_rows)
        if counts is not None:
            losses = self.jnp.where(counts, losses, 0.0)
            of_rows = self.jnp.where(counts, self.jnp.ones_like(losses) if of_rows is None else of_rows, 0.0)
        if a.reduction != "mean" or of_rows is None:
            return self._reduced(a.reduction, losses)
        return self.jnp.divide(self.jnp.sum(losses), self.jnp.sum(of_rows))

    def softmax_cross_entropy_dense(
        self, attributes: DenseCrossEntropy, logits: Native, labels: Native, weights: Native | None = None
    ) -> Native:
        self.compose("JAX has no cross entropy")
        return self._reduced(attributes.reduction, self._dense(attributes.smoothing, logits, labels, weights))

    def _dense(self, smoothing: float, logits: Native, labels: Native, weights: Native | None) -> Native:
        if smoothing:
            labels = self.jnp.add(self.jnp.multiply(labels, 1 - smoothing), smoothing / logits.shape[1])
        if weights is not None:
            labels = self.jnp.multiply(labels, weights)
        return self.jnp.negative(self.jnp.sum(self.jnp.multiply(labels, self.nn.log_softmax(logits)), axis=1))

    def binary_cross_entropy(
        self,
        attributes: Loss,
        logits: Native,
        labels: Native,
        weights: Native | None = None,
        positive_weights: Native | None = None,
    ) -> Native:
        self.compose("JAX has no cross entropy")  # the recipe is Optax's
        yes = self.jnp.multiply(labels, self.nn.log_sigmoid(logits))
        if positive_weights is not None:
            yes = self.jnp.multiply(yes, positive_weights)
        no = self.jnp.multiply(self.jnp.subtract(1.0, labels), self.nn.log_sigmoid(self.jnp.negative(logits)))
        losses = self.jnp.negative(self.jnp.add(yes, no))
        if weights is not None:
            losses = self.jnp.multiply(losses, weights)
        return self._reduced(attributes.reduction, losses)

    def kl_divergence(self, attributes: Divergence, x: Native, targets: Native) -> Native:
        self.compose("JAX has no divergence of logarithms")
        # Optax's recipe.
        logs = self.jnp.where(self.jnp.equal(targets, 0.0), 0.0, self.jnp.log(targets))
        losses = self.jnp.multiply(targets, self.jnp.subtract(logs, x))
        return self._reduced(attributes.reduction, losses)

    def mean_squared_error(self, attributes: Loss, x: Native, targets: Native) -> Native:
        self.compose("JAX has no squared error")
        return self._reduced(attributes.reduction, self.jnp.square(self.jnp.subtract(x, targets)))

    def _reduced(self, reduction: str, losses: Native) -> Native:
        if reduction == "batch_mean":
            return self.jnp.divide(self.jnp.sum(losses), losses.shape[0])
        return losses if reduction == "none" else getattr(self.jnp, reduction)(losses)
