"""The table of operators: its names, and that the ranks in them are kept."""

import inspect

import numpy as np
import pytest

from conformance.reference.operators import OPERATORS
from conformance.reference.padding import InvalidShape

SPATIAL = {
    "conv{}d": {"w": (2, 1, 1), "stride": 1, "dilation": 1, "groups": None, "padding": "same"},
    "conv{}d_transpose": {
        "w": (2, 1, 1), "stride": 1, "dilation": 1, "groups": None, "padding": "same", "output_padding": 0
    },
    "max_pool{}d": {"window": 2, "stride": 1, "dilation": 1, "padding": "same", "ceil_mode": None},
    "max_pool{}d_with_indices": {
        "window": 2, "stride": 1, "dilation": 1, "padding": "same", "ceil_mode": None, "indexed": "plane"
    },
    "average_pool{}d": {"window": 2, "stride": 1, "padding": "same", "ceil_mode": None, "count_padding": None},
}  # fmt: skip


def test_all_operators_are_there() -> None:
    ranked = {name.format(rank) for name in SPATIAL for rank in (1, 2, 3)}
    others = {
        *("pad", "dense", "bias_add", "flatten", "relu", "sigmoid", "tanh", "softmax", "softmax_cross_entropy"),
        *("log_softmax", "relu6", "leaky_relu", "prelu", "hard_sigmoid", "hard_swish", "hard_tanh", "elu", "selu"),
        *("gelu", "silu", "mish", "softplus", "softsign", "log_sigmoid"),
        *("matmul", "add", "multiply", "concat", "mean", "global_average_pool2d", "global_max_pool2d"),
        *("depth_to_space", "space_to_depth"),
        *("batch_norm", "batch_norm_training", "layer_norm", "group_norm", "instance_norm", "local_response_norm"),
        *(
            "resize1d",
            "resize2d",
            "resize3d",
            "extract_patches",
            "fold",
            "adaptive_average_pool2d",
            "adaptive_max_pool2d",
            "lp_pool2d",
        ),
        *("max_unpool2d", "fractional_max_pool2d"),
        *("conv2d_weight_gradient", "conv3d_weight_gradient", "max_pool2d_gradient"),
        *("softmax_cross_entropy_dense", "binary_cross_entropy", "mean_squared_error"),
        "kl_divergence",
        *("sgd_momentum", "rmsprop", "adagrad", "adamw"),
        *("dropout", "sgd", "adam", "glorot_uniform", "convolve", "correlate", "polynomial"),
    }
    assert OPERATORS.keys() == ranked | others


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("name", SPATIAL)
def test_a_ranked_operator_takes_its_rank_alone(name: str, rank: int) -> None:
    """Forward, gradient and magnitude work for the rank in the name and refuse the next."""
    for dimensions in (1, 2, 3):
        question: dict[str, object] = {"x": np.ones((1, *(4,) * dimensions, 1))}
        for key, value in SPATIAL[name].items():
            if isinstance(value, tuple):
                question[key] = np.ones((value[0],) * dimensions + value[1:])
            elif isinstance(value, int):
                question[key] = (value,) * dimensions
            else:
                question[key] = value
        if "groups" in question:
            question["groups"] = 1
        for flag in ("ceil_mode", "count_padding"):
            if flag in question:
                question[flag] = False
        reference = OPERATORS[name.format(rank)]
        if dimensions == rank:
            output = reference.forward(**question)
            gradients = reference.vjp(output, **question)
            magnitudes = reference.magnitude(output, **question)
            assert gradients.keys() == magnitudes.gradients.keys()
            names = {"output", "indices"} if "indices" in name else {"output"}
            assert output.keys() == magnitudes.outputs.keys() == names
        else:
            with pytest.raises(InvalidShape, match="axes of x"):
                reference.forward(**question)
            with pytest.raises(InvalidShape, match="axes of x"):
                reference.vjp({"output": np.ones(1)}, **question)
            with pytest.raises(InvalidShape, match="axes of x"):
                reference.magnitude(None, **question)


@pytest.mark.parametrize("name", OPERATORS)
def test_the_three_functions_take_the_same_operands_and_attributes(name: str) -> None:
    """By keyword alone, so that a case's operands and attributes can be handed over as they are."""
    reference = OPERATORS[name]
    keywords = [
        [parameter for parameter in inspect.signature(function).parameters.values() if parameter.name != "cotangents"]
        for function in (reference.forward, reference.vjp, reference.magnitude)
    ]
    allowed = {inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.VAR_KEYWORD}
    assert all(parameter.kind in allowed for parameter in keywords[0])
    assert keywords[0] == keywords[1] == keywords[2]
