"""PyTorch's resizing, patches and the pools beside the ordinary ones."""

from abc import abstractmethod
from collections.abc import Callable
from math import prod
from typing import Any, Final

from conformance.backends.base import Native, Recorded, translated
from conformance.case.families.resizing import Resize
from conformance.case.families.windows import AdaptivePool, Fold, FractionalPool, LpPool, Patches, Unpool
from conformance.case.geometry import Pads, nearest_places, resolve_pads
from conformance.case.job import is_native
from conformance.errors import NotTranslatable

# The names of the weighted modes say how many axes they have.
MODES: Final = (
    {"nearest": "nearest", "linear": "linear"},
    {"nearest": "nearest", "linear": "bilinear", "cubic": "bicubic"},
    {"nearest": "nearest", "linear": "trilinear"},
)


class TorchResizing:
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

    def resize1d(self, attributes: Resize, x: Native) -> Native:
        modes = MODES[x.ndim - 3]
        if not is_native(attributes.method) and attributes.method == "area":
            if not is_native(attributes.cover) and attributes.cover != "whole":
                raise NotTranslatable("torch's mode area counts an element that is covered in part as a whole")
            return self._last(self.F.interpolate(self._first(x), size=attributes.size, mode="area"))
        if attributes.antialias:
            return self._smoothed(attributes, x)
        if any(map(is_native, (attributes.method, attributes.coordinates, attributes.coefficient))):
            mode = translated(attributes.method, modes.__getitem__)
            # The modes that are not said decide about coordinates, too.
            aligned = translated(attributes.coordinates, lambda name: name == "align_corners")
            return self._last(
                self.F.interpolate(self._first(x), size=attributes.size, mode=mode, align_corners=aligned)
            )
        match attributes:
            case Resize(method="nearest", coordinates="asymmetric", rounding="floor"):
                options: dict[str, Any] = {"mode": "nearest"}
            case Resize(method="nearest", coordinates="half_pixel", rounding="half_up"):
                options = {"mode": "nearest-exact"}
            case Resize(method="nearest"):
                return self._gathered(attributes, x)
            case Resize(method="linear", coordinates="half_pixel" | "align_corners" as coordinates):
                options = {"mode": modes["linear"], "align_corners": coordinates == "align_corners"}
            case Resize(
                method="cubic",
                coordinates="half_pixel" | "align_corners" as coordinates,
                coefficient=-0.75,
                edge="clamp",
            ) if "cubic" in modes:
                options = {"mode": "bicubic", "align_corners": coordinates == "align_corners"}
            case _:
                raise NotTranslatable(
                    "torch interpolates at half pixels or with aligned corners, images cubically with a coefficient "
                    f"of -0.75 and clamped edges; asked is {attributes}"
                )
        return self._last(self.F.interpolate(self._first(x), size=attributes.size, **options))

    resize2d = resize3d = resize1d

    def _smoothed(self, a: Resize, x: Native) -> Native:
        """With a widened kernel."""
        match a:
            case Resize(method="linear", edge="renormalize"):
                mode = "bilinear"
            case Resize(method="cubic", coefficient=-0.5, edge="renormalize"):
                mode = "bicubic"
            case _:
                mode = ""
        if not mode or x.ndim != 4:
            raise NotTranslatable(
                "torch widens kernels of images alone, leaves out what is beyond the edge, and has a coefficient of "
                f"-0.5 there; asked is {a}"
            )
        return self._last(
            self.F.interpolate(self._first(x), size=a.size, mode=mode, align_corners=False, antialias=True)
        )

    def _gathered(self, a: Resize, x: Native) -> Native:
        """Elements of every axis picked by index."""
        self.compose("no mode of torch picks these elements")
        for axis, size in enumerate(a.size, start=1):
            places = nearest_places(x.shape[axis], size, a.coordinates, a.rounding)
            x = self.torch.index_select(x, axis, self.torch.tensor(places, device=x.device))
        return x

    def extract_patches(self, attributes: Patches, x: Native) -> Native:
        a = attributes
        pads = resolve_pads(a.padding, tuple(x.shape[1:-1]), a.window, a.stride, a.dilation)
        batch, channels = x.shape[0], x.shape[-1]
        counts = tuple(
            (n + sum(pair) - (k - 1) * d - 1) // s + 1
            for n, pair, k, d, s in zip(x.shape[1:-1], pads, a.window, a.dilation, a.stride, strict=True)
        )
        x = self._first(x)
        padding = tuple(low for low, _ in pads)
        if any(low != high for low, high in pads):
            self.compose("torch's patches pad both ends alike")
            x, padding = self._pad(x, pads), (0, 0)
        columns = self.F.unfold(x, a.window, dilation=a.dilation, padding=padding, stride=a.stride)
        if not is_native(a.order) and a.order == "channels_last":
            self.compose("torch has the order channels_first alone")
            columns = self._reordered_columns(columns, channels, prod(a.window))
        return self._last(self.torch.reshape(columns, (batch, prod(a.window) * channels, *counts)))

    def fold(self, attributes: Fold, x: Native) -> Native:
        a = attributes
        pads = resolve_pads(a.padding, a.size, a.window, a.stride, a.dilation)
        elements = prod(a.window)
        columns = self.torch.flatten(self._first(x), 2)
        if not is_native(a.order) and a.order == "channels_last":
            self.compose("torch has the order channels_first alone")
            columns = self._reordered_columns(columns, elements, x.shape[-1] // elements)
        if all(low == high for low, high in pads):
            padding = tuple(low for low, _ in pads)
            return self._last(
                self.F.fold(columns, a.size, a.window, dilation=a.dilation, padding=padding, stride=a.stride)
            )
        self.compose("torch crops both ends of a folded image alike")
        # The whole padded image, then a slice of it.
        whole = tuple(n + sum(pair) for n, pair in zip(a.size, pads, strict=True))
        y = self.F.fold(columns, whole, a.window, dilation=a.dilation, stride=a.stride)
        for axis, ((low, _), n) in enumerate(zip(pads, a.size, strict=True), start=2):
            y = self.torch.narrow(y, axis, low, n)
        return self._last(y)

    def _reordered_columns(self, columns: Native, outer: int, inner: int) -> Native:
        """Patches that count (outer, inner) as patches that count (inner, outer)."""
        split = self.torch.unflatten(columns, 1, (outer, inner))
        return self.torch.flatten(self.torch.transpose(split, 1, 2), 1, 2)

    def adaptive_average_pool2d(self, attributes: AdaptivePool, x: Native) -> Native:
        return self._last(self.F.adaptive_avg_pool2d(self._first(x), attributes.size))

    def adaptive_max_pool2d(self, attributes: AdaptivePool, x: Native) -> Native:
        return self._last(self.F.adaptive_max_pool2d(self._first(x), attributes.size))

    def fractional_max_pool2d(self, attributes: FractionalPool, x: Native, samples: Native) -> Native:
        # torch's samples are of columns, and then of rows.
        samples = self.torch.flip(samples, (-1,))
        x = self._first(x)
        return self._last(
            self.F.fractional_max_pool2d(x, attributes.window, output_size=attributes.size, _random_samples=samples)
        )

    def lp_pool2d(self, attributes: LpPool, x: Native) -> Native:
        a = attributes
        pads = resolve_pads(a.padding, tuple(x.shape[1:-1]), a.window, a.stride, (1, 1))
        x = self._first(x)
        if any(map(any, pads)):
            self.compose("torch's power pools have no padding")
            x = self._pad(x, pads)
        if a.p % 2 and not is_native(a.signed) and not a.signed:
            self.compose("torch takes the power of x as it is")
            x = self.torch.abs(x)
        return self._last(self.F.lp_pool2d(x, a.p, a.window, stride=a.stride))

    def max_unpool2d(self, attributes: Unpool, x: Native, indices: Native) -> Native:
        if not is_native(attributes.indexed) and attributes.indexed != "plane":
            raise NotTranslatable("torch's indices count one plane")
        # A window that ends where the output does: torch checks the size against the pool's, and goes by the indices.
        window = tuple(n - count + 1 for n, count in zip(attributes.size, x.shape[1:-1], strict=True))
        x, indices = self._first(x), self._first(indices)
        return self._last(self.F.max_unpool2d(x, indices, window, (1, 1), output_size=attributes.size))
