"""Signals in Keras, which has no convolution of them: as images of one channel."""

from conformance.backends.base import Native
from conformance.backends.keras.idiom import KerasIdiom
from conformance.case.families.signals import Signal
from conformance.case.geometry import Pads


class KerasSignals(KerasIdiom):
    """A part of the adapter."""

    def _signal(self, x: Native, w: Native, mode: str, *, flip: bool) -> Native:
        self.compose("Keras has no convolution of signals")
        rank = len(x.shape)
        axes = tuple(range(rank))
        if mode == "valid" and any(n < k for n, k in zip(x.shape, w.shape, strict=True)):
            # The larger one is slid over: convolution commutes, correlation then runs backwards.
            y = self._signal(w, x, mode, flip=flip)
            return y if flip else self.ops.flip(y, axis=axes)
        if flip:
            w = self.ops.flip(w, axis=axes)
        pads: Pads = ((0, 0),) * rank
        if mode == "full":
            pads = tuple((k - 1, k - 1) for k in w.shape)
        elif mode == "same":  # centred on full: starts (k - 1) // 2 elements into it
            pads = tuple((k - 1 - (k - 1) // 2, (k - 1) // 2) for k in w.shape)
        x, w = self.ops.reshape(x, (1, *x.shape, 1)), self.ops.reshape(w, (*w.shape, 1, 1))
        y = self.ops.conv(self.zero_padded(x, pads), w)
        return self.ops.reshape(y, tuple(y.shape[1:-1]))

    def convolve(self, attributes: Signal, x: Native, w: Native) -> Native:
        return self._signal(x, w, attributes.mode, flip=True)

    def correlate(self, attributes: Signal, x: Native, w: Native) -> Native:
        return self._signal(x, w, attributes.mode, flip=False)
