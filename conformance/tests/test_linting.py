from pathlib import Path

from conformance.case.linting import lint
from conformance.case.loading import load

GOOD = """operator: conv2d
defaults:
  inputs: {x: [2, 5, 7, 4], w: [3, 2, 2, 4]}
  attributes: {groups: 2, stride: [1, 2]}
cases:
- {name: same, attributes: {padding: same}}
- {name: dilated, attributes: {dilation: [2, 1]}}
"""


def told(folder: Path, text: str, name: str = "a.yaml") -> list[str]:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return [str(problem).replace(f"{folder}/", "") for problem in lint(load([path]))]


def test_a_good_set_has_no_problem(tmp_path: Path) -> None:
    assert told(tmp_path, GOOD) == []


def test_a_set_without_asymmetries_is_told_what_it_lacks(tmp_path: Path) -> None:
    text = (
        "operator: conv2d\ncases:\n"
        "- {name: a, inputs: {x: [1, 5, 5, 1], w: [3, 3, 1, 1]}, attributes: {padding: same}}\n"
    )
    lacking = (
        "unequal spatial sizes (H != W)",
        "unequal strides",
        "unequal kernel sides",
        "asymmetric pads",
        "a batch of at least 2",
        "more than one group",
        "unequal dilations",
        "an even kernel side with SAME padding",
    )
    assert told(tmp_path, text) == [f"a.yaml:3:3: conv2d has no case with {what}, among 1" for what in lacking]


def test_only_what_the_operator_has_is_asked_for(tmp_path: Path) -> None:
    text = (
        "operator: average_pool2d\ncases:\n"
        "- {name: a, inputs: {x: [2, 5, 6, 1]}, attributes: {window: [2, 3], stride: [2, 1], padding: same}}\n"
        "- {name: b, inputs: {x: [2, 5, 6, 1]}, attributes: {window: [2, 3], stride: [1, 2], padding: same}}\n"
    )
    assert told(tmp_path, text) == []


def test_the_same_question_after_pads_are_resolved_is_told_at_both_places(tmp_path: Path) -> None:
    text = GOOD + "- {name: pads, attributes: {padding: [[1, 1], [0, 1]]}}\n"
    assert told(tmp_path, text) == [
        "a.yaml:6:3: a/same asks the same question as a/pads (a.yaml:8:3); keep one, or let them differ",
        "a.yaml:8:3: a/pads asks the same question as a/same (a.yaml:6:3); keep one, or let them differ",
    ]


def test_a_transposed_operator_is_compared_by_its_crop(tmp_path: Path) -> None:
    text = """operator: conv1d_transpose
defaults: {inputs: {x: [2, 5, 3], w: [3, 2, 3]}}
cases:
- {name: same, attributes: {padding: same}}
- {name: pads, attributes: {padding: 1}}
- {name: valid}
"""
    assert [line.partition(" ")[0] for line in told(tmp_path, text)] == ["a.yaml:4:3:", "a.yaml:5:3:"]


def test_refusals_are_compared_as_they_stand(tmp_path: Path) -> None:
    text = GOOD + "- {name: r, attributes: {stride: 0}, expect: {error: true}}\n"
    assert told(tmp_path, text) == []


def test_constant_data_alone_is_told(tmp_path: Path) -> None:
    text = (
        "operator: relu\ncases:\n"
        "- {name: a, inputs: {x: {shape: [3], fill: ones}}}\n"
        "- {name: b, inputs: {x: {values: [2, 2]}}}\n"
    )
    assert told(tmp_path, text) == [
        "a.yaml:3:3: relu is asked with constant data alone, which hides a flipped kernel; leave a source out"
    ]


def test_cotangents_of_ones_alone_are_told(tmp_path: Path) -> None:
    text = "operator: relu\ncases: [{name: a, inputs: {x: [3]}, cotangents: {output: {fill: ones}}}]"
    assert told(tmp_path, text) == [
        "a.yaml:2:9: relu is differentiated with cotangents of ones alone; leave cotangents out in a case"
    ]


def test_cases_from_the_seeds_are_left_alone(tmp_path: Path) -> None:
    text = "operator: conv2d\ncases: [{name: a, inputs: {x: [1, 5, 5, 1], w: [3, 3, 1, 1]}}]"
    assert told(tmp_path, text, "cases/seeds/a.yaml") == []
