"""Keras's pools: layers, padded by hand where they have no option for it."""

import math
from math import prod

from conformance.backends.base import Native
from conformance.backends.keras.idiom import KerasIdiom, unless
from conformance.case.contract import NoAttributes
from conformance.case.families.pooling import AveragePool, MaxPool
from conformance.case.families.windows import AdaptivePool, LpPool, Unpool
from conformance.case.geometry import Pads, extent, resolve_pads, window_count
from conformance.case.job import is_native
from conformance.errors import NotTranslatable


class KerasPooling(KerasIdiom):
    """A part of the adapter."""

    def _covered(self, a: MaxPool | AveragePool, sizes: tuple[int, ...], pads: Pads) -> Pads:
        """The pads that reach to the end of the last window."""
        ones = (1,) * len(sizes)
        counts = window_count(sizes, pads, a.window, a.stride, ones, ceil_mode=a.ceil_mode)
        return tuple(
            (low, max((count - 1) * s + extent(k, 1) - n - low, 0))
            for count, s, k, n, (low, _) in zip(counts, a.stride, a.window, sizes, pads, strict=True)
        )

    def _padded(self, x: Native, pads: Pads, value: float) -> Native:
        """With a number around the spatial axes."""
        pads = ((0, 0), *pads, (0, 0))
        return self.ops.pad(x, pads, constant_values=value) if any(map(any, pads)) else x

    def _pool(self, kind: str, a: MaxPool | AveragePool | LpPool, x: Native, padding: str) -> Native:
        strides = {"strides": a.stride} if is_native(a.stride) or a.stride != a.window else {}
        return self.plain(
            f"{kind}Pooling{len(a.window)}D", x, a.window, **strides, **unless("valid", padding=padding)
        )

    def max_pool1d(self, attributes: MaxPool, x: Native) -> Native:
        a = attributes
        if set(a.dilation) != {1}:
            raise NotTranslatable("Keras's pools have no dilation")
        if a.padding in ("same", "valid") and not a.ceil_mode:
            return self._pool("Max", a, x, str(a.padding))
        self.compose("Keras's pools have no explicit pads, no SAME_LOWER and no ceil mode")
        sizes = tuple(x.shape[1:-1])
        covered = self._covered(a, sizes, resolve_pads(a.padding, sizes, a.window, a.stride, a.dilation))
        return self._pool("Max", a, self._padded(x, covered, -math.inf), "valid")

    max_pool2d = max_pool3d = max_pool1d

    def average_pool1d(self, attributes: AveragePool, x: Native) -> Native:
        a = attributes
        if a.padding == "same" and (is_native(a.count_padding) or not a.count_padding) and not a.ceil_mode:
            return self._pool("Average", a, x, "same")
        if a.padding == "valid" and not a.ceil_mode:
            return self._pool("Average", a, x, "valid")
        self.compose("Keras's average pools have neither explicit pads, ceil mode nor a choice of what counts")
        # The mean over the padded input, divided by the share of elements that count where some do not.
        sizes = tuple(x.shape[1:-1])
        pads = resolve_pads(a.padding, sizes, a.window, a.stride, (1,) * len(sizes))
        covered = self._covered(a, sizes, pads)
        mean = self._pool("Average", a, self.zero_padded(x, covered), "valid")
        counted = self.ops.ones_like(x)
        if a.count_padding:
            inside = tuple((low, min(high, end)) for (low, high), (_, end) in zip(pads, covered, strict=True))
            if inside == covered:
                return mean
            counted = self._padded(counted, inside, 1.0)
            covered = tuple((0, end - high) for (_, end), (_, high) in zip(covered, inside, strict=True))
        return self.ops.divide(mean, self._pool("Average", a, self.zero_padded(counted, covered), "valid"))

    average_pool2d = average_pool3d = average_pool1d

    def global_average_pool2d(self, attributes: NoAttributes, x: Native) -> Native:
        return self.plain("GlobalAveragePooling2D", x)

    def global_max_pool2d(self, attributes: NoAttributes, x: Native) -> Native:
        return self.plain("GlobalMaxPooling2D", x)

    def adaptive_average_pool2d(self, attributes: AdaptivePool, x: Native) -> Native:
        return self.plain("AdaptiveAveragePooling2D", x, attributes.size)

    def adaptive_max_pool2d(self, attributes: AdaptivePool, x: Native) -> Native:
        return self.plain("AdaptiveMaxPooling2D", x, attributes.size)

    def lp_pool2d(self, attributes: LpPool, x: Native) -> Native:
        a = attributes
        self.compose("Keras has no pools of norms")
        x = self.zero_padded(x, resolve_pads(a.padding, tuple(x.shape[1:-1]), a.window, a.stride, (1, 1)))
        if a.p == 2:
            x = self.ops.square(x)
        elif not a.signed:
            x = self.ops.absolute(x)
        if a.p == 3:
            x = self.ops.power(x, 3.0)
        sums = self.ops.multiply(self._pool("Average", a, x, "valid"), float(prod(a.window)))
        if a.p == 3:
            return self.ops.power(sums, 1 / 3)
        return self.ops.sqrt(sums) if a.p == 2 else sums

    def max_unpool2d(self, attributes: Unpool, x: Native, indices: Native) -> Native:
        self.compose("Keras has no unpooling")
        (batch, *_, channels), (height, width) = x.shape, attributes.size
        if attributes.indexed == "plane":
            places = self.ops.arange(channels, dtype="int64")
            indices = self.ops.add(self.ops.multiply(indices, channels), places)
        image = self.ops.reshape(self.ops.arange(batch, dtype="int64"), (batch, 1, 1, 1))
        places = self.ops.stack((self.ops.broadcast_to(image, tuple(x.shape)), indices), axis=-1)
        flat = self.ops.scatter(
            self.ops.reshape(places, (-1, 2)), self.ops.reshape(x, (-1,)), (batch, height * width * channels)
        )
        return self.ops.reshape(flat, (batch, height, width, channels))
