"""Steps with momentum, RMSprop and decoupled decay against hand-worked numbers, loops and single precision."""

from typing import Any

import numpy as np
import pytest

from conformance.reference.magnitude import Array
from conformance.reference.operators import OPERATORS
from conformance.reference.padding import InvalidShape
from conformance.reference.tests.products import normal32
from conformance.reference.tests.steps import MOST, assert_equal_in_float64, assert_within, share_outside

MOMENTUM, RMSPROP, ADAMW = (OPERATORS[name] for name in ("sgd_momentum", "rmsprop", "adamw"))
F32 = np.float32
PLAIN: dict[str, Any] = {
    "learning_rate": 0.25,
    "momentum": 0.5,
    "nesterov": False,
    "dampening": 0.0,
    "weight_decay": 0.0,
    "first": False,
    "velocity_of": "gradients",
}
FORMS: list[dict[str, Any]] = [
    {},
    {"nesterov": True},
    {"dampening": 0.25, "weight_decay": 0.1},
    {"first": True, "dampening": 0.25, "weight_decay": 0.1},
    {"first": True, "nesterov": True},
    {"velocity_of": "steps"},
    {"velocity_of": "steps", "nesterov": True, "weight_decay": 0.1},
]


@pytest.mark.parametrize(
    ("change", "parameter", "velocity"),
    [
        ({}, 8.0, 8.0),  # 0.5 * 8 + 4 = 8; 10 - 8 / 4
        ({"nesterov": True}, 8.0, 8.0),  # 4 + 0.5 * 8 = 8
        ({"dampening": 0.5}, 8.5, 6.0),
        ({"weight_decay": 0.2}, 7.5, 10.0),  # 4 + 2 = 6
        ({"first": True, "dampening": 0.5}, 9.0, 4.0),
        ({"first": True, "nesterov": True}, 8.5, 4.0),  # 4 + 0.5 * 4 = 6
        ({"velocity_of": "steps"}, 13.0, 3.0),  # 0.5 * 8 - 1
        ({"velocity_of": "steps", "nesterov": True}, 10.5, 3.0),  # 0.5 * 3 - 1
    ],
)
def test_momentum_by_hand(change: dict[str, Any], parameter: float, velocity: float) -> None:
    operands = {"parameter": np.array([10.0]), "gradient": np.array([4.0]), "velocity": np.array([8.0])}
    got = MOMENTUM.forward(**operands, **{**PLAIN, **change})
    assert got["parameter"].tolist() == [parameter]
    assert got["velocity"].tolist() == [velocity]


def test_both_forms_move_alike() -> None:
    """A velocity of steps is minus the learning rate times one of gradients."""
    rng = np.random.default_rng(30)
    start, gradients = rng.normal(size=5), rng.normal(size=(6, 5))
    for nesterov in (False, True):
        ends = []
        for form, velocity in (("gradients", np.zeros(5)), ("steps", np.zeros(5))):
            parameter = start
            for gradient in gradients:
                attributes = {**PLAIN, "nesterov": nesterov, "velocity_of": form}
                got = MOMENTUM.forward(parameter=parameter, gradient=gradient, velocity=velocity, **attributes)
                parameter, velocity = got["parameter"], got["velocity"]
            ends.append(parameter)
        # Six steps of a few roundings of numbers below 10.
        np.testing.assert_allclose(ends[0], ends[1], rtol=0, atol=6 * 10 * 2.0**-50)


def single_momentum(a: dict[str, Any], p: Array, g: Array, b: Array) -> tuple[Array, Array]:
    rate, kept = F32(a["learning_rate"]), F32(a["momentum"])
    g = g + F32(a["weight_decay"]) * p
    if a["velocity_of"] == "steps":
        made = kept * b - rate * g
        return p + (kept * made - rate * g if a["nesterov"] else made), made
    made = g if a["first"] else kept * b + (F32(1) - F32(a["dampening"])) * g
    return p - rate * (g + kept * made if a["nesterov"] else made), made


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_momentum_in_single_precision_lies_inside_the_bound(form: dict[str, Any]) -> None:
    rng = np.random.default_rng(31)
    attributes = {**PLAIN, "learning_rate": 0.1, "momentum": 0.9, **form}
    operands = {name: normal32(rng, (2000,)) for name in ("parameter", "gradient", "velocity")}
    value, bound = MOMENTUM.forward(**operands, **attributes), MOMENTUM.magnitude(None, **operands, **attributes)
    parameter, velocity = single_momentum(attributes, *(array.astype(F32) for array in operands.values()))
    assert_within(parameter, value["parameter"], bound.outputs["parameter"])
    assert_within(velocity, value["velocity"], bound.outputs["velocity"])
    moved = MOMENTUM.forward(**{**operands, "gradient": operands["gradient"] * (1 + 1e-3)}, **attributes)
    assert share_outside(moved["parameter"], value["parameter"], bound.outputs["parameter"]) > MOST
    assert MOMENTUM.vjp({}, **operands, **attributes) == {}


RMS: dict[str, Any] = {
    "learning_rate": 0.5,
    "rho": 0.75,
    "momentum": 0.0,
    "epsilon": 2.0,
    "epsilon_inside": False,
    "velocity_of": "gradients",
}


def test_rmsprop_by_hand() -> None:
    """V' = 0.75 * 16 + 0.25 * 16 = 16; centred, mean' = 0.75 * 4 + 0.25 * 4 = 4 takes all of it."""
    operands = {"parameter": np.array([10.0]), "gradient": np.array([4.0]), "v": np.array([16.0])}
    assert RMSPROP.forward(**operands, **RMS)["parameter"] == pytest.approx(10 - 0.5 * 4 / 6, rel=2.0**-50)
    inside = {**RMS, "epsilon": 9.0, "epsilon_inside": True}
    assert RMSPROP.forward(**operands, **inside)["parameter"].tolist() == [10 - 0.5 * 4 / 5]
    centred = RMSPROP.forward(**operands, mean=np.array([4.0]), **RMS)
    assert {name: value.tolist() for name, value in centred.items()} == {"parameter": [9], "v": [16], "mean": [4]}
    moving = {**RMS, "momentum": 0.5, "epsilon": 0.0}
    gathered = RMSPROP.forward(**operands, velocity=np.array([2.0]), **moving)
    assert (gathered["velocity"].tolist(), gathered["parameter"].tolist()) == ([2], [9])
    steps = RMSPROP.forward(**operands, velocity=np.array([2.0]), **{**moving, "velocity_of": "steps"})
    assert (steps["velocity"].tolist(), steps["parameter"].tolist()) == ([1.5], [8.5])


def single_rmsprop(a: dict[str, Any], operands: dict[str, Array]) -> dict[str, Array]:
    given = {name: array.astype(F32) for name, array in operands.items()}
    p, g, rho, rate = given["parameter"], given["gradient"], F32(a["rho"]), F32(a["learning_rate"])
    made = {"v": rho * given["v"] + (F32(1) - rho) * g * g}
    square = made["v"]
    if "mean" in given:
        made["mean"] = given["mean"] + (F32(1) - rho) * (g - given["mean"])
        square = square - made["mean"] * made["mean"]
    epsilon = F32(a["epsilon"])
    with np.errstate(invalid="ignore"):  # a centred square may be negative
        inside, outside = g * (F32(1) / np.sqrt(square + epsilon)), g / (np.sqrt(square) + epsilon)
    step = inside if a["epsilon_inside"] else outside
    if "velocity" in given:
        steps = a["velocity_of"] == "steps"
        made["velocity"] = F32(a["momentum"]) * given["velocity"] + (rate * step if steps else step)
        return {"parameter": p - (made["velocity"] if steps else rate * made["velocity"]), **made}
    return {"parameter": p - rate * step, **made}


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("slots", [(), ("mean",), ("velocity",), ("mean", "velocity")], ids="-".join)
@pytest.mark.parametrize("velocity_of", ["gradients", "steps"])
def test_rmsprop_in_single_precision_lies_inside_the_bound(
    inside: bool, slots: tuple[str, ...], velocity_of: str
) -> None:
    rng = np.random.default_rng(32)
    operands = {name: normal32(rng, (2000,)) for name in ("parameter", "gradient", *slots)}
    if "mean" in slots:
        operands["mean"] *= 0.25
    operands["v"] = 0.25 + rng.random(2000, dtype=F32).astype(np.float64)
    attributes = {
        **RMS,
        "learning_rate": 0.1,
        "rho": 0.9,
        "epsilon": 1e-3,
        "epsilon_inside": inside,
        "momentum": 0.9 if "velocity" in slots else 0.0,
        "velocity_of": velocity_of,
    }
    value, bound = RMSPROP.forward(**operands, **attributes), RMSPROP.magnitude(None, **operands, **attributes)
    got = single_rmsprop(attributes, operands)
    assert got.keys() == value.keys() == bound.outputs.keys()
    for name, array in got.items():
        whole = np.isfinite(value[name])
        assert whole.mean() > 0.95  # a centred square may be negative
        finite = type(bound.outputs[name])(
            terms=np.broadcast_to(bound.outputs[name].terms, (2000,))[whole],
            absolute=bound.outputs[name].absolute[whole],
            underflow=np.broadcast_to(bound.outputs[name].underflow, (2000,))[whole],
        )
        assert_within(array[whole], value[name][whole], finite)
    moved = RMSPROP.forward(**{**operands, "gradient": operands["gradient"] * (1 + 1e-2)}, **attributes)
    assert share_outside(moved["v"], value["v"], bound.outputs["v"]) > MOST
    assert share_outside(moved["parameter"], value["parameter"], bound.outputs["parameter"]) > MOST
    assert RMSPROP.vjp({}, **operands, **attributes) == {}


def test_adamw_is_adam_from_a_decayed_parameter() -> None:
    rng = np.random.default_rng(33)
    operands = {name: normal32(rng, (2000,)) for name in ("parameter", "gradient", "m")}
    operands["v"] = rng.random(2000, dtype=F32).astype(np.float64)
    adam: dict[str, Any] = {
        "learning_rate": 0.1,
        "beta1": 0.9,
        "beta2": 0.99,
        "epsilon": 1e-3,
        "step": 3,
        "epsilon_hat": False,
    }
    value = ADAMW.forward(**operands, **adam, weight_decay=0.2)
    bound = ADAMW.magnitude(None, **operands, **adam, weight_decay=0.2)
    plain = OPERATORS["adam"].forward(**operands, **adam)
    expected = plain["parameter"] - 0.02 * operands["parameter"]
    assert_equal_in_float64(value["parameter"], expected, bound.outputs["parameter"])
    p, g, m, v = (operands[name].astype(F32) for name in ("parameter", "gradient", "m", "v"))
    m = F32(0.9) * m + (F32(1) - F32(0.9)) * g
    v = F32(0.99) * v + (F32(1) - F32(0.99)) * g * g
    divisor = np.sqrt(v / F32(1 - 0.99**3)) + F32(1e-3)
    p = p * (F32(1) - F32(0.1) * F32(0.2))
    single = p - F32(0.1) * (m / F32(1 - 0.9**3)) / divisor
    assert_within(single, value["parameter"], bound.outputs["parameter"])
    moved = ADAMW.forward(**operands, **adam, weight_decay=0.201)["parameter"]
    assert share_outside(moved, value["parameter"], bound.outputs["parameter"]) > MOST
    assert ADAMW.vjp({}, **operands, **adam, weight_decay=0.2) == {}


@pytest.mark.parametrize(
    ("name", "change", "what"),
    [
        ("sgd_momentum", {"velocity": np.ones(3)}, "velocity"),
        ("sgd_momentum", {"nesterov": True, "dampening": 0.5}, "dampening"),
        ("sgd_momentum", {"velocity_of": "steps", "first": True}, "velocity_of"),
        ("sgd_momentum", {"velocity_of": "paths"}, "velocity_of"),
        ("rmsprop", {"rho": 1.0}, "rho"),
        ("rmsprop", {"mean": np.ones(3)}, "mean"),
        ("rmsprop", {"velocity_of": "paths"}, "velocity_of"),
    ],
)
def test_impossible_questions_are_refused(name: str, change: dict[str, Any], what: str) -> None:
    two = np.ones(2)
    own = {"velocity": two, **PLAIN} if name == "sgd_momentum" else {"v": two, **RMS}
    with pytest.raises(InvalidShape, match=what):
        OPERATORS[name].forward(**{"parameter": two, "gradient": two, **own, **change})
