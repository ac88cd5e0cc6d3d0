"""PyTorch's normalisations: `torch.nn.functional` on channels-first tensors."""

from abc import abstractmethod
from collections.abc import Callable

from conformance.backends.base import Native, Natives, Recorded, translated
from conformance.case.families.normalization import (
    BatchNorm,
    BatchNormTraining,
    GroupNorm,
    InstanceNorm,
    LayerNorm,
    LocalResponseNorm,
)
from conformance.case.job import is_native


class TorchNormalization:
    """A part of the adapter, which brings the framework's modules and its layout."""

    torch: Recorded
    F: Recorded
    own: bool
    compose: Callable[[str], None]

    @abstractmethod
    def _first(self, x: Native) -> Native:
        """With the channels behind the batch."""

    @abstractmethod
    def _last(self, y: Native) -> Native:
        """With the channels at the end."""

    def batch_norm(
        self,
        attributes: BatchNorm,
        x: Native,
        mean: Native,
        variance: Native,
        scale: Native | None = None,
        offset: Native | None = None,
    ) -> Native:
        y = self.F.batch_norm(self._first(x), mean, variance, weight=scale, bias=offset, eps=attributes.epsilon)
        return self._last(y)

    def batch_norm_training(
        self,
        attributes: BatchNormTraining,
        x: Native,
        mean: Native,
        variance: Native,
        scale: Native | None = None,
        offset: Native | None = None,
    ) -> Natives:
        a, x = attributes, self._first(x)
        # torch's momentum is the share that comes; asked what its own means, it is given the number as it is.
        moved = translated(a.momentum, lambda share: share if self.own else 1 - share)
        settings = {"weight": scale, "bias": offset, "training": True, "eps": a.epsilon}
        if is_native(a.bessel) or a.bessel:
            # Both are changed in place.
            mean, variance = self.torch.clone(mean), self.torch.clone(variance)
            y = self.F.batch_norm(x, mean, variance, momentum=moved, **settings)
        else:
            self.compose("torch's running variance always divides by n - 1")
            y = self.F.batch_norm(x, None, None, **settings)
            axes = (0, *range(2, x.ndim))
            new_variance, new_mean = self.torch.var_mean(x, axes, correction=0)
            mean = self.torch.lerp(mean, new_mean, moved)
            variance = self.torch.lerp(variance, new_variance, moved)
        return {"output": self._last(y), "mean": mean, "variance": variance}

    def layer_norm(
        self, attributes: LayerNorm, x: Native, scale: Native | None = None, offset: Native | None = None
    ) -> Native:
        axes = tuple(axis + x.ndim if axis < 0 else axis for axis in attributes.axes)
        order = (*(axis for axis in range(x.ndim) if axis not in axes), *axes)
        ordered = order == tuple(range(x.ndim))
        if not ordered:
            x = self.torch.permute(x, order)
        y = self.F.layer_norm(x, tuple(x.shape[-len(axes) :]), weight=scale, bias=offset, eps=attributes.epsilon)
        return y if ordered else self.torch.permute(y, tuple(order.index(axis) for axis in range(x.ndim)))

    def group_norm(
        self, attributes: GroupNorm, x: Native, scale: Native | None = None, offset: Native | None = None
    ) -> Native:
        a = attributes
        return self._last(self.F.group_norm(self._first(x), a.groups, weight=scale, bias=offset, eps=a.epsilon))

    def instance_norm(
        self, attributes: InstanceNorm, x: Native, scale: Native | None = None, offset: Native | None = None
    ) -> Native:
        return self._last(self.F.instance_norm(self._first(x), weight=scale, bias=offset, eps=attributes.epsilon))

    def local_response_norm(self, attributes: LocalResponseNorm, x: Native) -> Native:
        a = attributes
        x = self._first(x)
        flat = x.ndim == 2
        if flat:  # at least one spatial axis is asked
            x = self.torch.unsqueeze(x, -1)
        turned = not is_native(a.extra) and a.extra == "high" and a.size % 2 == 0
        if turned:
            self.compose("the longer half of torch's even windows lies before the channel")
            x = self.torch.flip(x, (1,))
        alpha = a.alpha
        if not is_native(a.alpha_of) and a.alpha_of == "sum":
            self.compose("torch multiplies the mean by alpha")
            alpha = a.alpha * a.size
        y = self.F.local_response_norm(x, size=a.size, alpha=alpha, beta=a.beta, k=a.bias)
        if turned:
            y = self.torch.flip(y, (1,))
        return self._last(self.torch.squeeze(y, -1) if flat else y)
