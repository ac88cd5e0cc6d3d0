import itertools
from pathlib import Path

import pytest

from conformance.case.loading import load
from conformance.case.model import Case
from conformance.case.sweeps import Level, cover
from conformance.errors import InvalidCases

HEAD = """operator: conv1d
defaults:
  inputs: {x: [2, 9, 2], w: [3, 2, 3]}
cases:
"""


def loaded(folder: Path, text: str) -> tuple[Case, ...]:
    path = folder / "a.yaml"
    path.write_text(text)
    return load([path])


def told(folder: Path, text: str) -> list[str]:
    with pytest.raises(InvalidCases) as caught:
        loaded(folder, text)
    return [str(problem).replace(f"{folder}/", "") for problem in caught.value.problems]


def product(*sizes: int) -> list[tuple[Level, ...]]:
    rows = itertools.product(*map(range, sizes))
    return [tuple(Level(0, axis, row) for axis, row in enumerate(chosen)) for chosen in rows]


@pytest.mark.parametrize(("sizes", "most"), [((2, 2, 2), 5), ((3, 3, 3, 3), 13), ((5, 4, 3, 2, 2), 22), ((4, 3), 12)])
def test_every_two_values_meet_in_a_few_cells(sizes: tuple[int, ...], most: int) -> None:
    cells = product(*sizes)
    chosen = cover(cells)
    met = {pair for n in chosen for pair in itertools.combinations(cells[n], 2)}
    assert met == {pair for cell in cells for pair in itertools.combinations(cell, 2)}
    first, second = sorted(sizes)[-2:]
    assert first * second <= len(chosen) <= most


def test_of_a_single_axis_every_value_is_kept_and_of_none_nothing() -> None:
    assert cover(product(4)) == (0, 1, 2, 3)
    assert cover([]) == ()


def test_pairs_that_meet_in_no_cell_are_not_waited_for() -> None:
    cells = [cell for cell in product(3, 3, 3) if cell[0].row != cell[1].row]
    met = {pair for n in cover(cells) for pair in itertools.combinations(cells[n], 2)}
    assert met == {pair for cell in cells for pair in itertools.combinations(cell, 2)}


def test_the_cells_that_cover_pairs_have_the_tier_of_the_case_and_the_others_are_full(tmp_path: Path) -> None:
    axes = "{stride: [1, 2], dilation: [1, 2], padding: [same, valid]}"
    made = loaded(tmp_path, HEAD + f"- {{name: a, sweep: {axes}}}\n")
    assert len(made) == 8
    core = [case for case in made if case.tier == "core"]
    assert {case.tier for case in made} == {"core", "full"}
    for one, other in itertools.combinations(("stride", "dilation", "padding"), 2):
        pairs = [(getattr(case.attributes, one), getattr(case.attributes, other)) for case in core]
        assert len(set(pairs)) == 4
    quick = loaded(tmp_path, HEAD + f"- {{name: a, tier: smoke, sweep: {axes}}}\n")
    assert [case.tier == "smoke" for case in quick] == [case.tier == "core" for case in made]
    assert {case.tier for case in loaded(tmp_path, HEAD + f"- {{name: a, tier: full, sweep: {axes}}}\n")} == {"full"}


def test_what_is_the_same_once_pads_are_resolved_is_asked_once(tmp_path: Path) -> None:
    axes = "{inputs.w.shape.0: [1, 2], padding: [same, valid]}"
    text = HEAD + f"- {{name: 'k{{inputs.w.shape.0}}-{{padding}}', sweep: {axes}}}\n"
    assert [case.id for case in loaded(tmp_path, text)] == ["a/k1-same", "a/k2-same", "a/k2-valid"]
    again = text + "- {name: again, sweep: {padding: [{by-hand: [[0, 1]]}]}, inputs: {w: [2, 2, 3]}}\n"
    assert [case.id for case in loaded(tmp_path, again)] == ["a/k1-same", "a/k2-same", "a/k2-valid"]


def test_the_same_question_of_another_operator_is_another(tmp_path: Path) -> None:
    text = "cases:\n- {name: '{operator}', inputs: {x: [3]}, sweep: {operator: [relu, tanh]}}\n"
    assert [case.id for case in loaded(tmp_path, text)] == ["a/relu", "a/tanh"]


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("sweep: [1]", "a.yaml:5:20: sweep must be a mapping, or a list of mappings, got [1]"),
        (
            "matrix: {stride: [1]}, sweep: {dilation: [1]}",
            "a.yaml:5:43: a case has a matrix, all of whose cells are asked, or a sweep; leave one out",
        ),
        ("sweep: {stride: 2}", "a.yaml:5:29: sweep key 'stride' needs a list of at least one value, got 2"),
    ],
)
def test_what_is_no_sweep_is_told(tmp_path: Path, case: str, message: str) -> None:
    assert told(tmp_path, HEAD + f"- {{name: a, {case}}}\n") == [message]
