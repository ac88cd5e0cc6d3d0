"""Models of JAX's as layers: whatever way a function is written, its values, parameters and their gradients."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conformance.case.families.normalization import BatchNormTraining
from conformance.case.job import Refused, Tensor
from conformance.case.traces import (
    ExportedParameters,
    ExportParameters,
    LoadModel,
    ParametersSet,
    RunModel,
    SetParameters,
    Trace,
    TracedLayer,
)
from conformance.run.parity import judge_pair
from conformance.verdict.oracle import Accumulators

pytestmark = pytest.mark.jax

HEAD = """
import jax
import jax.numpy as jnp
from jax import lax

NHWC = ("NHWC", "HWIO", "NHWC")
numbers = lambda seed, *shape: jax.random.normal(jax.random.key(seed), shape)
"""
X = np.random.default_rng(0).standard_normal((2, 6, 7, 4)).astype(np.float32)


class Hosted:
    """A model's process without the process."""

    def __init__(self, folder: Path, source: str) -> None:
        from conformance.models.jax import JaxModels

        self.file = folder / "model.py"
        self.file.write_text(HEAD + source)
        self.models = JaxModels("cpu", ())
        self.loaded = self.load()

    def load(self, weights: str = "") -> Any:
        return self.models.reply(LoadModel(file=str(self.file), function="build", weights=weights))

    def run(self, *inputs: np.ndarray[Any, Any], cotangents: bool = True) -> Trace:
        given = tuple(Tensor("float32", x) for x in inputs)
        found = self.models.reply(RunModel(inputs=given))
        assert isinstance(found, Trace), found
        if not cotangents or found.failure:
            return found
        generator = np.random.default_rng(1)
        heads = tuple(Tensor("float32", generator.standard_normal(o.shape).astype(np.float32)) for o in found.outputs)
        again = self.models.reply(RunModel(inputs=given, cotangents=heads))
        assert isinstance(again, Trace), again
        return again


Hosts = Callable[[str], Hosted]


@pytest.fixture
def hosts(tmp_path: Path) -> Hosts:
    """Writes a model's file and loads it."""
    return lambda source: Hosted(tmp_path, source)


def check(layer: TracedLayer) -> None:
    """A layer gives what its operator gives, and so do its gradients, within the bounds of every verdict."""
    assert layer.cotangent is not None
    found = judge_pair(layer, layer, Accumulators(), Accumulators(), "jax")
    assert found.own_first is None, (layer.name, found.own_first)
    assert set(layer.gradients) >= set(layer.parameters)


NORMS = {
    "reciprocal": "(x - p['mean']) * lax.rsqrt(p['var'] + 1e-3) * p['scale'] + p['offset']",
    "divided": "p['scale'] * (x - p['mean']) / jnp.sqrt(p['var'] + 1e-3) + p['offset']",
    "gain first": "x * (p['scale'] * lax.rsqrt(p['var'] + 1e-3)) + "
    "(p['offset'] - p['mean'] * (p['scale'] * lax.rsqrt(p['var'] + 1e-3)))",
    "with axes": "(x - p['mean'][None, None, None]) * lax.rsqrt(p['var'].reshape(1, 1, 1, -1) + 1e-3) "
    "* p['scale'].reshape(1, 1, 1, 4) + p['offset']",
}


@pytest.mark.parametrize("written", NORMS.values(), ids=NORMS)
def test_a_normalisation_is_one_layer_however_it_is_written(hosts: Hosts, written: str) -> None:
    source = f"""
def build():
    p = {{"scale": numbers(0, 4), "offset": numbers(1, 4), "mean": numbers(2, 4), "var": numbers(3, 4) ** 2}}
    return (lambda p, x: {written}), p
"""
    found = hosts(source).run(X)
    (layer,) = found.layers
    assert (layer.operator, layer.attributes.epsilon) == ("batch_norm", 1e-3)
    assert set(layer.operands) == {"x", "mean", "variance", "scale", "offset"}
    assert found.unrecognised == ()
    check(layer)


OWN = {
    "two passes": "jnp.var(x, axis={axes}, keepdims=True)",
    "one pass": "jnp.mean(x * x, axis={axes}, keepdims=True) - jnp.mean(x, axis={axes}, keepdims=True) ** 2",
    "never negative": "jnp.maximum(0.0, jnp.mean(jnp.square(x), axis={axes}, keepdims=True)"
    " - jnp.square(jnp.mean(x, axis={axes}, keepdims=True)))",
}


@pytest.mark.parametrize("variance", OWN.values(), ids=OWN)
@pytest.mark.parametrize(("axes", "operator", "shape"), [("-1", "layer_norm", "4"), ("(1, 2)", "instance_norm", "4")])
def test_a_normalisation_by_its_own_statistics(
    hosts: Hosts, variance: str, axes: str, operator: str, shape: str
) -> None:
    source = f"""
def norm(p, x):
    v = {variance.format(axes=axes)}
    return (x - jnp.mean(x, axis={axes}, keepdims=True)) / jnp.sqrt(v + 1e-5) * p["g"] + p["b"]

def build():
    return norm, {{"g": numbers(0, {shape}), "b": numbers(1, {shape})}}
"""
    (layer,) = hosts(source).run(X).layers
    assert (layer.operator, layer.attributes.epsilon) == (operator, 1e-5)
    check(layer)


GROUPED = {
    "two passes": "(t - t.mean({axes}, keepdims=True)) * lax.rsqrt(t.var({axes}, keepdims=True) + 1e-5)",
    "one pass": "(t - t.mean({axes}, keepdims=True)) / jnp.sqrt((t * t).mean({axes}, keepdims=True) "
    "- t.mean({axes}, keepdims=True) ** 2 + 1e-5)",
}
GROUP_NORM = """
def norm(p, x):
    t = x.reshape(*x.shape[:-1], {groups})
    y = {written}
    return y.reshape(x.shape){affine}

def build():
    return lambda p, x: {around}, {{"g": numbers(0, 4), "b": numbers(1, 4)}}
"""


@pytest.mark.parametrize("written", GROUPED.values(), ids=GROUPED)
@pytest.mark.parametrize(("affine", "operands"), [(" * p['g'] + p['b']", {"x", "scale", "offset"}), ("", {"x"})])
@pytest.mark.parametrize("images", [1, 2])
def test_a_norm_of_groups_is_one_layer_however_it_is_written(
    hosts: Hosts, written: str, affine: str, operands: set[str], images: int
) -> None:
    line = written.format(axes="(1, 2, 4)")
    source = GROUP_NORM.format(groups="2, 2", written=line, affine=affine, around="norm(p, x)")
    found = hosts(source).run(X[:images])
    (layer,) = found.layers
    assert (layer.operator, layer.attributes.groups, layer.attributes.epsilon) == ("group_norm", 2, 1e-5)
    assert set(layer.operands) == operands
    assert found.unrecognised == ()
    check(layer)


def test_a_norm_of_groups_stands_between_other_layers(hosts: Hosts) -> None:
    line = GROUPED["two passes"].format(axes="(1, 2, 4)")
    around = "jax.nn.relu(norm(p, jnp.tanh(x)) + x)"
    affine = " * p['g'] + p['b']"
    found = hosts(GROUP_NORM.format(groups="2, 2", written=line, affine=affine, around=around)).run(X)
    assert [layer.operator for layer in found.layers] == ["tanh", "group_norm", "add", "relu"]
    assert found.unrecognised == ()
    for layer in found.layers:
        check(layer)


@pytest.mark.parametrize("axes", ["(1, 4)", "(1, 2, 3)", "(0, 1, 2, 4)"])
def test_a_norm_over_other_axes_is_no_norm_of_groups_and_is_told(hosts: Hosts, axes: str) -> None:
    line = GROUPED["two passes"].format(axes=axes)
    found = hosts(GROUP_NORM.format(groups="2, 2", written=line, affine="", around="norm(p, x)")).run(X)
    assert "group_norm" not in {layer.operator for layer in found.layers}
    assert any(told.startswith("reshape of (2, 6, 7, 4)") for told in found.unrecognised)


FUNCTIONS = {
    "relu": ("jax.nn.relu(x)", "relu"),
    "maximum": ("jnp.maximum(x, 0.0)", "relu"),
    "gelu": ("jax.nn.gelu(x)", "gelu"),
    "silu by hand": ("jax.nn.sigmoid(x) * x", "silu"),
    "leaky": ("jax.nn.leaky_relu(x, 0.2)", "leaky_relu"),
    "softmax of channels": ("jax.nn.softmax(x, axis=-1)", "softmax"),
    "softmax by hand": ("jnp.exp(x - x.max(-1, keepdims=True)) / jnp.exp(x - x.max(-1, keepdims=True)).sum(-1, "
                        "keepdims=True)", ""),
    "softplus": ("jax.nn.softplus(x)", "softplus"),
    "maximum of windows": (
        "lax.reduce_window(x, -jnp.inf, lax.max, (1, 3, 2, 1), (1, 2, 1, 1), 'SAME')", "max_pool2d"
    ),
    "mean of windows": (
        "lax.reduce_window(x, 0.0, lax.add, (1, 3, 2, 1), (1, 2, 1, 1), 'SAME') / 6", "average_pool2d"
    ),
    "mean of what is there": (
        "lax.reduce_window(x, 0.0, lax.add, (1, 3, 2, 1), (1, 2, 1, 1), 'SAME') / "
        "lax.reduce_window(jnp.ones((1, 6, 7, 1)), 0.0, lax.add, (1, 3, 2, 1), (1, 2, 1, 1), 'SAME')",
        "average_pool2d",
    ),
    "one pixel": ("x.mean((1, 2))", "global_average_pool2d"),
    "largest pixel": ("x.max((1, 2))", "global_max_pool2d"),
    "flat": ("x.reshape(x.shape[0], -1)", "flatten"),
    "padded": ("jnp.pad(x, ((0, 0), (1, 0), (2, 1), (0, 0)))", "pad"),
    "within jit": ("jax.jit(jax.nn.relu)(x)", "relu"),
    "computed again": ("jax.checkpoint(jax.nn.relu)(x)", "relu"),
}  # fmt: skip


@pytest.mark.parametrize(("written", "operator"), FUNCTIONS.values(), ids=FUNCTIONS)
def test_functions_without_parameters(hosts: Hosts, written: str, operator: str) -> None:
    source = f"""
def build():
    return (lambda p, x: {written} + 0 * p["unused"].sum() if False else {written}), {{"unused": numbers(0, 1)}}
"""
    found = hosts(source).run(X)
    if not operator:  # two exponentials: what is read twice is no function that is known
        assert found.unrecognised
        return
    (layer,) = found.layers
    assert (layer.operator, found.unrecognised) == (operator, ())
    assert f"model.py:{len(HEAD.splitlines()) + 3})" in layer.native
    check(layer)


KERNELS = {
    "plain": ("lax.conv_general_dilated(x, p['w'], (2, 1), 'SAME', dimension_numbers=NHWC)", (3, 2, 4, 5)),
    "dilated": (
        "lax.conv_general_dilated(x, p['w'], (1, 1), [(1, 0), (2, 3)], rhs_dilation=(1, 2), dimension_numbers=NHWC)",
        (3, 2, 4, 5),
    ),
    "a group a channel": (
        "lax.conv_general_dilated(x, p['w'], (1, 1), 'SAME', dimension_numbers=NHWC, feature_group_count=4)",
        (3, 3, 1, 8),
    ),
    "a kernel as torch has it": (
        "lax.conv_general_dilated(x, p['w'], (1, 1), 'SAME', dimension_numbers=('NHWC', 'OIHW', 'NHWC'))",
        (5, 4, 3, 2),
    ),
    "transposed": (
        "lax.conv_transpose(x, p['w'], (2, 2), 'SAME', dimension_numbers=NHWC, transpose_kernel=True)", (3, 3, 5, 4)
    ),
    "transposed, kernel as it is": (
        "lax.conv_transpose(x, p['w'], (2, 3), 'VALID', dimension_numbers=NHWC)", (3, 2, 4, 5)
    ),
    "transposed by groups": (
        "lax.conv_general_dilated(x, p['w'], (1, 1), [(2, 1), (1, 2)], lhs_dilation=(2, 2), dimension_numbers=NHWC, "
        "feature_group_count=2)",
        (3, 3, 2, 6),
    ),
    "dense": ("jnp.einsum('nhwc,cd->nhwd', x, p['w'])", (4, 5)),
    "dense as torch has it": ("x @ p['w'].T", (5, 4)),
}  # fmt: skip


@pytest.mark.parametrize(("written", "shape"), KERNELS.values(), ids=KERNELS)
def test_kernels_and_their_biases(hosts: Hosts, written: str, shape: tuple[int, ...]) -> None:
    host = hosts(f"""
def build():
    p = {{"w": numbers(0, *{shape})}}
    p["b"] = numbers(1, *jax.eval_shape(lambda p, x: {written}, p, jnp.zeros({X.shape})).shape[-1:])
    return (lambda p, x: {written} + p["b"]), p
""")
    (layer,) = host.run(X).layers
    assert layer.parameters == {"w": "w", "b": "b"}
    check(layer)
    # What the house has goes back to where it came from, bit by bit.
    start = host.models.reply(ExportParameters())
    held = {layer.parameters[name]: layer.operands[name] for name in layer.parameters}
    assert isinstance(host.models.reply(SetParameters(parameters=held)), ParametersSet)
    end = host.models.reply(ExportParameters())
    assert isinstance(start, ExportedParameters)
    assert isinstance(end, ExportedParameters)
    assert all(end.parameters[name].data.tobytes() == start.parameters[name].data.tobytes() for name in ("w", "b"))


def test_layers_between_layers_are_named_by_the_tree_and_pull_their_own_gradients(hosts: Hosts) -> None:
    found = hosts("""
def conv(p, x):
    return lax.conv_general_dilated(x, p["w"], (1, 1), "SAME", dimension_numbers=NHWC) + p["b"]

def apply(params, x):
    one, two = params["blocks"]
    y = jax.nn.relu(conv(one, x))
    return conv(two, y) + conv(two, x) * y

def build():
    return apply, {"blocks": [{"w": numbers(0, 3, 3, 4, 4), "b": numbers(1, 4)} for _ in range(2)]}
""").run(X)
    assert [(layer.name, layer.operator) for layer in found.layers] == [
        ("blocks.0", "conv2d"),
        ("relu", "relu"),
        ("blocks.1", "conv2d"),
        ("blocks.1#2", "conv2d"),
        ("multiply", "multiply"),
        ("add", "add"),
    ]
    assert found.layers[-1].sources == ("blocks.1", "multiply")
    for layer in found.layers:  # a kernel that two layers share has a gradient in each
        check(layer)


TRAINED = {
    "as Flax has it": ("jnp.maximum(0, jnp.mean(x * x, (0, 1, 2)) - m * m)", "0.9 * old + 0.1 * new", 1.0, False),
    "as torch has it": ("jnp.var(x, (0, 1, 2))", "old + 0.1 * (new * count - old)", 84 / 83, True),
}


@pytest.mark.parametrize(("variance", "update", "count", "bessel"), TRAINED.values(), ids=TRAINED)
def test_in_training_the_running_statistics_are_seen(
    hosts: Hosts, variance: str, update: str, count: float, bessel: bool
) -> None:
    host = hosts(f"""
def update(old, new, count):
    return {update}

def apply(params, x, training=False):
    p = params["norm"]
    m = jnp.mean(x, (0, 1, 2))
    v = {variance}
    kept = {{"norm": {{"mean": update(p["mean"], m, 1.0), "var": update(p["var"], v, {count})}}}}
    y = (x - m) * lax.rsqrt(v + 1e-5) * p["scale"] + p["offset"]
    return (jax.nn.relu(y), kept) if training else y

def build():
    return apply, {{"norm": {{"mean": numbers(0, 4), "var": numbers(1, 4), "scale": numbers(2, 4),
                              "offset": numbers(3, 4)}}}}
""")
    before = host.models.parameters()
    given = (Tensor("float32", X),)
    head = (Tensor("float32", np.ones_like(X)),)
    found = host.models.reply(RunModel(inputs=given, cotangents=head, training=True))
    assert isinstance(found, Trace), found
    norm, relu = found.layers
    assert (norm.operator, relu.operator, found.unrecognised) == ("batch_norm_training", "relu", ())
    assert norm.attributes == BatchNormTraining(epsilon=1e-5, momentum=0.9, bessel=bessel)
    check(norm)
    assert set(norm.statistics) == {"mean", "variance"}
    assert len(found.outputs) == 1
    assert all(np.array_equal(array, before[name]) for name, array in host.models.parameters().items())


def test_what_nobody_knows_is_told_with_its_line_and_what_follows_is_judged(hosts: Hosts) -> None:
    found = hosts("""
def apply(params, x):
    x = jnp.sin(x @ params["w"])
    return jax.nn.relu(x) * 2

def build():
    return apply, {"w": numbers(0, 4, 4)}
""").run(X)
    assert [layer.operator for layer in found.layers] == ["dense", "relu"]
    assert [told.partition(":")[0] for told in found.unrecognised] == ["sin of (2, 6, 7, 4)", "mul of (2, 6, 7, 4)"]
    assert 'x = jnp.sin(x @ params["w"]) (model.py:' in found.unrecognised[0]
    for layer in found.layers:
        check(layer)


def test_a_function_that_is_called_like_anothers_is_not_taken_for_it(hosts: Hosts) -> None:
    found = hosts("""
@jax.jit
def relu(x):
    return jnp.where(x > 0, x, 0.01)

def build():
    return (lambda p, x: relu(x)), {"unused": numbers(0, 1)}
""").run(X)
    assert found.layers == ()
    assert len(found.unrecognised) > 0


def test_a_model_that_is_a_tree_has_its_arrays_for_parameters(hosts: Hosts) -> None:
    host = hosts("""
from dataclasses import dataclass
from typing import Any

@jax.tree_util.register_dataclass
@dataclass
class Dense:
    weight: Any
    act: Any

    def __call__(self, x):
        return self.act(x @ self.weight)

def build():
    return (lambda model, x: model(x)), Dense(numbers(0, 4, 3), jax.nn.relu)
""")
    assert host.loaded.parameters == 12
    found = host.run(X)
    assert [(layer.name, dict(layer.parameters)) for layer in found.layers] == [
        ("weight", {"w": "weight"}),
        ("relu", {}),
    ]


def test_what_a_model_raises_is_told_with_its_line(hosts: Hosts) -> None:
    found = hosts("""
def build():
    return (lambda p, x: x @ p["w"]), {"w": numbers(0, 5, 4)}
""").run(X)
    assert found.layers == ()
    assert f"model.py:{len(HEAD.splitlines()) + 3}: in <lambda>: TypeError" in found.failure


def test_weights_are_read_by_the_paths_of_the_tree(hosts: Hosts, tmp_path: Path) -> None:
    host = hosts("""
def build():
    return (lambda p, x: x @ p["head"]["w"]), {"head": {"w": jnp.zeros((4, 3))}}
""")
    given = np.arange(12, dtype=np.float32).reshape(4, 3)
    np.savez(tmp_path / "given.npz", **{"head.w": given})
    host.load(str(tmp_path / "given.npz"))
    np.testing.assert_array_equal(host.models.parameters()["head.w"], given)
    np.savez(tmp_path / "other.npz", **{"head.w": given.T})
    refused = host.load(str(tmp_path / "other.npz"))
    assert isinstance(refused, Refused)
    assert "head.w has shape (3, 4), the model's has (4, 3)" in refused.message


@pytest.mark.parametrize(
    ("gives", "told"),
    [
        ("1", "gave int, expected (apply, params)"),
        ("(lambda p, x: x), {}", "hold no array, expected (apply, params)"),
    ],
)
def test_what_is_no_model_is_refused(hosts: Hosts, gives: str, told: str) -> None:
    refused = hosts(f"def build():\n    return {gives}\n").loaded
    assert isinstance(refused, Refused)
    assert told in refused.message
