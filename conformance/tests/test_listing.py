"""A list is kept until a file changes, and never differs from what loading says."""

from pathlib import Path

import pytest

from conformance.case import loading
from conformance.case.listing import Listed, default_root, list_cases
from conformance.errors import InvalidCases

GOOD = """# yaml-language-server: $schema=../schema.json
operator: relu
cases: [{name: one, inputs: {x: [2, 3]}}]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "relu.yaml").write_text(GOOD)
    return tmp_path


def test_the_shipped_list_is_that_of_loading_cold_and_warm(tmp_path: Path) -> None:
    expected = tuple(Listed(case.id, case.tier, case.formats) for case in loading.load([default_root()]))
    assert list_cases([default_root()], tmp_path) == expected
    assert list_cases([default_root()], tmp_path) == expected


def test_the_second_list_does_not_load(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = list_cases([folder / "mine"], folder / "cache")
    monkeypatch.setattr(loading, "load", None)
    assert list_cases([folder / "mine"], folder / "cache") == first
    assert [row.id for row in first] == ["relu/one"]


def test_a_changed_file_is_read_again_and_the_old_list_is_dropped(folder: Path) -> None:
    list_cases([folder / "mine"], folder / "cache")
    (folder / "mine" / "relu.yaml").write_text(GOOD.replace("one", "two"))
    assert [row.id for row in list_cases([folder / "mine"], folder / "cache")] == ["relu/two"]
    assert len(list((folder / "cache").iterdir())) == 1


def test_a_refusal_is_not_kept(folder: Path) -> None:
    (folder / "mine" / "relu.yaml").write_text(GOOD.replace("relu", "rellu"))
    for _ in range(2):
        with pytest.raises(InvalidCases, match="Did you mean 'relu'"):
            list_cases([folder / "mine"], folder / "cache")
    assert not (folder / "cache").exists()


def test_a_broken_cache_is_no_cache(folder: Path) -> None:
    list_cases([folder / "mine"], folder / "cache")
    (kept,) = (folder / "cache").iterdir()
    kept.write_text("[[1")
    assert [row.id for row in list_cases([folder / "mine"], folder / "cache")] == ["relu/one"]


def test_a_folder_that_cannot_be_written_is_no_reason_to_fail(folder: Path) -> None:
    (folder / "cache").write_text("a file is in the way")
    assert [row.id for row in list_cases([folder / "mine"], folder / "cache")] == ["relu/one"]
