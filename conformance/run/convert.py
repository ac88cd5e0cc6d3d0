"""One model's weights in another one's layout and names: elements are moved, and no bit of them changes."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from conformance.case.job import Tensor
from conformance.errors import InvalidModel
from conformance.formats import FORMATS
from conformance.models.safetensors import write_safetensors
from conformance.run.hosted import HostedModel
from conformance.run.pairing import pair_layers
from conformance.run.parity import carried_parameters


def convert_weights(
    first: HostedModel,
    second: HostedModel,
    inputs: Sequence[Tensor],
    path: Path,
    names: Mapping[str, str] | None = None,
) -> int:
    """Writes the first model's weights as the second one's own file has them, and counts the parameters.

    Args:
        first: whose weights they are; it runs once, so that layers are known by what they do.
        second: whose layout they get; it runs once, too.
        inputs: channels last.
        path: the safetensors file that is written.
        names: pairs of layers that are given.

    Raises:
        InvalidModel: if a parameter of either has no counterpart.
        ModelFailed: see `HostedModel`.
    """
    one, two = first.run_whole(inputs).layers, second.run(inputs).layers
    pairing = pair_layers(one, two, names)
    carried = carried_parameters(pairing)
    second.put(carried)
    own = second.parameters()
    # Counters of integers are no weights.
    lacking = [name for name, tensor in own.items() if name not in carried and tensor.format in FORMATS]
    given = {native for a, b in pairing.pairs for operand, native in a.parameters.items() if operand in b.parameters}
    left = [name for name, tensor in first.parameters().items() if name not in given and tensor.format in FORMATS]
    if lacking or left:
        told = [f"{whose} keeps {', '.join(each)} alone" for whose, each in _alone(first, left, second, lacking)]
        raise InvalidModel(str(path), f"is not written: {'; '.join(told)}; name pairs of layers with --map")
    write_safetensors(path, own)
    return len(own)


def _alone(
    first: HostedModel, left: Sequence[str], second: HostedModel, lacking: Sequence[str]
) -> list[tuple[str, Sequence[str]]]:
    return [(model.spec.name, names) for model, names in ((first, left), (second, lacking)) if names]
