"""PyTorch's maxima with their indices."""

import math
from abc import abstractmethod
from collections.abc import Callable

from conformance.backends.base import Native, Natives, Recorded
from conformance.case.families.pooling import AveragePool, IndexedMaxPool, MaxPool, index_weights, place_steps
from conformance.case.geometry import Pads, covering_pads
from conformance.case.job import is_native
from conformance.case.model import Shape


class TorchIndexedPooling:
    """A part of the adapter, which brings the framework's modules."""

    torch: Recorded
    F: Recorded
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

    @abstractmethod
    def _pool_pads(self, a: MaxPool | AveragePool, sizes: Shape, dilation: Shape) -> Pads:
        """The pads of a pool, resolved."""

    def max_pool1d_with_indices(self, attributes: IndexedMaxPool, x: Native) -> Natives:
        a, shape = attributes, tuple(x.shape)
        rank, sizes = len(a.window), tuple(x.shape[1:-1])
        pads = self._pool_pads(a, sizes, a.dilation)
        x = self._first(x)
        ceil_mode, padding = a.ceil_mode, tuple(low for low, _ in pads)
        if any(low != high for low, high in pads):
            # Padded by hand with what never wins, up to the end of the last window.
            pads = covering_pads(sizes, pads, a.window, a.stride, a.dilation, ceil_mode=a.ceil_mode)
            x = self._pad(x, pads, -math.inf)
            ceil_mode, padding = False, (0,) * rank
        else:
            pads = ((0, 0),) * rank  # what torch pads itself, it does not count
        function = getattr(self.F, f"max_pool{rank}d_with_indices")
        y, indices = function(x, a.window, stride=a.stride, padding=padding, dilation=a.dilation, ceil_mode=ceil_mode)
        return {"output": self._last(y), "indices": self._counted(a, self._last(indices), shape, pads)}

    max_pool2d_with_indices = max_pool3d_with_indices = max_pool1d_with_indices

    def _counted(self, a: IndexedMaxPool, places: Native, x: Shape, pads: Pads) -> Native:
        """Places in planes that were padded by hand, as the indices that are asked."""
        if is_native(a.indexed):
            return places
        sizes = x[1:-1]
        if any(map(any, pads)) or a.indexed == "columns":
            padded = tuple(n + low + high for n, (low, high) in zip(sizes, pads, strict=True))
            steps = place_steps(a.indexed, sizes)
            along = self.torch.unravel_index(places, padded)
            places = self.torch.zeros_like(places)
            for at, (low, _), step in zip(along, pads, steps, strict=True):
                places = self.torch.add(places, self.torch.sub(at, low), alpha=step)
        if a.indexed == "plane":
            return places
        self.compose("torch's indices count one plane")
        image, place, channel = index_weights(a.indexed, x)
        for axis, weight in ((0, image), (-1, channel)):
            if weight:
                shape = [1] * len(x)
                shape[axis] = x[axis]
                own = self.torch.reshape(self.torch.arange(x[axis], device=places.device), shape)
                places = self.torch.add(self.torch.mul(places, place), own, alpha=weight)
                place = 1
        return places
