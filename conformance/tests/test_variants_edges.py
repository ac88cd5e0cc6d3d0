"""Odd questions: whatever shapes and attributes come, a variant reads them, refuses them or leaves them alone."""

import random

import numpy as np
import pytest

from conformance.case.families.convolution import Convolution, TransposedConvolution
from conformance.case.families.pooling import AveragePool, MaxPool
from conformance.case.model import Case
from conformance.errors import ImpossibleShape
from conformance.run.plan import question_of
from conformance.tests.questions import case, item
from conformance.verdict import oracle
from conformance.verdict.oracle import Accumulators, Expectations
from conformance.verdict.variants import evaluate, variants_of

PLAIN = Accumulators()


def drawn(seed: int) -> Case:
    """A sliding operator of small sizes, an empty batch and kernels beyond the input among them."""
    dice = random.Random(seed)
    axes = range(dice.choice((1, 2, 3)))
    rank = len(axes)
    sizes, kernel = tuple(dice.randint(1, 5) for _ in axes), tuple(dice.randint(1, 4) for _ in axes)
    stride, dilation = tuple(dice.randint(1, 3) for _ in axes), tuple(dice.randint(1, 3) for _ in axes)
    pads = tuple((dice.randint(0, 2), dice.randint(0, 2)) for _ in axes)
    padding = dice.choice(("same", "same_lower", "valid", pads))
    groups, x = dice.choice((1, 2, 3)), (dice.choice((0, 1, 2)), *sizes)
    ceil_mode, count_padding = dice.random() < 0.5, dice.random() < 0.5
    match dice.randrange(4):
        case 0:
            convolution = Convolution(stride=stride, dilation=dilation, groups=groups, padding=padding)
            inputs = {"x": (*x, 2 * groups), "w": (*kernel, 2, groups), "b": (groups,)}
            return case(f"conv{rank}d", convolution, inputs=inputs)
        case 1:
            more = tuple(dice.randrange(max(pair)) for pair in zip(stride, dilation, strict=True))
            told = dice.random() < 0.3
            same = padding in ("same", "same_lower")
            least = [
                (n - 1) * s + 1 + (0 if same else (k - 1) * d - (sum(pair) if padding is pads else 0))
                for n, s, k, d, pair in zip(sizes, stride, kernel, dilation, pads, strict=True)
            ]
            transposed = TransposedConvolution(
                stride=stride,
                dilation=dilation,
                groups=groups,
                padding=padding,
                output_padding=more if isinstance(padding, tuple) and not told else (),
                output_size=tuple(m + dice.randrange(s) for m, s in zip(least, stride, strict=True)) if told else (),
            )
            inputs = {"x": (*x, 2 * groups), "w": (*kernel, 2, 2 * groups)}
            return case(f"conv{rank}d_transpose", transposed, inputs=inputs)
        case 2:
            maximum = MaxPool(window=kernel, stride=stride, dilation=dilation, padding=padding, ceil_mode=ceil_mode)
            return case(f"max_pool{rank}d", maximum, inputs={"x": (*x, 2)})
    mean = AveragePool(
        window=kernel, stride=stride, padding=padding, ceil_mode=ceil_mode, count_padding=count_padding
    )
    return case(f"average_pool{rank}d", mean, inputs={"x": (*x, 2)})


@pytest.mark.parametrize("seed", range(60))
def test_values_with_and_without_bounds_are_the_same(seed: int) -> None:
    own = drawn(seed)
    try:
        job = question_of(item(own), "normal").job
        if not isinstance(oracle.values(job), Expectations):
            return  # a question without an answer is no question of variants
    except ImpossibleShape:
        return
    for variant in variants_of(own.operator):
        found = evaluate((variant,), job, lambda job, exact: oracle.values(job))
        bounded = evaluate((variant,), job, lambda job, exact: oracle.expect(job, PLAIN, exact=exact))
        assert type(found) is type(bounded), variant.name
        if not (isinstance(found, Expectations) and isinstance(bounded, Expectations)):
            continue
        for one, other in ((found.outputs, bounded.outputs), (found.gradients, bounded.gradients)):
            assert one.keys() == other.keys(), variant.name
            for name, expectation in other.items():
                np.testing.assert_array_equal(one[name].value, expectation.value, variant.name)
                assert expectation.bound.shape == expectation.scale.shape == expectation.value.shape, variant.name
                assert (expectation.bound >= 0).all(), variant.name
