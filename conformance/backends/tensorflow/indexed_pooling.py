"""TensorFlow's maxima with their indices: of images of two axes, without pads of one's own or dilation."""

import math
from abc import abstractmethod
from collections.abc import Callable

from conformance.backends.base import Native, Natives, Recorded
from conformance.case.families.pooling import IndexedMaxPool, index_weights, place_steps
from conformance.case.geometry import Pads, covering_pads, resolve_pads
from conformance.case.job import is_native
from conformance.case.model import Shape
from conformance.errors import NotTranslatable


class TensorFlowIndexedPooling:
    """A part of the adapter, which brings the framework's modules."""

    tf: Recorded
    nn: Recorded
    math: Recorded
    compose: Callable[[str], None]

    @abstractmethod
    def _pad(self, x: Native, pads: Pads, value: float = 0.0) -> Native:
        """With a number around the spatial axes."""

    def max_pool1d_with_indices(self, attributes: IndexedMaxPool, x: Native) -> Natives:
        self.compose("TensorFlow tells the indices of two spatial axes alone")
        return {
            name: self.tf.squeeze(value, axis=1)
            for name, value in self._located(attributes, self.tf.expand_dims(x, axis=1)).items()
        }

    def max_pool2d_with_indices(self, attributes: IndexedMaxPool, x: Native) -> Natives:
        return self._located(attributes, x)

    def _located(self, a: IndexedMaxPool, x: Native) -> Natives:
        """Of images; what has one spatial axis comes as images of one row."""
        if set(a.dilation) != {1}:
            raise NotTranslatable("TensorFlow tells no indices of dilated windows")
        more = 2 - len(a.window)
        window, stride = (1,) * more + a.window, (1,) * more + a.stride
        shape: Shape = tuple(x.shape)
        sizes = shape[1:-1]
        padding = "VALID"
        pads: Pads = ((0, 0), (0, 0))
        if a.padding == "same":
            padding = "SAME"
        elif a.padding != "valid" or a.ceil_mode:
            self.compose("TensorFlow's maxima with indices have SAME and VALID alone")
            own = resolve_pads(a.padding, sizes[more:], a.window, a.stride, a.dilation)
            given = ((0, 0),) * more + own
            pads = covering_pads(sizes, given, window, stride, (1, 1), ceil_mode=a.ceil_mode)
            x = self._pad(x, pads, -math.inf)
        padded = any(map(any, pads))
        batch = a.indexed if is_native(a.indexed) else a.indexed == "images" and not padded
        y, indices = self.nn.max_pool_with_argmax(x, window, stride, padding, include_batch_in_index=batch)
        if not is_native(a.indexed) and (padded or a.indexed not in ("image", "images")):
            indices = self._counted(a, indices, shape, pads)
        return {"output": y, "indices": indices}

    def _counted(self, a: IndexedMaxPool, indices: Native, x: Shape, pads: Pads) -> Native:
        """Indices into images that were padded by hand, as those that are asked."""
        if a.indexed not in ("image", "images"):
            self.compose("TensorFlow's indices count images with their channels")
        places = self.math.floordiv(indices, x[-1])
        if any(map(any, pads)) or a.indexed == "columns":
            columns, steps, ((top, _), (left, _)) = x[2] + sum(pads[1]), place_steps(a.indexed, x[1:-1]), pads
            rows = self.tf.subtract(self.math.floordiv(places, columns), top)
            across = self.tf.subtract(self.math.floormod(places, columns), left)
            places = self.tf.add(self.tf.multiply(rows, steps[0]), self.tf.multiply(across, steps[1]))
        image, place, channel = index_weights(a.indexed, x)
        if place > 1:
            places = self.tf.multiply(places, place)
        for axis, weight in ((0, image), (3, channel)):
            if weight:
                shape = [1, 1, 1, 1]
                shape[axis] = x[axis]
                own = self.tf.reshape(self.tf.range(x[axis], dtype=indices.dtype), shape)
                places = self.tf.add(places, self.tf.multiply(own, weight))
        return places
