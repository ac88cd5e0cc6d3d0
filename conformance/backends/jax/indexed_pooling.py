"""Maxima with their indices in JAX, which tells none: the taps of all windows side by side, and `jnp.argmax`."""

import math
from abc import abstractmethod
from collections.abc import Callable
from itertools import product

from conformance.backends.base import Native, Natives, Recorded
from conformance.case.families.pooling import IndexedMaxPool, MaxPool, index_weights, place_steps
from conformance.case.geometry import covering_pads, extent, resolve_pads


class JaxIndexedPooling:
    """A part of the adapter, which brings the framework's modules."""

    jnp: Recorded
    lax: Recorded
    compose: Callable[[str], None]

    @abstractmethod
    def _max_pool(self, a: MaxPool, x: Native) -> Native:
        """The maxima."""

    def max_pool1d_with_indices(self, attributes: IndexedMaxPool, x: Native) -> Natives:
        self.compose("JAX's windows tell no indices")
        return {"output": self._max_pool(attributes, x), "indices": self._indices(attributes, x)}

    max_pool2d_with_indices = max_pool3d_with_indices = max_pool1d_with_indices

    def _indices(self, a: IndexedMaxPool, x: Native) -> Native:
        shape, sizes = tuple(x.shape), tuple(x.shape[1:-1])
        pads = resolve_pads(a.padding, sizes, a.window, a.stride, a.dilation)
        ceil_mode = a.ceil_mode and a.padding not in ("same", "same_lower")
        pads = covering_pads(sizes, pads, a.window, a.stride, a.dilation, ceil_mode=ceil_mode)
        if any(map(any, pads)):
            x = self.jnp.pad(x, ((0, 0), *pads, (0, 0)), constant_values=-math.inf)
        counts = tuple(
            (n - extent(k, d)) // s + 1
            for n, k, d, s in zip(x.shape[1:-1], a.window, a.dilation, a.stride, strict=True)
        )
        seen = []
        for tap in product(*map(range, a.window)):
            first = tuple(t * d for t, d in zip(tap, a.dilation, strict=True))
            last = tuple(start + (count - 1) * s + 1 for start, count, s in zip(first, counts, a.stride, strict=True))
            starts, ends = (0, *first, 0), (x.shape[0], *last, x.shape[-1])
            seen.append(self.lax.slice(x, starts, ends, (1, *a.stride, 1)))
        chosen = self.jnp.argmax(self.jnp.stack(seen, axis=-1), axis=-1)
        places = self.jnp.zeros_like(chosen)
        steps = place_steps(a.indexed, sizes)
        along = self.jnp.unravel_index(chosen, a.window)
        for axis, (taps, (low, _), step) in enumerate(zip(along, pads, steps, strict=True)):
            begins = self._along(axis + 1, counts[axis], len(shape))
            at = self.jnp.add(self.jnp.multiply(begins, a.stride[axis]), self.jnp.multiply(taps, a.dilation[axis]))
            places = self.jnp.add(places, self.jnp.multiply(self.jnp.subtract(at, low), step))
        image, place, channel = index_weights(a.indexed, shape)
        places = self.jnp.multiply(places, place)
        for axis, weight in ((0, image), (len(shape) - 1, channel)):
            if weight:
                own = self._along(axis, shape[axis], len(shape))
                places = self.jnp.add(places, self.jnp.multiply(own, weight))
        return places

    def _along(self, axis: int, size: int, axes: int) -> Native:
        """0, 1, 2 and so on along an axis."""
        shape = [1] * axes
        shape[axis] = size
        return self.jnp.reshape(self.jnp.arange(size), shape)
