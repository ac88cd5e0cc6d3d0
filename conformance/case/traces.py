"""A user's own model as it travels: what is asked of it, and what its layers were given and gave.

Arrays are the house's: channels last, kernels `(*spatial, in / groups, out)`. Parameters go by their native names,
in the model's own order of axes only where that is said.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from conformance.case.job import Failure, Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadModel:
    """Asks for a model: a function of a Python file, and the file of its weights if there is one.

    Attributes:
        file: absolute; its folder is where it imports from.
        function: gives the model when it is called without arguments.
        weights: absolute; what the function initialised if empty.
    """

    file: str
    function: str
    weights: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedModel:
    """The model stands; how many numbers its parameters are."""

    parameters: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SetParameters:
    """Asks to put numbers into parameters, by native name; as layers of the house have them, or as the file does.

    A parameter is known by the layers of a trace, so the model has to have run.
    """

    parameters: Mapping[str, Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class ParametersSet:
    """They are in."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RunModel:
    """Asks for one pass, forwards, and backwards where cotangents are given.

    Attributes:
        inputs: in the order of the model's arguments, channels last.
        cotangents: one for every output.
        noise: by layer, what is added to its output; the pass then answers with its outputs alone.
        training: normalise by the batch's own statistics. Nothing is dropped out, and the model is afterwards as it
            was before.
    """

    inputs: tuple[Tensor, ...]
    cotangents: tuple[Tensor, ...] = ()
    noise: Mapping[str, Tensor] = field(default_factory=dict)
    training: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TracedLayer:
    """One layer as it really ran: an operator of the house, and all that it was given and gave.

    Attributes:
        name: where it stands in the model.
        native: how its framework writes it.
        operator, attributes: what it computes, resolved.
        reading: the other reading of the operator that it is by definition; the house's own if empty.
        operands: activations and parameters.
        parameters: the native names of those operands that are parameters.
        output: what it gave.
        last: the name of what gave the output, where the layer is a recipe of several; else empty.
        sources: the layers that gave its activations; empty where something else did.
        cotangent: with respect to its output; none where nothing depends on it, or nothing was asked.
        gradients: with respect to operands; those of a parameter that several layers share are left out.
        statistics: what it keeps for the next call, by the operand whose place that takes.
    """

    name: str
    native: str
    operator: str
    attributes: Any
    operands: Mapping[str, Tensor]
    output: Tensor
    parameters: Mapping[str, str] = field(default_factory=dict)
    reading: str = ""
    last: str = ""
    sources: tuple[str, ...] = ()
    cotangent: Tensor | None = None
    gradients: Mapping[str, Tensor] = field(default_factory=dict)
    statistics: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trace:
    """One pass of a model.

    Attributes:
        layers: those that were recognised, in the order in which they ran.
        unrecognised: what else ran, in words; nobody judges it.
        outputs: of the model, channels last.
        failure: what the model raised, and where; the layers are those that ran before.
    """

    layers: tuple[TracedLayer, ...]
    unrecognised: tuple[str, ...]
    outputs: tuple[Tensor, ...]
    failure: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportParameters:
    """Asks for all parameters and statistics, by native name, in the model's own order of axes."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ExportedParameters:
    """Parameters and statistics as the framework keeps them."""

    parameters: Mapping[str, Tensor]


ModelMessage = LoadModel | SetParameters | RunModel | ExportParameters
ModelAnswer = LoadedModel | ParametersSet | Trace | ExportedParameters | Failure
