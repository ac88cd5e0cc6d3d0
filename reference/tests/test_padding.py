"""Windows against plain enumeration and hand-worked tables; the `pad` operator."""

import pickle
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conformance.reference.padding import (
    InvalidShape,
    Window,
    windows,
)

few = st.integers(1, 4)


def one(n: int, k: int, s: int, d: int, padding: Any, *, ceil_mode: bool = False) -> Window:
    (window,) = windows(sizes=(n,), kernel=(k,), stride=(s,), dilation=(d,), padding=padding, ceil_mode=ceil_mode)
    return window


@pytest.mark.parametrize(
    ("n", "k", "s", "d", "outputs", "low", "high"),
    [
        # Worked by hand: the last window begins at (outputs - 1) * s and needs (k - 1) * d more elements.
        (5, 3, 1, 1, 5, 1, 1),
        (5, 2, 1, 1, 5, 0, 1),
        (5, 4, 1, 1, 5, 1, 2),
        (5, 3, 2, 1, 3, 1, 1),
        (6, 3, 2, 1, 3, 0, 1),
        (7, 2, 3, 1, 3, 0, 1),
        (8, 2, 3, 1, 3, 0, 0),
        (7, 1, 2, 1, 4, 0, 0),
        (6, 3, 1, 2, 6, 2, 2),
        (5, 2, 2, 3, 3, 1, 2),
        (1, 3, 1, 1, 1, 1, 1),
        (224, 7, 2, 1, 112, 2, 3),
    ],
)
def test_same_by_hand(n: int, k: int, s: int, d: int, outputs: int, low: int, high: int) -> None:
    window = one(n, k, s, d, "same")
    assert (window.outputs, window.low, window.high) == (outputs, low, high)
    window = one(n, k, s, d, "same_lower")
    assert (window.outputs, window.low, window.high) == (outputs, high, low)


@settings(deadline=None)
@given(n=st.integers(1, 30), k=few, s=few, d=few)
def test_same_is_the_published_formula(n: int, k: int, s: int, d: int) -> None:
    """TensorFlow's documentation of tf.nn gives out = ceil(n / s) and the total padding in closed form."""
    window = one(n, k, s, d, "same")
    total = max((-(-n // s) - 1) * s + (k - 1) * d + 1 - n, 0)
    assert (window.outputs, window.low, window.high) == (-(-n // s), total // 2, total - total // 2)


@pytest.mark.parametrize(
    ("n", "k", "s", "pads", "floor", "ceiling"),
    [
        # n=5, k=2, s=2: windows at 0 and 2 fit; one at 4 begins inside.
        (5, 2, 2, (0, 0), 2, 3),
        # n=6, k=3, s=2: windows at 0 and 2 fit; one at 4 begins inside.
        (6, 3, 2, (0, 0), 2, 3),
        # n=5, k=1, s=3: windows at 0 and 3 fit; one at 6 would begin beyond the end.
        (5, 1, 3, (0, 0), 2, 2),
        # n=4, k=3, s=2 and one on each side: windows at -1 and 1 fit, one at 3 begins inside.
        (4, 3, 2, (1, 1), 2, 3),
        # n=3, k=2, s=2 and one on each side: windows at -1 and 1 fit, one at 3 would begin in the padding.
        (3, 2, 2, (1, 1), 2, 2),
        # n=3, k=4, s=2: none fits; one at 0 begins inside.
        (3, 4, 2, (0, 0), None, 1),
    ],
)
def test_ceil_mode_by_hand(n: int, k: int, s: int, pads: tuple[int, int], floor: int | None, ceiling: int) -> None:
    if floor is None:
        with pytest.raises(InvalidShape, match="window"):
            one(n, k, s, 1, (pads,))
    else:
        assert one(n, k, s, 1, (pads,)).outputs == floor
    assert one(n, k, s, 1, (pads,), ceil_mode=True).outputs == ceiling


@st.composite
def axes(draw: Callable[..., Any]) -> Window:
    """Draws one axis that has an answer."""
    k, s, d = draw(few), draw(few), draw(few)
    low, high = draw(st.integers(0, 4)), draw(st.integers(0, 4))
    n = max(1, (k - 1) * d + 1 - low - high) + draw(st.integers(0, 8))
    return one(n, k, s, d, ((low, high),), ceil_mode=draw(st.booleans()))


@settings(max_examples=300, deadline=None)
@given(window=axes())
def test_slices_and_counts_are_those_of_enumerated_windows(window: Window) -> None:
    """Tap t of window o stands at o * stride + t * dilation - low."""
    looks = [
        (o, t, o * window.stride + t * window.dilation - window.low)
        for o in range(window.outputs)
        for t in range(window.kernel)
    ]
    inside = [(o, t, p) for o, t, p in looks if 0 <= p < window.size]
    padded = [(o, t, p) for o, t, p in looks if -window.low <= p < window.size + window.high]
    assert window.reach == max(p for _, _, p in looks) - min(p for _, _, p in looks) + 1
    for tap in range(window.kernel):
        outputs, inputs = window.seen_by(tap)
        pairs = list(zip(range(window.outputs)[outputs], range(window.size)[inputs], strict=True))
        assert pairs == [(o, p) for o, t, p in inside if t == tap]
    assert window.taps_inside().tolist() == [sum(o == i for i, _, _ in inside) for o in range(window.outputs)]
    assert window.taps_padded().tolist() == [sum(o == i for i, _, _ in padded) for o in range(window.outputs)]
    assert window.outputs_seeing().tolist() == [sum(p == i for _, _, i in inside) for p in range(window.size)]
    assert window.outputs_inside().tolist() == [sum(t == i for _, i, _ in inside) for t in range(window.kernel)]


@settings(deadline=None)
@given(n=st.integers(1, 20), k=few, s=few, d=few, low=st.integers(0, 4), high=st.integers(0, 4))
def test_explicit_padding_has_every_window_that_fits(n: int, k: int, s: int, d: int, low: int, high: int) -> None:
    starts = [i for i in range(0, low + n + high, s) if i + (k - 1) * d < low + n + high]
    if starts:
        assert one(n, k, s, d, ((low, high),)).outputs == len(starts)
    else:
        with pytest.raises(InvalidShape, match="window"):
            one(n, k, s, d, ((low, high),))


def test_axes_are_independent_of_each_other() -> None:
    got = windows(sizes=(5, 6), kernel=(2, 3), stride=(1, 2), dilation=(3, 1), padding=((1, 0), (0, 2)))
    assert got == (one(5, 2, 1, 3, ((1, 0),)), one(6, 3, 2, 1, ((0, 2),)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sizes": (3,)}, "window of 4 taps, 1 apart, on spatial axis 0: got a padded input of 3 elements"),
        ({"sizes": (0,), "padding": "same"}, "window"),
        ({"sizes": (0,), "padding": ((4, 4),)}, "window"),
        ({"kernel": (0,)}, "kernel"),
        ({"stride": (0,)}, "stride"),
        ({"dilation": (-1,)}, "dilation"),
        ({"dilation": (1, 1)}, "dilation"),
        ({"padding": "SAME"}, "padding: got 'SAME', required 'same'"),
        ({"padding": ((0, 0), (0, 0))}, "padding"),
        ({"padding": ((-1, 0),)}, "padding"),
        ({"padding": ((1,),)}, "padding"),
    ],
)
def test_impossible_windows_are_refused(change: dict[str, Any], message: str) -> None:
    question = {"sizes": (5,), "kernel": (4,), "stride": (1,), "dilation": (1,), "padding": "valid", **change}
    with pytest.raises(InvalidShape, match=message):
        windows(**question)


def test_the_exception_carries_its_parts_through_a_pickle() -> None:
    """Workers hand exceptions to another process."""
    error = pickle.loads(pickle.dumps(InvalidShape("stride", got=(0,), required="1 value of at least 1")))
    assert (error.what, error.got, error.required) == ("stride", (0,), "1 value of at least 1")
    assert str(error) == "stride: got (0,), required 1 value of at least 1"
