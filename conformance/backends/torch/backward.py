"""PyTorch's gradient kernels, called alone: `torch.nn.grad` for kernels, ATen's own for maxima."""

from abc import abstractmethod
from collections.abc import Callable

from conformance.backends.base import Native, Recorded
from conformance.case.families.backward import MaxPoolGradient, WeightGradient
from conformance.case.geometry import Pads, resolve_pads
from conformance.case.job import is_native
from conformance.errors import NotTranslatable


class TorchBackward:
    """A part of the adapter, which brings the framework's modules."""

    torch: Recorded
    grad: Recorded
    aten: Recorded
    compose: Callable[[str], None]

    @abstractmethod
    def _first(self, x: Native) -> Native:
        """Channels-first, for the framework."""

    @abstractmethod
    def _last(self, y: Native) -> Native:
        """Channels-last again."""

    @abstractmethod
    def _pad(self, x: Native, pads: Pads, value: float = 0.0) -> Native:
        """With a number around the spatial axes."""

    def conv2d_weight_gradient(self, attributes: WeightGradient, x: Native, g: Native) -> Native:
        a, rank = attributes, len(attributes.kernel)
        x, g = self._first(x), self._first(g)
        pads = resolve_pads(a.padding, tuple(x.shape[2:]), a.kernel, a.stride, a.dilation)
        padding = tuple(low for low, _ in pads)
        if any(low != high for low, high in pads):
            self.compose("torch's convolutions pad both ends alike")
            x, padding = self._pad(x, pads), (0,) * rank
        size = (g.shape[1], x.shape[1] // a.groups, *a.kernel)
        y = getattr(self.grad, f"conv{rank}d_weight")(x, size, g, a.stride, padding, a.dilation, a.groups)
        return self.torch.permute(y, (*range(2, rank + 2), 1, 0))

    conv3d_weight_gradient = conv2d_weight_gradient

    def max_pool2d_gradient(self, attributes: MaxPoolGradient, x: Native, indices: Native) -> Native:
        a = attributes
        if not is_native(a.indexed) and a.indexed != "plane":
            raise NotTranslatable("torch's indices count one plane")
        pads = resolve_pads(a.padding, a.size, a.window, a.stride, (1, 1))
        window, stride, padding = a.window, a.stride, tuple(low for low, _ in pads)
        if any(low != high for low, high in pads):
            self.compose("torch's pools pad both ends alike")
            # As many windows of another size: torch checks how many, and goes by the indices.
            counts = tuple(x.shape[1:-1])
            window, stride, padding = tuple(n - m + 1 for n, m in zip(a.size, counts, strict=True)), (1, 1), (0, 0)
        x, indices = self._first(x), self._first(indices)
        image = self.torch.zeros((*x.shape[:2], *a.size), dtype=x.dtype, device=x.device)
        return self._last(
            self.aten.max_pool2d_with_indices_backward(
                x,
                image,
                window,
                stride,
                padding,
                (1, 1),
                False,
                indices,  # of no dilation, without ceil mode
            )
        )
