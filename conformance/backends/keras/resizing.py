"""Keras's resizing, patches, and blocks of pixels that become channels."""

from abc import abstractmethod
from math import prod
from typing import Final

from conformance.backends.base import Native, translated
from conformance.backends.keras.idiom import KerasIdiom
from conformance.case.families.arrays import Blocks
from conformance.case.families.convolution import TransposedConvolution
from conformance.case.families.resizing import Resize
from conformance.case.families.windows import Fold, Patches, as_transposed
from conformance.case.geometry import nearest_places, resolve_pads
from conformance.case.job import is_native
from conformance.case.model import Shape
from conformance.errors import NotTranslatable

_INTERPOLATIONS: Final = {"nearest": "nearest", "linear": "bilinear", "cubic": "bicubic"}


class KerasResizing(KerasIdiom):
    """A part of the adapter."""

    @abstractmethod
    def conv2d_transpose(
        self, attributes: TransposedConvolution, x: Native, w: Native, b: Native | None = None
    ) -> Native:
        """The operator of that name."""

    def depth_to_space(self, attributes: Blocks, x: Native) -> Native:
        if not is_native(attributes.order) and attributes.order == "crd":
            self.compose("Keras has the order dcr alone")
            x = self._reordered(x, x.shape[-1] // attributes.block**2, attributes.block**2)
        return self.ops.depth_to_space(x, attributes.block)

    def space_to_depth(self, attributes: Blocks, x: Native) -> Native:
        y = self.ops.space_to_depth(x, attributes.block)
        if is_native(attributes.order) or attributes.order == "dcr":
            return y
        self.compose("Keras has the order dcr alone")
        return self._reordered(y, attributes.block**2, x.shape[-1])

    def _reordered(self, x: Native, outer: int, inner: int) -> Native:
        """Channels that count (outer, inner) as channels that count (inner, outer)."""
        split = self.ops.reshape(x, (*x.shape[:-1], outer, inner))
        return self.ops.reshape(self.ops.swapaxes(split, -1, -2), tuple(x.shape))

    def resize2d(self, attributes: Resize, x: Native) -> Native:
        a, sizes = attributes, tuple(x.shape[1:-1])
        if a.antialias:
            return self._widened(a, x)
        if any(map(is_native, (a.method, a.coordinates, a.rounding, a.coefficient, a.edge))):
            return self.image.resize(x, a.size, interpolation=translated(a.method, _INTERPOLATIONS.__getitem__))
        match a:
            # Elements that are repeated are those of either convention.
            case Resize(method="nearest", coordinates="asymmetric", rounding="floor") if _repeats(sizes, a.size):
                pass
            case Resize(method="nearest", coordinates="half_pixel", rounding="half_up"):
                pass
            case Resize(method="nearest"):
                return self._gathered(a, x)
            case Resize(method="linear", coordinates="half_pixel"):
                pass
            case Resize(method="cubic", coordinates="half_pixel", coefficient=-0.5, edge="renormalize"):
                pass
            case _:
                raise NotTranslatable(
                    "Keras weighs at half pixels alone, its cubic weights are -0.5 and renormalized, and it has no "
                    f"areas; asked is {a}"
                )
        if not _repeats(sizes, a.size):
            return self.image.resize(x, a.size, interpolation=_INTERPOLATIONS[a.method])
        factors = tuple(m // n for m, n in zip(a.size, sizes, strict=True))
        settings = {} if a.method == "nearest" else {"interpolation": _INTERPOLATIONS[a.method]}
        return self.plain("UpSampling2D", x, factors, **settings)

    def _widened(self, a: Resize, x: Native) -> Native:
        """By kernels that are widened where the image shrinks."""
        if a.edge != "renormalize" or (a.method == "cubic" and a.coefficient != -0.5):
            raise NotTranslatable(
                "Keras's widened kernels leave out what is beyond the edge and have a coefficient of -0.5; asked is "
                f"{a}"
            )
        return self.image.resize(x, a.size, interpolation=_INTERPOLATIONS[a.method], antialias=True)

    def _gathered(self, a: Resize, x: Native) -> Native:
        """Rows and columns picked by index, where Keras has another rounding."""
        self.compose("Keras's nearest elements are those of half pixels, rounded up")
        for axis, size in enumerate(a.size, start=1):
            places = nearest_places(x.shape[axis], size, a.coordinates, a.rounding)
            x = self.ops.take(x, list(places), axis=axis)
        return x

    def extract_patches(self, attributes: Patches, x: Native) -> Native:
        a = attributes
        both = max(a.stride) > 1 and max(a.dilation) > 1
        padding = "same" if a.padding == "same" and not both else "valid"
        if padding == "valid":
            x = self.zero_padded(x, resolve_pads(a.padding, tuple(x.shape[1:-1]), a.window, a.stride, a.dilation))
        settings = {} if set(a.dilation) == {1} else {"dilation_rate": a.dilation}
        strides = (1, 1) if both else a.stride
        patches = self.image.extract_patches(x, a.window, strides=strides, padding=padding, **settings)
        if both:
            self.compose("Keras's patches have no strides where they are dilated")
            patches = self.thinned(patches, a.stride)
        return patches if a.order == "channels_last" else self._reordered(patches, prod(a.window), x.shape[-1])

    def fold(self, attributes: Fold, x: Native) -> Native:
        # A transposed convolution whose kernel sets every number of a patch in its place.
        a = attributes
        elements, depth = prod(a.window), x.shape[-1]
        if a.order == "channels_first":
            x = self._reordered(x, depth // elements, elements)
        places = self.ops.eye(depth, dtype=self.dtype_of(x))
        places = self.ops.reshape(places, (*a.window, depth // elements, depth))
        return self.conv2d_transpose(as_transposed(a, tuple(x.shape[1:-1])), x, places)


def _repeats(sizes: Shape, grown: Shape) -> bool:
    """Whether an image grows by whole factors."""
    return all(sizes) and all(m % n == 0 for m, n in zip(grown, sizes, strict=True))
