"""Layers that name what they take: residual sums, joins, kept statistics; each is judged on what it was given."""

from dataclasses import replace

import numpy as np
import pytest

from conformance.case.contract import NoAttributes
from conformance.case.families.arrays import Concat
from conformance.case.families.convolution import Convolution
from conformance.case.families.losses import CrossEntropy
from conformance.case.families.normalization import BatchNorm, BatchNormTraining
from conformance.case.families.steps import Dropout
from conformance.case.job import Job, Outputs, Tensor
from conformance.case.operators import OPERATORS, Chain, Layer, chain_shapes, gradient_names, inference_chain
from conformance.case.writing import as_yaml
from conformance.errors import ImpossibleShape
from conformance.formats import FORMATS
from conformance.run.plan import question_of
from conformance.tests.questions import case, item
from conformance.verdict import oracle
from conformance.verdict.diagnosis import Differing, diagnose
from conformance.verdict.free_running import free_run
from conformance.verdict.judge import Judgement, judge
from conformance.verdict.model import Expectation, Outcome
from conformance.verdict.oracle import Accumulators, Expectations, summed

PLAIN = Accumulators()


def layer(name, operator, attributes=None, takes=()):
    own = OPERATORS[operator].resolve(attributes or NoAttributes())
    return Layer(name=name, operator=operator, attributes=own, takes=takes)


NORM = BatchNormTraining(epsilon=1e-5, momentum=0.9, bessel=True)
# The input is added behind two layers, and what comes of it is joined with the first of them.
RESIDUAL = case(
    "chain",
    Chain(
        layers=(
            layer("conv", "conv2d", Convolution(padding="same")),
            layer("norm", "batch_norm_training", NORM),
            layer("relu", "relu"),
            layer("sum", "add", takes=("relu", "x")),
            layer("join", "concat", Concat(), takes=("sum", "norm")),
            layer("mean", "global_average_pool2d"),
        )
    ),
    "residual",
    inputs={
        "x": (2, 5, 4, 3),
        "conv/w": (3, 2, 3, 3),
        **{f"norm/{name}": (3,) for name in ("mean", "variance", "scale", "offset")},
    },
    data=("normal",),
)


def asked(one=RESIDUAL, format_="float32") -> tuple[Job, Outputs]:
    job = question_of(item(one, format_), "normal").job
    answer = oracle.answer(job)
    assert isinstance(answer, Outputs), answer
    return job, answer


def judged(job: Job, answer: Outputs) -> Judgement:
    expected = oracle.expect_chain(job, answer, PLAIN)
    assert isinstance(expected, Expectations)
    return judge(RESIDUAL, job, answer, expected, exact=False)


def wrong(judgement: Judgement) -> set[tuple[str, str]]:
    return {(one.check, one.name) for one in judgement.comparisons if not one.within}


def times(tensor: Tensor, factor: float) -> Tensor:
    return Tensor(tensor.format, (tensor.data * np.float64(factor)).astype(tensor.data.dtype))


@pytest.mark.parametrize("format_", ["float64", "float32", "bfloat16"])
def test_an_honest_answer_agrees_in_outputs_gradients_and_statistics(format_):
    job, answer = asked(format_=format_)
    found = judged(job, answer)
    assert {one.name for one in found.comparisons if one.check == "outputs"} == {
        *(layer.name for layer in job.attributes.layers),
        "norm/mean",
        "norm/variance",
    }
    assert {one.name for one in found.comparisons if one.check == "gradients"} == {
        *("x", "conv", "norm", "relu", "sum", "join", "conv/w", "norm/scale", "norm/offset")
    }
    assert wrong(found) == set()


def test_the_gradient_of_what_several_layers_take_is_their_sum():
    # Worked by hand: y = w x + x, so that the gradient of x is (w + 1) g.
    one = case(
        "chain",
        Chain(layers=(layer("product", "multiply"), layer("sum", "add", takes=("product", "x")))),
        inputs={"x": (1, 3), "product/y": (1, 3)},
    )
    job, answer = asked(one, "float64")
    w, g = job.operands["product/y"].data, job.cotangents["sum"].data
    assert answer.gradients["x"].data == pytest.approx((w + 1) * g, rel=1e-15)
    # A branch that is forgotten is seen, and nothing else is blamed.
    forgotten = replace(answer, gradients={**answer.gradients, "x": Tensor("float64", w * g)})
    assert wrong(judged(job, forgotten)) == {("gradients", "x")}


def test_a_sum_of_gradients_has_room_for_one_rounding_a_part_and_no_more():
    def part(value):
        return Expectation(value=np.array(value), size=np.zeros(()), scale=np.zeros(()))

    storage = FORMATS["float32"]
    found = summed([part(1.0), part(2.0), part(-4.0)], storage)
    unit = storage.unit + 2.0**-53
    assert found.value == -1
    assert found.bound == pytest.approx(2 * unit / (1 - 2 * unit) * 7 + 3 * storage.eta, rel=1e-12)
    alone = part(3.0)
    assert summed([alone], storage) is alone


@pytest.mark.parametrize(
    ("check", "name", "by", "layer"),
    [
        ("gradients", "conv/w", 1e-5, "conv"),
        ("gradients", "norm/scale", 1e-4, "norm"),
        ("outputs", "norm/mean", 1e-4, "norm"),
        ("outputs", "norm/variance", 1e-4, "norm"),
    ],
)
def test_one_array_that_is_off_is_named_with_its_layer(check, name, by, layer):
    job, answer = asked()
    off = times(getattr(answer, check)[name], 1 + by)
    answer = replace(answer, **{check: {**getattr(answer, check), name: off}})
    assert wrong(judged(job, answer)) == {(check, name)}
    expected = oracle.expect_chain(job, answer, PLAIN)
    found = diagnose([Differing(job=job, answer=answer, expected=expected)], PLAIN)
    assert found.location.startswith(f"layer {layer}: ")


def test_another_epsilon_is_named_at_its_layer_and_leaves_the_expected_growth_there():
    job, _ = asked()
    other = replace(NORM, epsilon=1e-3)
    layers = tuple(replace(one, attributes=other) if one.name == "norm" else one for one in job.attributes.layers)
    answer = oracle.answer(replace(job, attributes=replace(job.attributes, layers=layers)))
    assert isinstance(answer, Outputs)
    found = wrong(judged(job, answer))
    assert ("outputs", "norm") in found
    assert {name.partition("/")[0] for check, name in found if check == "outputs"} == {"norm"}
    note = free_run(job, answer, PLAIN)
    assert note is not None
    assert note.first == "norm"
    assert "it leaves that first at norm" in note.text


def test_running_statistics_without_bessel_s_correction_are_told_by_name():
    job, _ = asked()
    layers = tuple(
        replace(one, attributes=replace(NORM, bessel=False)) if one.name == "norm" else one
        for one in job.attributes.layers
    )
    other = oracle.answer(replace(job, attributes=replace(job.attributes, layers=layers)))
    assert isinstance(other, Outputs)
    assert wrong(judged(job, other)) == {("outputs", "norm/variance")}
    expected = oracle.expect_chain(job, other, PLAIN)
    names = diagnose([Differing(job=job, answer=other, expected=expected)], PLAIN).agrees_with
    assert any(name.startswith("norm: ") for name in names)


def test_shapes_that_do_not_meet_name_the_layer_and_both_that_it_takes():
    chain = Chain(layers=(layer("flat", "flatten"), layer("sum", "add", takes=("flat", "x"))))
    with pytest.raises(ImpossibleShape, match=r"layer 'sum' \(add\) given \(2, 15\) and \(2, 5, 3\): "):
        chain_shapes(chain, {"x": (2, 5, 3)})


def test_a_graph_is_written_with_what_its_layers_take():
    text = as_yaml(RESIDUAL)
    assert "takes" in text
    assert text.count("takes") == 2


def test_older_chains_keep_the_text_that_seeds_their_numbers():
    plain = Chain(layers=(layer("relu", "relu"),))
    assert repr(plain) == ("Chain(layers=(Layer(name='relu', operator='relu', attributes=NoAttributes()),))")


def test_a_chain_may_have_several_ends():
    chain = Chain(layers=(layer("one", "relu"), layer("two", "tanh", takes=("x",))))
    assert chain.ends == ("one", "two")
    assert gradient_names("chain", chain, ("x",)) == ("x",)
    one = case("chain", chain, inputs={"x": (2, 3)})
    job, answer = asked(one, "float64")
    assert set(job.cotangents) == {"one", "two"}
    assert wrong(judged(job, answer)) == set()


def test_what_predicts_leads_to_the_last_loss_without_masks_and_with_kept_statistics():
    chain = Chain(
        layers=(
            layer("norm", "batch_norm_training", NORM),
            layer("drop", "dropout", Dropout(keep=0.5)),
            layer("aside", "dense"),
            layer("aside-loss", "softmax_cross_entropy", CrossEntropy()),
            layer("logits", "dense", takes=("drop",)),
            layer("loss", "softmax_cross_entropy", CrossEntropy()),
            layer("total", "add", takes=("loss", "aside-loss")),
        )
    )
    found = inference_chain(chain)
    assert [one.name for one in found.layers] == ["norm", "logits"]
    assert found.layers[0].operator == "batch_norm"
    assert found.layers[0].attributes == BatchNorm(epsilon=1e-5)
    assert dict(tuple(found.wired())[1][1]) == {"x": "norm"}


def test_another_shape_is_not_blamed_on_the_layers_that_follow():
    job, answer = asked()
    short = Tensor("float32", answer.outputs["relu"].data[:1])
    found = judged(job, replace(answer, outputs={**answer.outputs, "relu": short}))
    assert ("outputs", "relu") in wrong(found)
    assert found.verdicts["outputs"].outcome is Outcome.DIFFERS
    assert not {name for check, name in wrong(found) if check == "outputs"} & {"sum", "join", "mean"}
