"""JAX's resizing, patches and the pools beside the ordinary ones."""

from abc import abstractmethod
from math import prod
from typing import Any

from conformance.backends.base import Idiom, Native, Recorded
from conformance.case.families.convolution import TransposedConvolution
from conformance.case.families.resizing import Resize
from conformance.case.families.windows import AdaptivePool, Fold, LpPool, Patches, Unpool, as_transposed
from conformance.case.geometry import adaptive_spans, nearest_places, resolve_pads
from conformance.case.job import is_native
from conformance.case.model import Shape
from conformance.errors import NotTranslatable


class JaxResizing(Idiom):
    """A part of the adapter, which brings the framework's modules."""

    _jax: Any
    jnp: Recorded
    lax: Recorded
    image: Recorded

    @abstractmethod
    def conv2d_transpose(
        self, attributes: TransposedConvolution, x: Native, w: Native, b: Native | None = None
    ) -> Native:
        """The operator of that name."""

    def resize1d(self, attributes: Resize, x: Native) -> Native:
        if self.own:
            if not is_native(attributes.coordinates) and attributes.coordinates != "half_pixel":
                self.compose("jax.image.resize looks at half pixels alone")
            # Its methods go by the harness's own names; what it does before it shrinks is left to it, too.
            return self.image.resize(x, self._resized(x, attributes.size), method=attributes.method)
        match attributes:
            case Resize(method="area", cover="share"):
                return self.image.resize(x, self._resized(x, attributes.size), "area")
            case Resize(method="area"):
                raise NotTranslatable("JAX's area weighs an element by how much of it is covered")
            case Resize(method="linear", antialias=True, edge="clamp"):
                raise NotTranslatable("JAX leaves out what a widened kernel weighs beyond the edge")
            case Resize(method="nearest", coordinates="half_pixel", rounding="half_up"):
                return self.image.resize(x, self._resized(x, attributes.size), "nearest")
            case Resize(method="nearest"):
                return self._gathered(attributes, x)
            case Resize(method="linear"):
                method = "linear"
            case Resize(coefficient=-0.5, edge="renormalize"):
                method = "cubic"
            case Resize(coefficient=-0.75, edge="clamp", antialias=False):
                method = "cubic-pytorch"
            case _:
                raise NotTranslatable(
                    "JAX's cubic weights are -0.5 and renormalized, or -0.75, clamped and never widened; asked is "
                    f"{attributes.coefficient} with {attributes.edge}"
                )
        shape = self._resized(x, attributes.size)
        if attributes.coordinates == "half_pixel":
            return self.image.resize(x, shape, method, antialias=attributes.antialias)
        scale, translation = _warp(attributes, self.sizes(x))
        scale, translation = self.jnp.array(scale, x.dtype), self.jnp.array(translation, x.dtype)
        axes = tuple(range(2, x.ndim) if self.channels_first else range(1, x.ndim - 1))
        return self.image.scale_and_translate(x, shape, axes, scale, translation, method, antialias=False)

    resize2d = resize3d = resize1d

    def _resized(self, x: Native, size: Shape) -> Shape:
        """The shape of images of another size; which axes that concerns JAX sees by itself."""
        return (*x.shape[:2], *size) if self.channels_first else (x.shape[0], *size, x.shape[-1])

    def _gathered(self, a: Resize, x: Native) -> Native:
        """Elements of every axis picked by index, where JAX has another rounding."""
        for axis, size in enumerate(a.size, start=2 if self.channels_first else 1):
            places = nearest_places(x.shape[axis], size, a.coordinates, a.rounding)
            x = self.jnp.take(x, self.jnp.array(places), axis=axis)
        return x

    def extract_patches(self, attributes: Patches, x: Native) -> Native:
        a = attributes
        padding = a.padding.upper() if isinstance(a.padding, str) else a.padding
        patches = self.lax.conv_general_dilated_patches(
            x,
            a.window,
            a.stride,
            padding,
            rhs_dilation=a.dilation,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        if is_native(a.order) or a.order == "channels_first":
            return patches
        self.compose("JAX has the order channels_first alone")
        return self._patches_reordered(patches, x.shape[-1], prod(a.window))

    def fold(self, attributes: Fold, x: Native) -> Native:
        self.compose("JAX has no fold")
        # A transposed convolution whose kernel sets every number of a patch in its place.
        a = attributes
        elements, depth = prod(a.window), x.shape[-1]
        if a.order == "channels_first":
            x = self._patches_reordered(x, depth // elements, elements)
        places = self.jnp.reshape(self.jnp.eye(depth, dtype=x.dtype), (*a.window, depth // elements, depth))
        return self.conv2d_transpose(as_transposed(a, x.shape[1:-1]), x, places)

    def _patches_reordered(self, x: Native, outer: int, inner: int) -> Native:
        """Channels that count (outer, inner) as channels that count (inner, outer)."""
        split = self.jnp.reshape(x, (*x.shape[:-1], outer, inner))
        return self.jnp.reshape(self.jnp.swapaxes(split, -1, -2), x.shape)

    def _window_reduced(self, x: Native, size: tuple[int, int], reduce: str) -> Native:
        for axis, count in enumerate(size, start=1):
            spans = adaptive_spans(x.shape[axis], count)
            parts = [self.lax.slice_in_dim(x, begin, end, axis=axis) for begin, end in spans]
            x = self.jnp.stack([getattr(self.jnp, reduce)(part, axis=axis) for part in parts], axis=axis)
        return x

    def adaptive_average_pool2d(self, attributes: AdaptivePool, x: Native) -> Native:
        self.compose("JAX has no adaptive pools")
        return self._window_reduced(x, attributes.size, "mean")

    def adaptive_max_pool2d(self, attributes: AdaptivePool, x: Native) -> Native:
        self.compose("JAX has no adaptive pools")
        return self._window_reduced(x, attributes.size, "max")

    def lp_pool2d(self, attributes: LpPool, x: Native) -> Native:
        self.compose("JAX has no power pools")
        a = attributes
        if a.p == 2:
            x = self.jnp.square(x)
        elif not a.signed:
            x = self.jnp.abs(x)
        if a.p == 3:
            x = self.jnp.power(x, 3)
        pads = ((0, 0), *resolve_pads(a.padding, tuple(x.shape[1:-1]), a.window, a.stride, (1, 1)), (0, 0))
        sums = self.lax.reduce_window(x, 0.0, self._jax.lax.add, (1, *a.window, 1), (1, *a.stride, 1), pads)
        if a.p == 3:
            return self.jnp.power(sums, 1 / 3)
        return self.jnp.sqrt(sums) if a.p == 2 else sums

    def max_unpool2d(self, attributes: Unpool, x: Native, indices: Native) -> Native:
        self.compose("JAX has no unpooling")
        (batch, *_, channels), (height, width) = x.shape, attributes.size
        if attributes.indexed == "plane":
            indices = self.jnp.add(self.jnp.multiply(indices, channels), self.jnp.arange(channels))
        flat = self.jnp.zeros((batch, height * width * channels), x.dtype)
        places, numbers = (self.jnp.reshape(array, (batch, -1)) for array in (indices, x))
        flat = self.jnp.put_along_axis(flat, places, numbers, axis=1, inplace=False)
        return self.jnp.reshape(flat, (batch, height, width, channels))


def _warp(a: Resize, sizes: tuple[int, ...]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Scale and translation of each axis, in JAX's half pixels.

    Raises:
        NotTranslatable: if an output lies more than half an element beyond the edge, where JAX has zeros.
    """
    scales, translations = [], []
    for n, m in zip(sizes, a.size, strict=True):
        if a.coordinates == "asymmetric" and a.method == "linear" and m > 2 * n:
            raise NotTranslatable(f"JAX has zeros beyond half an element from the edge, {n} to {m} goes there")
        # Where every output is the only element, or there is one output, half pixels of another ratio look at it.
        scale = (m - 1) / (n - 1) if a.coordinates == "align_corners" and min(m, n) > 1 else m / n
        first = a.coordinates == "align_corners" and min(m, n) == 1
        scales.append(1.0 if first and n > 1 else scale)
        translations.append(0.0 if first else 0.5 * (1 - scale))
    return tuple(scales), tuple(translations)
