"""Keras's convolutions: layers, and `keras.ops` where those refuse or have no groups."""

from conformance.backends.base import Native
from conformance.backends.keras.idiom import KerasIdiom, unless
from conformance.case.families.convolution import Convolution, TransposedConvolution, settled
from conformance.case.geometry import extent, resolve_pads, transposed_crop
from conformance.errors import NotTranslatable


class KerasConvolution(KerasIdiom):
    """A part of the adapter."""

    def _conv(self, a: Convolution, x: Native, w: Native, b: Native | None) -> Native:
        rank = len(a.stride)
        kernel = tuple(w.shape[:rank])
        both = max(a.stride) > 1 and max(a.dilation) > 1
        padding: str = a.padding if isinstance(a.padding, str) else "valid"
        if both:
            self.compose("Keras's convolutions have no strides where they are dilated")
        if a.padding not in ("same", "valid") or (both and a.padding == "same"):
            if a.padding == "same_lower":
                self.compose("Keras has no SAME_LOWER")
            pads = resolve_pads(a.padding, tuple(x.shape[1:-1]), kernel, a.stride, a.dilation)
            padding = "valid"
            if rank == 1 and not both and pads == ((extent(kernel[0], a.dilation[0]) - 1, 0),) and any(pads[0]):
                padding = "causal"
            else:
                self.compose("Keras's convolutions have no explicit pads")
                x = self.zero_padded(x, pads)
        y = self.weighted(
            f"Conv{rank}D",
            x,
            {"kernel": w, "bias": b},
            w.shape[-1],
            kernel,
            **unless(1, strides=(1,) * rank if both else a.stride),
            **unless("valid", padding=padding),
            **unless(1, dilation_rate=a.dilation, groups=a.groups),
            **unless(True, use_bias=b is not None),
        ).output
        return self.thinned(y, a.stride) if both else y

    def conv1d(self, attributes: Convolution, x: Native, w: Native, b: Native | None = None) -> Native:
        return self._conv(attributes, x, w, b)

    conv2d = conv3d = conv1d

    def _conv_transpose(self, a: TransposedConvolution, x: Native, w: Native, b: Native | None) -> Native:
        if a.pad_mode != "zeros":
            raise NotTranslatable("Keras's transposed convolutions have no circular pads")
        rank = len(a.stride)
        sizes, kernel = tuple(x.shape[1:-1]), tuple(w.shape[:rank])
        if a.output_size:
            self.compose("Keras's transposed convolutions are told output padding, and no size")
            a = settled(a, sizes, kernel)
        if a.padding in ("same", "valid"):
            return self._transposed(a, x, w, b, str(a.padding), None)
        told = _told(a, kernel)
        if told:
            return self._transposed(a, x, w, b, *told)
        starts, outputs = transposed_crop(a.padding, sizes, kernel, a.stride, a.dilation, a.output_padding)
        canvas = tuple(
            (n - 1) * s + extent(k, d) for n, s, k, d in zip(sizes, a.stride, kernel, a.dilation, strict=True)
        )
        if a.padding == "same_lower" or any(starts) or outputs < canvas:
            self.compose("Keras's transposed convolutions have SAME and VALID alone")
        # The whole canvas and what output padding adds, then a slice of it.
        more = tuple(max(start + size - whole, 0) for start, size, whole in zip(starts, outputs, canvas, strict=True))
        late = any(extra >= s for extra, s in zip(more, a.stride, strict=True))
        if late:
            self.compose("Keras's output padding is below the stride")
        y = self._transposed(a, x, w, None if late else b, "valid", (0,) * rank if late else more)
        if late:
            y = self.zero_padded(y, tuple((0, extra) for extra in more))
        crops = tuple(
            (start, whole + extra - start - size)
            for start, whole, extra, size in zip(starts, canvas, more, outputs, strict=True)
        )
        if any(map(any, crops)):
            y = self.plain(f"Cropping{rank}D", y, crops if rank > 1 else crops[0])
        return self.biased(y, b) if late else y

    def _transposed(
        self,
        a: TransposedConvolution,
        x: Native,
        w: Native,
        b: Native | None,
        padding: str,
        output_padding: tuple[int, ...] | None,
    ) -> Native:
        """A layer, or its function by group, or where it is both strided and dilated."""
        if a.groups > 1 or (max(a.stride) > 1 and max(a.dilation) > 1):
            self.compose("Keras's transposed layers have no groups, and no strides where they are dilated")

            def conv(x: Native, w: Native) -> Native:
                return self.ops.conv_transpose(
                    x,
                    w,
                    strides=a.stride,
                    padding=padding,
                    output_padding=output_padding,
                    dilation_rate=a.dilation,
                )

            return self.biased(self.by_group(a.groups, x, w, conv), b)
        return self.weighted(
            f"Conv{len(a.stride)}DTranspose",
            x,
            {"kernel": w, "bias": b},
            w.shape[-2],
            tuple(w.shape[: len(a.stride)]),
            **unless(1, strides=a.stride),
            **unless("valid", padding=padding),
            **unless(None, output_padding=output_padding),
            **unless(1, dilation_rate=a.dilation),
            **unless(True, use_bias=b is not None),
        ).output

    def conv1d_transpose(
        self, attributes: TransposedConvolution, x: Native, w: Native, b: Native | None = None
    ) -> Native:
        return self._conv_transpose(attributes, x, w, b)

    conv2d_transpose = conv3d_transpose = conv1d_transpose


def _told(a: TransposedConvolution, kernel: tuple[int, ...]) -> tuple[str, tuple[int, ...] | None] | None:
    """Explicit pads as SAME or VALID with the output padding with which Keras means them; None where it cannot.

    SAME with output padding of 0 cuts half of the kernel off both ends; every element of it is one that is kept, at
    the two ends by turns, the start first. Left out, it is what makes the size a multiple of the stride.
    """
    if not isinstance(a.padding, tuple):
        return None
    axes = tuple(zip(a.stride, a.dilation, a.output_padding, strict=True))
    if not any(map(any, a.padding)):
        return None if any(s <= more < d for s, d, more in axes) else ("valid", a.output_padding)
    sizes = tuple(extent(k, d) for k, d in zip(kernel, a.dilation, strict=True))
    kept = tuple(
        size - size % 2 - sum(pair) + more
        for size, pair, more in zip(sizes, a.padding, a.output_padding, strict=True)
    )
    starts = tuple(max(size // 2 - (more + 1) // 2, 0) for size, more in zip(sizes, kept, strict=True))
    if starts != tuple(low for low, _ in a.padding):
        return None
    if kept == tuple(s - size % 2 for s, size in zip(a.stride, sizes, strict=True)):
        return "same", None
    return ("same", kept) if all(0 <= more < s for more, s in zip(kept, a.stride, strict=True)) else None
