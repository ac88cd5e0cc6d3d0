"""Fake backends that train: one honest, and one for every fault that the harness must catch.

The honest one asks the reference layer by layer and rounds every result to float32, as a framework would; in mixed
precision, to what the layer gives, after what it is given was rounded to what it computes in.
"""

import os
import signal
from dataclasses import replace
from typing import ClassVar

import numpy as np

from conformance.backends.base import Backend, Gradients, Native, Natives, Program, Trainer
from conformance.backends.mixing import LAYER_FORMATS
from conformance.case.job import BuildNetwork, Description, Job, Outputs, Stepped, Tensor, TrainingState, TrainStep
from conformance.case.operators import OPERATORS, Layer, inference_chain, operand_of
from conformance.formats import FORMATS, to_storage
from conformance.verdict import oracle
from conformance.verdict.oracle import Accumulators


def ask(operator, attributes, operands, cotangents=None, format_name="float32"):
    answer = oracle.answer(
        Job(
            case_id="fake",
            operator=operator,
            attributes=attributes,
            format=format_name,
            layout="native",
            data="given",
            operands=operands,
            cotangents=cotangents or {},
        )
    )
    assert isinstance(answer, Outputs), answer
    return answer


def cast(tensor, format_name):
    """A tensor in another format; integers and masks stay."""
    if tensor.format not in FORMATS:
        return tensor
    return Tensor(format_name, to_storage(oracle.to_float64(tensor), FORMATS[format_name]))


def scaled(tensor, factor):
    return Tensor(tensor.format, (tensor.data * np.float32(factor)).astype(np.float32))


class HonestTrainer(Trainer):
    def __init__(self, build: BuildNetwork):
        self.build = build
        self.count = 0
        self.held = dict(build.parameters)
        for name, tensor in build.parameters.items():
            zeros = Tensor("float32", np.zeros(tensor.shape, np.float32))
            self.held |= {f"{name}/m": zeros, f"{name}/v": zeros}

    def text(self) -> str:
        return "a fake"

    def state(self) -> TrainingState:
        return TrainingState(step=self.count, tensors=dict(self.held))

    def restore(self, state: TrainingState) -> None:
        self.count = state.step
        self.held = dict(state.tensors)

    def own(self, layer, values):
        operator = OPERATORS[layer.operator]
        names = [operand.name for operand in operator.operands[1:]]
        return {name: values[f"{layer.name}/{name}"] for name in names if f"{layer.name}/{name}" in values}

    def step(self, step: TrainStep) -> Stepped:
        self.count += 1
        before = dict(self.held)
        values = {**step.operands, **self.held}
        x, given, outputs, formats = values["x"], [], {}, [("float32", "float32")]
        for layer in self.build.network.layers:
            computed, gives = self.formats(layer)
            first = OPERATORS[layer.operator].operands[0].name
            seen = {first: x, **self.own(layer, values)}
            given.append({name: self.taken(name, tensor, computed) for name, tensor in seen.items()})
            made = ask(layer.operator, layer.attributes, given[-1], format_name=computed).outputs["output"]
            x = outputs[layer.name] = cast(made, gives)
            formats.append((computed, gives))
        loss = float(oracle.to_float64(x))
        cotangent, gradients = Tensor("float32", np.ones((), np.float32)), {}
        for place in reversed(range(len(given))):
            layer, (computed, _) = self.build.network.layers[place], formats[place + 1]
            pulled = {"output": cast(cotangent, computed)}
            found = ask(layer.operator, layer.attributes, given[place], pulled, computed).gradients
            for name, gradient in found.items():
                if name != OPERATORS[layer.operator].operands[0].name:
                    name = f"{layer.name}/{name}"
                    gradients[name] = self.gradient(name, cast(gradient, "float32"))
            if place:
                before_it = self.build.network.layers[place - 1].name
                first = cast(found[OPERATORS[layer.operator].operands[0].name], formats[place][1])
                cotangent = gradients[before_it] = self.gradient(before_it, first)
        attributes = replace(self.build.optimizer_attributes, step=self.adam_step())
        for name in self.build.parameters:
            made = ask(
                "adam",
                attributes,
                {
                    "parameter": self.held[name],
                    "gradient": gradients[name],
                    "m": self.held[f"{name}/m"],
                    "v": self.held[f"{name}/v"],
                },
            ).outputs
            self.held |= {name: made["parameter"], f"{name}/m": made["m"], f"{name}/v": made["v"]}
        after = dict(self.held)
        self.afterwards()
        if not step.capture:
            return Stepped(loss=loss)
        return Stepped(loss=loss, outputs=outputs, gradients=gradients, before=before, after=after)

    def predict(self, x: Tensor) -> Tensor:
        for layer in inference_chain(self.build.network).layers:
            first = OPERATORS[layer.operator].operands[0].name
            own = self.own(layer, self.held)
            x = ask(layer.operator, layer.attributes, {first: x, **own}).outputs["output"]
        return x

    def gradient(self, name: str, gradient: Tensor) -> Tensor:
        return gradient

    def formats(self, layer: Layer) -> tuple[str, str]:
        """What a layer computes in, and what it gives."""
        return "float32", "float32"

    def taken(self, name: str, tensor: Tensor, computed: str) -> Tensor:
        """An operand as a layer computes with it."""
        return cast(tensor, computed)

    def adam_step(self) -> int:
        return self.count

    def afterwards(self) -> None:
        pass


class AveragesTwice(HonestTrainer):
    def gradient(self, name, gradient):
        return scaled(gradient, 1 / self.build.shapes["x"][0]) if name == "conv/w" else gradient


class ForgetsBiasCorrection(HonestTrainer):
    def adam_step(self):
        return self.count if self.count < 2 else 1_000_000


class NoBiasCorrection(HonestTrainer):
    """Divides neither moment by what the first steps lack."""

    def adam_step(self):
        return 1_000_000


class FeedsBackOthers(HonestTrainer):
    def afterwards(self):
        self.held["dense/w"] = scaled(self.held["dense/w"], 1 + 2.0**-20)


class SlightlyWrongGradient(HonestTrainer):
    def gradient(self, name, gradient):
        return scaled(gradient, 1 + 1e-5) if name == "pool" and self.count == 3 else gradient


class LosesLayer(HonestTrainer):
    def step(self, step):
        stepped = super().step(step)
        return replace(stepped, outputs={name: t for name, t in stepped.outputs.items() if name != "relu"})


class ReturnsFloat64(HonestTrainer):
    def gradient(self, name, gradient):
        return Tensor("float64", gradient.data.astype(np.float64)) if name == "dense/b" else gradient


class GivesNothing(HonestTrainer):
    def step(self, step):
        return Stepped(loss=super().step(step).loss)


class DiesAtStep3(HonestTrainer):
    def step(self, step):
        if self.count == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().step(step)


class RaisesAtStep3(HonestTrainer):
    def step(self, step):
        if self.count == 2:
            raise ArithmeticError("enough")
        return super().step(step)


class GraphTrainer(HonestTrainer):
    """Asks the reference for all layers at once, and keeps their statistics."""

    def __init__(self, build):
        super().__init__(build)
        self.learned = [n for n in build.parameters if operand_of("chain", build.network, n).differentiable]
        slots = [f"{name}/{slot}" for name in self.learned for slot in ("m", "v")]
        self.held = {name: self.held[name] for name in (*build.parameters, *slots)}

    def step(self, step):
        self.count += 1
        before = dict(self.held)
        chain = self.build.network
        parameters = {name: self.held[name] for name in self.build.parameters}
        one = {chain.layers[-1].name: Tensor("float32", np.ones((), np.float32))}
        answer = ask("chain", self.asked(chain), {**step.operands, **parameters}, one)
        pulled = self.pulled(answer.gradients)
        for name in self.build.parameters:
            if name in self.learned:
                self.held |= self.updated(name, pulled[name])
            else:
                self.held[name] = self.kept(name, answer.outputs[name])
        gradients = {name: gradient for name, gradient in pulled.items() if name != "x"}
        return Stepped(
            loss=float(answer.outputs[chain.layers[-1].name].data),
            outputs=answer.outputs,
            gradients=gradients,
            before=before,
            after=dict(self.held),
        )

    def asked(self, chain):
        return chain

    def pulled(self, gradients):
        return gradients

    def updated(self, name, gradient):
        slots = {slot: self.held[f"{name}/{slot}"] for slot in ("m", "v")}
        attributes = replace(self.build.optimizer_attributes, step=self.count)
        made = ask("adam", attributes, {"parameter": self.held[name], "gradient": gradient, **slots}).outputs
        return {name: made["parameter"], f"{name}/m": made["m"], f"{name}/v": made["v"]}

    def kept(self, name, statistics):
        return statistics

    def predict(self, x):
        chain = inference_chain(self.build.network)
        names = {layer.name for layer in chain.layers}
        own = {name: self.held[name] for name in self.build.parameters if name.partition("/")[0] in names}
        return ask("chain", chain, {"x": x, **own}).outputs[chain.layers[-1].name]


class LooseEpsilon(GraphTrainer):
    """The third block's normalisation has an epsilon of its own: 1e-3 where 1e-5 is asked."""

    def asked(self, chain):
        def loosened(layer):
            if layer.name != "block3.norm":
                return layer
            return replace(layer, attributes=replace(layer.attributes, epsilon=1e-3))

        return replace(chain, layers=tuple(loosened(layer) for layer in chain.layers))


class WrongInTheFifthPlace(GraphTrainer):
    """At the second step, the gradient of one weight: a sum of ten images, whose bound is smaller."""

    def pulled(self, gradients):
        if self.count != 2:
            return gradients
        return {**gradients, "dense/w": scaled(gradients["dense/w"], 1 + 1e-5)}


class KeepsNoStatistics(GraphTrainer):
    def kept(self, name, statistics):
        return self.held[name]


class EpsilonInsideRoot(GraphTrainer):
    def updated(self, name, gradient):
        made = super().updated(name, gradient)
        if self.count < 2:
            return made
        a = self.build.optimizer_attributes
        m, v = (made[f"{name}/{slot}"].data.astype(np.float64) for slot in ("m", "v"))
        m, v = m / (1 - a.beta1**self.count), v / (1 - a.beta2**self.count)
        moved = self.held[name].data - a.learning_rate * m / np.sqrt(v + a.epsilon)
        return {**made, name: Tensor("float32", moved.astype(np.float32))}


class LosesItsNumbers(HonestTrainer):
    def afterwards(self):
        if self.count == 2:
            self.held["conv/w"] = scaled(self.held["conv/w"], np.nan)


class FakeBackend(Backend):
    module: ClassVar[str] = "numpy"
    install: ClassVar[str] = "pip install numpy"
    kind: ClassVar[type[HonestTrainer]] = HonestTrainer

    def trainer(self, build: BuildNetwork) -> Trainer:
        return self.kind(build)

    def describe(self) -> Description:
        return Description(
            backend="fake",
            versions={},
            device="cpu",
            cpu_features=(),
            switches={},
            accumulators=(),
            absent=(),
            operators=(),
        )

    def put(self, tensor: Tensor) -> Native:
        raise NotImplementedError

    def get(self, native: Native) -> Tensor:
        raise NotImplementedError

    def evaluate(
        self, program: Program, operands: Natives, sources: tuple[str, ...], cotangents: Natives
    ) -> tuple[Natives, Gradients]:
        raise NotImplementedError


class DyingBackend(FakeBackend):
    kind = DiesAtStep3


class MixedTrainer(HonestTrainer):
    """Layers in bfloat16, parameters and updates in float32."""

    def formats(self, layer):
        return Accumulators(layer_formats=LAYER_FORMATS).of_layers(self.build.network, "float32")[layer.name]

    def predict(self, x):
        return cast(super().predict(x), "bfloat16")


class KeepsWeightsInBfloat16(MixedTrainer):
    def __init__(self, build):
        super().__init__(build)
        self.held = {name: cast(cast(tensor, "bfloat16"), "float32") for name, tensor in self.held.items()}


class RoundsItsUpdates(MixedTrainer):
    """From its second step on, what is left of a weight is bfloat16 in float32's clothes."""

    def step(self, step):
        stepped = super().step(step)
        if self.count > 1:
            self.held["dense/w"] = cast(cast(self.held["dense/w"], "bfloat16"), "float32")
        return replace(stepped, after=dict(self.held))


class LeavesGradientsInBfloat16(MixedTrainer):
    def gradient(self, name, gradient):
        return cast(gradient, "bfloat16") if name == "conv/w" else gradient


class CutsGradients(MixedTrainer):
    """Casts a gradient to float32, and loses half of bfloat16's eight bits before."""

    def gradient(self, name, gradient):
        if name != "conv/w":
            return gradient
        return Tensor("float32", (gradient.data.view(np.uint32) & np.uint32(0xFFF00000)).view(np.float32))


class LossInBfloat16(MixedTrainer):
    def formats(self, layer):
        return ("bfloat16", "float32") if layer.operator == "softmax_cross_entropy" else super().formats(layer)


class SeesWholeWeights(MixedTrainer):
    """Stores in bfloat16, and computes with weights that were not rounded."""

    def taken(self, name, tensor, computed):
        return tensor if name == "w" else super().taken(name, tensor, computed)


class TakesAQuarter(HonestTrainer):
    """A quarter of a second a step, as it says; two for the first one."""

    def step(self, step):
        return replace(super().step(step), seconds=0.25 if self.count > 1 else 2.0)


class TimedBackend(FakeBackend):
    kind = TakesAQuarter
