"""Fake backends that draw their own numbers: an honest one, and one for each fault that a sample must show."""

import math
from typing import ClassVar

import numpy as np

from conformance.backends.base import Native, Natives
from conformance.case.families.sampling import Initialize, RandomDropout
from conformance.tests.fakes import Honest, stored


class DrawsHonestly(Honest):
    """Uniform and normal kernels of Glorot's and He's schemes, and dropout, from NumPy's own generator."""

    mask_axes: ClassVar[tuple[int, ...]] = ()

    def initialize(self, attributes: Initialize, w: Native) -> Natives:
        generator = np.random.default_rng(attributes.seed)
        into, out = self.fans(w.shape)
        deviation = math.sqrt(2 / (into + out) if attributes.scheme == "glorot" else 2 / into)
        made = {}
        for name in ("output", "again"):
            if attributes.distribution == "uniform":
                numbers = generator.uniform(-1, 1, size=w.shape) * math.sqrt(3)
            else:
                numbers = generator.standard_normal(w.shape)
            made[name] = stored(deviation * numbers, w.format)
        return made

    def fans(self, shape: tuple[int, ...]) -> tuple[int, int]:
        taps = math.prod(shape[:-2])
        return taps * shape[-2], taps * shape[-1]

    def random_dropout(self, attributes: RandomDropout, x: Native) -> Natives:
        generator = np.random.default_rng(attributes.seed)
        shape = tuple(1 if axis in self.mask_axes else size for axis, size in enumerate(x.shape))
        made = {}
        for name in ("output", "again"):
            kept = generator.uniform(size=shape) >= attributes.rate
            made[name] = stored(np.where(kept, x.numbers * self.scale(1 - attributes.rate), 0.0), x.format)
        return made

    def scale(self, keep: float) -> float:
        return 1 / keep


class FansSwapped(DrawsHonestly):
    """Reads a kernel as (taps, out, in)."""

    def fans(self, shape: tuple[int, ...]) -> tuple[int, int]:
        into, out = super().fans(shape)
        return out, into


class SpatialDropout(DrawsHonestly):
    """Drops whole rows."""

    mask_axes: ClassVar[tuple[int, ...]] = (1,)


class DropoutUnscaled(DrawsHonestly):
    """Scales at inference, and not in training."""

    def scale(self, keep: float) -> float:
        return 1.0
