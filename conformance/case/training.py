"""Training descriptions: a network, its initial parameters, its optimizer, its data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

from conformance.case.expansion import NAME, did_you_mean, long_form
from conformance.case.grammar import FormKeys, SeededKeys, TensorKeys, TrainingKeys, check_attributes, check_training
from conformance.case.loading import read_network, yaml_files
from conformance.case.model import File, Initializer, Shape, TensorSpec, Tier, Values, Where
from conformance.case.networks import read_networks
from conformance.case.operators import INPUT, OPERATORS, Chain, operand_of
from conformance.case.yaml12 import Document, Steps, read
from conformance.errors import ImpossibleShape, InvalidCases, Problem

# A digit as the network sees it: rows, columns, one channel of grey.
IMAGE: Final = (28, 28, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A parameter before the first step."""

    shape: Shape
    initializer: Initializer


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """An accuracy, and the epoch by whose end it must be reached."""

    epoch: int
    accuracy: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Seeded:
    """How a training is asked natively, too: with the framework's own initialisers, shuffling and dropout.

    Attributes:
        seeds: how often.
        margin: mean accuracies that are nearer to the reference's than this are the same.
        reaches: what the median over the seeds must reach.
    """

    seeds: int
    margin: float
    reaches: tuple[Reach, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """A network in training, in one of its forms.

    Attributes:
        id: `training/mnist/<form>`.
        network: ends in a loss, or a sum of losses; `x` is a batch of digits, masks and labels come with each step.
        parameters: by `layer/operand`.
        constants: operands that stay as they are written, as the share of a loss, by `layer/operand`.
        image: rows, columns and channels of an image as the network sees it.
        optimizer, optimizer_attributes: an operator that updates.
        batch: images a step; a rest that fills no batch is left out, each epoch another one.
        epochs: how often every image is seen.
        judged_steps: so many steps are captured and judged, the others run free.
        most_steps: so many steps at most; 0 if the epochs are to be finished.
        tested: so many test images at most; 0 if all of them.
        tier: `full` if it takes long.
        data: the folder of the digits.
        official: the folder's digits are too few for it: trained where the official ones are given alone.
        accuracy: the floor of the test accuracy, if there is one.
        native: how it is asked natively, if it is.
        predict_relu: predictions are taken from the logits after a ReLU, where all negative ones tie.
        seed: what parameters, batches and masks are drawn from.
        text: the YAML, as written.
    """

    id: str
    about: str
    source: str
    network: Chain
    parameters: Mapping[str, Parameter]
    constants: Mapping[str, TensorSpec] = field(default_factory=dict)
    image: Shape = IMAGE
    optimizer: str
    optimizer_attributes: Any
    batch: int
    epochs: int = 1
    judged_steps: int = 20
    most_steps: int = 0
    tested: int = 0
    tier: Tier = "core"
    data: Path
    official: bool = False
    accuracy: float | None = None
    native: Seeded | None = None
    predict_relu: bool = False
    seed: str
    where: Where
    text: str

    @property
    def learned(self) -> tuple[str, ...]:
        """The parameters that an optimizer updates; the others are statistics, which layers keep themselves."""
        return tuple(name for name in self.parameters if operand_of("chain", self.network, name).differentiable)


def learned_layers(training: Training) -> set[str]:
    """The parameters that are learned, and the layers whose output they change."""
    found = set(training.learned)
    for layer, takes in training.network.wired():
        own = {f"{layer.name}/{operand.name}" for operand in OPERATORS[layer.operator].operands}
        if found & {*own, *takes.values()}:
            found.add(layer.name)
    return found


def losses_of(network: Chain) -> tuple[str, ...]:
    """The layers that are losses, or made of losses alone: their sum, or one's share of it."""
    found: list[str] = []
    for layer, takes in network.wired():
        of_labels = any(operand.kind == "integer" for operand in OPERATORS[layer.operator].operands)
        if of_labels or all(source in found for source in takes.values()):
            found.append(layer.name)
    return tuple(found)


def given_shapes(training: Training) -> dict[str, Shape]:
    """The shapes of what every step brings: `x`, masks, labels and constants.

    Raises:
        ImpossibleShape: if the layers do not fit each other.
    """
    x: Shape = (training.batch, *training.image)
    shapes: dict[str, Shape] = {INPUT: x}
    outputs: dict[str, Shape] = {INPUT: x}
    for layer, takes in training.network.wired():
        operator = OPERATORS[layer.operator]
        own = {name: outputs[source] for name, source in takes.items()}
        first = outputs[next(iter(takes.values()))]
        for operand in operator.operands[len(takes) :]:
            name = f"{layer.name}/{operand.name}"
            if operand.kind != "float":
                own[operand.name] = shapes[name] = first if operand.kind == "mask" else first[:1]
            elif name in training.parameters:
                own[operand.name] = training.parameters[name].shape
            elif name in training.constants:
                own[operand.name] = shapes[name] = training.constants[name].shape
        try:
            outputs[layer.name] = operator.shapes(layer.attributes, own)["output"]
        except ImpossibleShape as error:
            raise ImpossibleShape(f"layer {layer.name!r} ({layer.operator}) given {first}: {error}") from error
    return shapes


def load_trainings(paths: Sequence[Path]) -> tuple[Training, ...]:
    """Every training of the files, and of the `*.yaml` files in the folders, given; files of cases are passed over.

    Raises:
        InvalidCases: with every problem of every training file.
    """
    trainings: list[Training] = []
    problems: list[Problem] = []
    for path in yaml_files(paths, []):
        try:
            document = read(path)
        except InvalidCases:
            continue  # told by whoever loads the cases, which stand in the same folders
        if isinstance(document.data, dict) and "training" in document.data:
            reader = _Reader(document)
            trainings += reader.trainings()
            problems += reader.problems
    places: dict[str, Where] = {}
    for training in trainings:
        if training.id in places:
            message = f"the id {training.id!r} is taken by {places[training.id]}; ids are unique"
            problems.append(Problem(str(training.where), message))
        places.setdefault(training.id, training.where)
    if problems:
        raise InvalidCases(problems)
    return tuple(trainings)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """What is trained: the layers, the shapes of their parameters, what stays as it is written, and the image."""

    network: Chain
    shapes: Mapping[str, Shape]
    constants: Mapping[str, TensorSpec] = field(default_factory=dict)
    image: Shape = IMAGE


class _Reader:
    """Reads one training file, and collects what is wrong with it."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.problems: list[Problem] = []

    def note(self, steps: Steps, message: str, *, key: bool = False) -> None:
        """Notes what is wrong at a part of the file."""
        self.problems.append(Problem(str(self.document.find(steps, key=key)[1]), message))

    def trainings(self) -> list[Training]:
        """Every form that can be read."""
        checked, faults = check_training(long_form(self.document.data))
        for fault in faults:
            self.note(fault.steps, fault.message, key=fault.key)
        if checked is None:
            return []
        name = checked["training"]
        if not NAME.fullmatch(name):
            self.note(("training",), f"a name is made of a-z, 0-9, '.', '_' and '-', got {name!r}")
        folder = self.document.path.parent / checked["data"]
        if not folder.is_dir():
            self.note(("data",), f"there is no folder {folder}")
        asked = self._asked(checked)
        if asked is None or self.problems:
            return []
        made = [self._form(n, form, checked, asked, folder) for n, form in enumerate(checked["forms"])]
        return [training for training in made if training is not None]

    def _asked(self, checked: TrainingKeys) -> _Asked | None:
        """The layers that are trained: a network's, those of the file itself, or these behind the network's."""
        named = self._network(checked["network"]) if "network" in checked else None
        if "network" in checked and named is None:
            return None
        if "layers" not in checked:
            if named is None:
                self.note((), "a training has layers, names a network, or adds layers to one: give one of them")
                return None
            self._ends_in_loss(named.network, ("network",))
            return named
        own, tensors, problems = read_network(self.document, checked["training"], checked["layers"])
        self.problems += problems
        if own is None:
            return None
        shapes = self._parameters(own, tensors)
        asked = _Asked(network=own, shapes=shapes)
        if named is not None:
            taken = {layer.name for layer in named.network.layers}
            for n, layer in enumerate(own.layers):
                if layer.name in taken:
                    self.note(("layers", n), f"the layer name {layer.name!r} is the network's; names are unique")
            whole = replace(named.network, layers=(*named.network.layers, *own.layers))
            asked = replace(named, network=whole, shapes={**named.shapes, **shapes})
        self._ends_in_loss(asked.network, ("layers", len(own.layers) - 1))
        return asked

    def _network(self, named: str) -> _Asked | None:
        """A form of a network's file."""
        file, _, form = named.partition("#")
        path = self.document.path.parent / file
        try:
            networks, _, problems = read_networks(read(path))
        except InvalidCases as error:
            self.note(("network",), f"{file} cannot be read: {error.problems[0].message}")
            return None
        self.problems += problems
        found = {network.form: network for network in networks}
        if form not in found:
            if not problems:
                known = ", ".join(found)
                self.note(("network",), f"{file} has no form {form!r}; it has {known}{did_you_mean(form, found)}")
            return None
        chain, inputs = found[form].chain, dict(found[form].inputs)
        _, *image = inputs.pop(INPUT).shape
        if len(image) != len(IMAGE) or any(side < least for side, least in zip(image, IMAGE, strict=True)):
            self.note(("network",), f"digits of 28x28 need images of at least that, {form!r} takes {tuple(image)}")
            return None
        numbers = {name: spec for name, spec in inputs.items() if operand_of("chain", chain, name).kind == "float"}
        constants = {name: spec for name, spec in numbers.items() if isinstance(spec.source, (Values, File))}
        return _Asked(
            network=chain,
            shapes={name: spec.shape for name, spec in numbers.items() if name not in constants},
            constants=constants,
            image=tuple(image),
        )

    def _ends_in_loss(self, network: Chain, steps: Steps) -> None:
        last = network.layers[-1]
        if last.name not in losses_of(network) or len(network.layers) < 2:
            self.note(steps, f"the last layer must be a loss, got {last.operator}")

    def _parameters(self, network: Chain, tensors: Mapping[str, tuple[TensorKeys, Steps]]) -> dict[str, Shape]:
        """The shapes of the parameters; every float operand beside a layer's first is one."""
        shapes: dict[str, Shape] = {}
        known: list[str] = []
        for n, (layer, takes) in enumerate(network.wired()):
            for operand in OPERATORS[layer.operator].operands[len(takes) :]:
                name = f"{layer.name}/{operand.name}"
                known.append(name)
                if name not in tensors:
                    if operand.kind == "float" and not operand.optional:
                        self.note(("layers", n), f"layer {layer.name!r} ({layer.operator}) needs {operand.name!r}")
                    continue
                tensor, steps = tensors[name]
                if operand.kind != "float":
                    self.note(steps, f"{name} comes with every step; leave it out", key=True)
                elif tensor.keys() != {"shape"}:
                    self.note(steps, f"{name} takes a shape alone; the forms say how it is initialised")
                else:
                    shapes[name] = tensor["shape"]
        for name in tensors.keys() - set(known):
            self.note(tensors[name][1], f"there is no operand {name!r}{did_you_mean(name, known)}", key=True)
        return shapes

    def _form(
        self,
        n: int,
        form: FormKeys,
        file: TrainingKeys,
        asked: _Asked,
        folder: Path,
    ) -> Training | None:
        at: Steps = ("forms", n)
        if not NAME.fullmatch(form["name"]):
            self.note((*at, "name"), f"a name is made of a-z, 0-9, '.', '_' and '-', got {form['name']!r}")
        values, faults = check_attributes(form["optimizer"], form.get("attributes", {}))
        for fault in faults:
            self.note((*at, "attributes", *fault.steps), f"{form['optimizer']}: {fault.message}", key=fault.key)
        optimizer = OPERATORS[form["optimizer"]]
        settings = None
        if values is not None:
            try:
                settings = optimizer.attributes(**values)
            except TypeError:
                self.note((*at, "attributes"), f"{form['optimizer']} needs the attribute 'learning_rate'")
        parameters = self._initialised((*at, "initializers"), form["initializers"], asked.shapes)
        if settings is None or self.problems:
            return None
        training = Training(
            id=f"training/{file['training']}/{form['name']}",
            about=form.get("about", file.get("about", "")),
            source=file.get("source", ""),
            network=asked.network,
            parameters=parameters,
            constants=asked.constants,
            image=asked.image,
            optimizer=optimizer.name,
            optimizer_attributes=settings,
            batch=file["batch"],
            epochs=file.get("epochs", 1),
            judged_steps=file.get("judged_steps", 20),
            most_steps=file.get("steps", 0),
            tested=file.get("tested", 0),
            tier=file.get("tier", "core"),
            data=folder,
            official=file.get("official", False),
            accuracy=form.get("accuracy"),
            native=_seeded(form["native"]) if "native" in form else None,
            predict_relu=form.get("predict_relu", False),
            seed=file["seed"],
            where=self.document.find(at)[1],
            text=self.document.path.read_text(encoding="utf-8-sig"),
        )
        try:
            given_shapes(training)
        except ImpossibleShape as error:
            self.note(("layers",) if "layers" in file else ("network",), str(error))
            return None
        return training

    def _initialised(
        self, at: Steps, initializers: Mapping[str, Initializer], shapes: Mapping[str, Shape]
    ) -> dict[str, Parameter]:
        for glob in initializers:
            if not any(fnmatchcase(name, glob) for name in shapes):
                message = f"{glob!r} matches no parameter; there are {', '.join(shapes)}{did_you_mean(glob, shapes)}"
                self.note((*at, glob), message, key=True)
        made = {}
        for name, shape in shapes.items():
            found = next((how for glob, how in initializers.items() if fnmatchcase(name, glob)), None)
            if found is None:
                self.note(at, f"parameter {name!r} has no initializer")
            elif found == "glorot_uniform" and len(shape) < 2:
                self.note(at, f"glorot_uniform needs a kernel of at least 2 axes, {name!r} has shape {shape}")
            else:
                made[name] = Parameter(shape=shape, initializer=found)
        return made


def _seeded(keys: SeededKeys) -> Seeded:
    return Seeded(
        seeds=keys["seeds"],
        margin=keys["margin"],
        reaches=tuple(Reach(epoch=reach["epoch"], accuracy=reach["accuracy"]) for reach in keys.get("reaches", ())),
    )
