"""PyTorch's initialisers and dropout, from generators that the seed starts."""

import math
from collections.abc import Callable
from typing import Any

from conformance.backends.base import CallLog, Native, Natives, Recorded
from conformance.case.families.sampling import Initialize, RandomDropout
from conformance.case.job import is_native


class TorchSampling:
    """A part of the adapter, which brings the framework's modules."""

    log: CallLog
    torch: Recorded
    F: Recorded
    own: bool
    compose: Callable[[str], None]
    _torch: Any

    def initialize(self, attributes: Initialize, w: Native) -> Natives:
        if is_native(attributes.scheme):
            return self._of_layer(attributes, w)
        rank = w.ndim - 2
        # A kernel is (out, in, *spatial) in torch.
        shape = (w.shape[-1], w.shape[-2], *w.shape[:-2]) if w.ndim > 1 else tuple(w.shape)
        generator = self._torch.Generator(w.device).manual_seed(attributes.seed)
        self.log.write(f"generator = torch.Generator().manual_seed({attributes.seed})")
        self.log.name(generator, "generator")
        init = Recorded(self._torch.nn.init, "torch.nn.init", self.log)
        made = {}
        for name in ("output", "again"):
            kernel = self.torch.empty(shape, dtype=w.dtype)
            filled = self._filled(init, attributes, kernel, generator)
            made[name] = self.torch.permute(filled, (*range(2, rank + 2), 1, 0)) if w.ndim > 1 else filled
        return made

    def _of_layer(self, a: Initialize, w: Native) -> Natives:
        """The kernels of two layers that are made with nothing but their sizes."""
        rank = w.ndim - 2
        self._torch.manual_seed(a.seed)
        self.log.write(f"torch.manual_seed({a.seed})")
        modules = Recorded(self._torch.nn, "torch.nn", self.log)
        made = {}
        for name in ("output", "again"):
            layer = getattr(modules, f"Conv{rank}d")(
                w.shape[-2] * a.groups, w.shape[-1], tuple(w.shape[:-2]), groups=a.groups, dtype=w.dtype
            )
            kernel = layer.weight
            self.log.write("kernel = {}.weight", layer)
            self.log.name(kernel, "kernel")
            made[name] = self.torch.permute(kernel, (*range(2, rank + 2), 1, 0))
        return made

    def _filled(self, init: Recorded, a: Initialize, kernel: Native, generator: Any) -> Native:
        given = {"generator": generator}
        if a.distribution == "truncated_normal":
            deviation = a.scale
            if a.scheme != "constant":
                self.compose("torch.nn.init cuts off no scheme's normal law")
                # 0.8796 is the deviation of what lies within two of them.
                into, out = (size * math.prod(kernel.shape[2:]) for size in (kernel.shape[1], kernel.shape[0]))
                fan = {"glorot": (into + out) / 2, "he": into / 2, "lecun": into}[a.scheme]
                deviation = math.sqrt(1 / fan) / 0.87962566103423978
            if self.own:  # whose ends are its own
                return init.trunc_normal_(kernel, std=deviation, **given)
            return init.trunc_normal_(kernel, std=deviation, a=-2 * deviation, b=2 * deviation, **given)
        uniform = a.distribution == "uniform"
        if a.scheme == "constant":
            if uniform:
                return init.uniform_(kernel, -a.scale, a.scale, **given)
            return init.normal_(kernel, std=a.scale, **given)
        if a.scheme == "glorot":
            return init.xavier_uniform_(kernel, **given) if uniform else init.xavier_normal_(kernel, **given)
        options = {"nonlinearity": "relu" if a.scheme == "he" else "linear", **given}
        return init.kaiming_uniform_(kernel, **options) if uniform else init.kaiming_normal_(kernel, **options)

    def random_dropout(self, attributes: RandomDropout, x: Native) -> Natives:
        self._torch.manual_seed(attributes.seed)
        self.log.write(f"torch.manual_seed({attributes.seed})")
        return {name: self.F.dropout(x, attributes.rate, training=True) for name in ("output", "again")}
