"""PyTorch's networks, run once: the modules with their weights loaded, and autograd through them."""

from collections.abc import Callable, Sequence
from typing import Any

from conformance.backends.base import CallLog, Native, Natives, Program
from conformance.case.operators import INPUT, Chain


class TorchNetworks:
    """A part of the adapter, which brings the framework and the record of its calls."""

    device: str
    log: CallLog
    _torch: Any

    def _network(
        self, program: Program, operands: Natives, cotangents: Natives
    ) -> tuple[Natives, Callable[..., Sequence[Native]]]:
        """Runs a network in its modules.

        Returns:
            The outputs of all layers, and what gives the gradients with respect to sources by name.
        """
        # Modules are classes of torch's: they can be defined once it is imported.
        from conformance.backends.torch.modules import (
            KEPT,
            LEARNED,
            Network,
            channels_first,
            channels_last,
            from_torch,
        )

        chain: Chain = program.attributes
        network = Network(chain, {name: tuple(value.shape) for name, value in operands.items()}).to(self.device)
        owned = {name for name in operands if name.rpartition("/")[2] in (*LEARNED, *KEPT) and "/" in name}
        loaded = {name: network.load(name, operands[name].detach().clone()) for name in owned}
        given = {name: channels_first(value) for name, value in operands.items() if name not in owned}
        found: Natives = network(given.pop(INPUT), given)
        outputs: Natives = {}
        for layer in chain.layers:
            self.log.write(f"{layer.name} = {network.get_submodule(layer.name)}")
            outputs[layer.name] = channels_last(found[layer.name])
            outputs |= network.state(layer)
        wanted = {**operands, **loaded, **found}

        def pull(*names: str) -> list[Native]:
            gradients = self._torch.autograd.grad(
                [found[name] for name in cotangents],
                [wanted[name] for name in names],
                [channels_first(value) for value in cotangents.values()],
                retain_graph=True,
            )
            return [
                from_torch(name, gradient)
                if name in loaded
                else channels_last(gradient)
                if name in found
                else gradient
                for name, gradient in zip(names, gradients, strict=True)
            ]

        return outputs, pull
