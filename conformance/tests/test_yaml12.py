import math
from pathlib import Path

import pytest

from conformance.case import yaml12
from conformance.errors import InvalidCases


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "a.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def told(path: Path) -> list[str]:
    with pytest.raises(InvalidCases) as caught:
        yaml12.read(path)
    return [str(problem).removeprefix(f"{path.parent}/") for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-5", 1e-5),
        ("1.5", 1.5),
        (".5", 0.5),
        ("1.", 1.0),
        ("-2E+3", -2000.0),
        (".inf", math.inf),
        ("-.inf", -math.inf),
        ("012", 12),
        ("+3", 3),
        ("0o14", 12),
        ("0x1F", 31),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("no", "no"),
        ("yes", "yes"),
        ("on", "on"),
        ("off", "off"),
        ("2001-01-01", "2001-01-01"),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("tRue", "tRue"),
        ("0b1", "0b1"),
        ("1e", "1e"),
        (".", "."),
        ("-", "-"),
    ],
)
def test_scalars_follow_the_core_schema(text: str, value: object) -> None:
    got = yaml12.scalar(text)
    assert got == value
    assert type(got) is type(value)


def test_nan_is_a_number() -> None:
    assert math.isnan(yaml12.scalar(".nan"))


def test_quoted_scalars_are_text(tmp_path: Path) -> None:
    assert yaml12.read(written(tmp_path, "a: ['1', \"true\", 1]")).data == {"a": ("1", "true", 1)}


def test_every_value_and_key_has_its_place(tmp_path: Path) -> None:
    document = yaml12.read(written(tmp_path, "a: 1\nb:\n  c: [1, {d: 2}]\n"))
    assert str(document.find(("b", "c", 1, "d"))[1]).endswith(":3:14")
    assert str(document.find(("b", "c", 1, "d"), key=True)[1]).endswith(":3:11")


def test_a_place_that_is_not_there_is_told_as_far_as_it_goes(tmp_path: Path) -> None:
    found, where = yaml12.read(written(tmp_path, "a:\n  b: 1\n")).find(("a", "x", "y"))
    assert (found, where.line, where.column) == (1, 2, 3)


def test_anchors_are_read_and_shared(tmp_path: Path) -> None:
    assert yaml12.read(written(tmp_path, "a: &x [1]\nb: *x\n")).data == {"a": (1,), "b": (1,)}


def test_a_billion_laughs_cost_nothing(tmp_path: Path) -> None:
    lines = ["a0: &a0 [1]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 40)]
    assert len(yaml12.read(written(tmp_path, "\n".join(lines))).data) == 40


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    assert yaml12.read(written(tmp_path, "\ufeffa: 1")).data == {"a": 1}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1, 2\nb: 3", "a.yaml:2:2: not YAML: did not find expected ',' or ']' (while parsing a flow sequence)"),
        ("a:\n\tb: 1\n", "a.yaml:2:1: a tab indents this line; YAML allows spaces alone"),
        (b"a: 1\nb: \xff", "a.yaml:2:4: not UTF-8: byte 0xff (invalid start byte); save the file as UTF-8"),
        ("a: \x07", "a.yaml:1:4: not YAML: control characters are not allowed"),
        (
            "a: 1\n---\nb: 2",
            "a.yaml:2:1: not YAML: but found another document (expected a single document in the stream)",
        ),
        ("a: *b", "a.yaml:1:4: not YAML: found undefined alias"),
        ("a: &a [*a]", "a.yaml:1:4: an anchor holds an alias of itself, which no case can mean"),
        (
            "a: !!str 1",
            "a.yaml:1:4: tags are not part of the format, got 'tag:yaml.org,2002:str'; write the value without one",
        ),
        ("? [1]\n: 2", "a.yaml:1:3: a key must be text, got a list or a mapping"),
        ("a: 1e999", "a.yaml:1:4: 1e999 is beyond float64; infinity is written .inf"),
        ("a: " + "9" * 5000, "a.yaml:1:4: an integer of 5000 characters is too long"),
        ("[" * 100_000, "a.yaml:1:100: not YAML: lists and mappings nest deeper than 100 levels"),
    ],
)
def test_what_is_not_part_of_the_format_is_told_with_its_place(
    tmp_path: Path, text: str | bytes, message: str
) -> None:
    assert told(written(tmp_path, text)) == [message]


def test_every_key_that_is_given_twice_is_told(tmp_path: Path) -> None:
    assert told(written(tmp_path, "a: 1\na: 2\nb: {c: 1, c: 2}\n")) == [
        "a.yaml:2:1: key 'a' is given twice, first in line 1; a key is allowed once in a mapping",
        "a.yaml:3:11: key 'c' is given twice, first in line 3; a key is allowed once in a mapping",
    ]


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    assert told(tmp_path / "b.yaml") == ["b.yaml: cannot be read: No such file or directory"]


def test_what_is_dumped_is_read_again(tmp_path: Path) -> None:
    scalars = ("1e-5", "012", "no", "0x1F", "0o7", 1e-5, math.inf, "1", True, None, ".5", "1.", "x: y")
    data = {"a": list(scalars), "b": [[1], []]}
    assert yaml12.read(written(tmp_path, yaml12.dump(data))).data == {"a": scalars, "b": ((1,), ())}
