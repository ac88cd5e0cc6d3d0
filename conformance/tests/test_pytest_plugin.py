"""Case files under pytest: what is collected, selected, said and written."""

import re
from pathlib import Path

import pytest

from conformance.tests.installed import Ended, Installation, install, results

CASES = """# yaml-language-server: $schema=schema.json
operator: {operator}
about: A layer.
defaults: {{data: [normal], formats: [float32]}}
cases:
  - name: plain
    about: Plain.
    inputs: {inputs}
  - name: large
    about: Plain and large.
    tier: full
    inputs: {inputs}
    attributes: {{stride: 2}}
"""
INPUTS = "{x: [1, 3, 3, 2], w: [2, 2, 2, 2]}"
COUNT = re.compile(r"(\d+) (passed|failed|errors?|deselected)")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    backends = {"honest": "Honest", "flips": "FlipsKernel", "lacks": "LacksItsFramework"}
    return install(tmp_path_factory.mktemp("installed"), backends)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two case files, a test, and YAML files of other people."""
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "conv2d.yaml").write_text(CASES.format(operator="conv2d", inputs=INPUTS))
    (tmp_path / "transpose.yaml").write_text(CASES.format(operator="conv2d_transpose", inputs=INPUTS))
    (tmp_path / "compose.yaml").write_text("services: {a: b}\n")
    (tmp_path / "broken.yml").write_text("a: [\n")
    (tmp_path / "schema-of-others.yaml").write_text("# yaml-language-server: $schema=other.json\noperator: x\n")
    return tmp_path


def counts(ended: Ended) -> dict[str, int]:
    return {what: int(number) for number, what in COUNT.findall(ended.out.strip().splitlines()[-1])}


def test_case_files_are_collected_and_other_files_left_alone(installed: Installation, folder: Path) -> None:
    ended = installed.pytest("--collect-only", "-q", "--target", "honest,flips", cwd=folder)
    assert ended.code == 0
    assert ended.out.splitlines()[:4] == [
        "conv2d.yaml::conv2d/plain[honest-float32]",
        "conv2d.yaml::conv2d/plain[flips-float32]",
        "transpose.yaml::transpose/plain[honest-float32]",
        "transpose.yaml::transpose/plain[flips-float32]",
    ]
    assert "4 tests collected" in ended.out
    assert not (folder / "reports").exists()


def test_items_are_selected_as_tests_are(installed: Installation, folder: Path) -> None:
    arguments = ("conv2d.yaml", "transpose.yaml", "--target", "honest,flips", "--tier", "full")
    ended = installed.pytest_alone(*arguments, "-k", "transpose and honest", cwd=folder)
    assert (ended.code, counts(ended)) == (0, {"passed": 2, "deselected": 6})
    ended = installed.pytest_alone("conv2d.yaml::conv2d/plain[honest-float32]", "--target", "honest", cwd=folder)
    assert (ended.code, counts(ended)) == (0, {"passed": 1})
    assert re.search(r"^report: reports/index.html$", ended.out, re.MULTILINE)
    assert (folder / "reports" / "index.html").is_file()


def test_a_failure_says_what_a_reader_needs(installed: Installation, folder: Path) -> None:
    ended = installed.pytest_alone("conv2d.yaml", "--target", "flips", cwd=folder)
    assert (ended.code, counts(ended)) == (1, {"failed": 1})
    # The harness's own stack is no part of it.
    text = ended.out.partition("FAILURES")[2].partition("short test summary")[0]
    assert "Traceback" not in text
    assert "runtest" not in text
    assert "conv2d.yaml:6:5: conv2d/plain [flips-float32]" in text
    assert "outputs: DIFFERS (value)" in text
    assert "gradients: DIFFERS (value)" in text
    worst = re.search(
        r"^outputs output, normal data, worst at \[\d, \d, \d, \d\]: got (\S+), expected (\S+), "
        r"error (\S+), bound (\S+), (\d+) outside$",
        text,
        re.MULTILINE,
    )
    assert worst
    got, expected, error, bound = map(float, worst.groups()[:4])
    assert error == pytest.approx(abs(got - expected), rel=1e-2)
    assert 0 < bound < error
    assert "native calls:\n    output = fake.conv2d(x=x, w=w)" in text


def test_two_processes_write_what_one_writes_and_each_target_stays_in_one(
    installed: Installation, folder: Path
) -> None:
    def told(out: str, *arguments: str) -> tuple[str, list[tuple[object, ...]]]:
        ended = installed.pytest_alone("--target", "honest,flips", "--reports", out, "-v", *arguments, cwd=folder)
        assert (ended.code, counts(ended)) == (1, {"passed": 2, "failed": 2})
        assert len(list((folder / out).glob("*/*.jsonl"))) == 2
        return ended.out, sorted(
            (r["target"], r["case"], r["verdicts"]["outputs"]["detail"], r["digest"], tuple(r["places"]))
            for r in results(folder / out)
        )

    _, alone = told("alone")
    out, together = told("together", "-n", "2")
    assert alone == together
    assert len(alone) == 4
    placed = re.findall(r"\[(gw\d)\].* (?:PASSED|FAILED) \S+\[(\w+)-float32\]", out)
    assert sorted(target for _, target in placed) == ["flips", "flips", "honest", "honest"]
    assert len(set(placed)) == 2


def test_a_target_of_one_s_own_is_dealt_over_all_processes(installed: Installation, folder: Path) -> None:
    ended = installed.pytest_alone("--target", "honest", "--tier", "full", "-v", "-n", "2", cwd=folder)
    assert (ended.code, counts(ended)) == (0, {"passed": 4})
    assert {*re.findall(r"\[(gw\d)\].* PASSED", ended.out)} == {"gw0", "gw1"}
    assert len([*results(folder / "reports")]) == 4


def test_a_wrong_case_file_is_a_collection_error_with_its_place(installed: Installation, folder: Path) -> None:
    path = folder / "conv2d.yaml"
    path.write_text(path.read_text().replace("stride: 2", "stirde: 2"))
    ended = installed.pytest_alone("--target", "honest", cwd=folder)
    assert (ended.code, counts(ended)) == (2, {"error": 1})
    assert re.search(r"conv2d.yaml:13:\d+: .*'stirde'.*Did you mean 'stride'\?", ended.out)
    assert "Traceback" not in ended.out


def test_a_target_that_cannot_start_fails_its_items_with_the_line_that_installs_it(
    installed: Installation, folder: Path
) -> None:
    ended = installed.pytest_alone("conv2d.yaml", "--target", "lacks,honest", cwd=folder)
    assert (ended.code, counts(ended)) == (1, {"passed": 1, "failed": 1})
    assert "Install it with: pip install no-such-framework" in ended.out


def test_a_case_on_file_passes(installed: Installation, folder: Path) -> None:
    path = folder / "conv2d.yaml"
    path.write_text(path.read_text().replace("about: Plain.\n", "about: Plain.\n    expect: {shape: [1, 2, 2, 2]}\n"))
    ended = installed.pytest_alone("conv2d.yaml", "--target", "honest", "-v", cwd=folder)
    assert (ended.code, counts(ended)) == (0, {"passed": 2})
    assert "conv2d/plain[reference-float32] PASSED" in ended.out  # what a case states is asked of the reference too


def test_a_probe_says_which_reading_it_found(installed: Installation, folder: Path) -> None:
    path = folder / "conv2d.yaml"
    readings = "{not flipped: {}, flipped: {variant: kernel flipped}}"
    path.write_text(path.read_text().replace("about: Plain.\n", f"about: Plain.\n    readings: {readings}\n"))
    ended = installed.pytest_alone("conv2d.yaml", "--target", "honest,flips", "-v", cwd=folder)
    assert (ended.code, counts(ended)) == (0, {"passed": 2})
    assert "conv2d/plain[honest-float32] PASSED (not flipped)" in ended.out
    assert "conv2d/plain[flips-float32] PASSED (flipped)" in ended.out
    told = {result["target"]: result["reading"] for result in results(folder / "reports")}
    assert told == {"honest": "not flipped", "flips": "flipped"}


def test_a_probe_that_names_no_variant_is_a_collection_error(installed: Installation, folder: Path) -> None:
    path = folder / "conv2d.yaml"
    readings = "{not flipped: {}, flipped: {variant: kernel flip}}"
    path.write_text(path.read_text().replace("about: Plain.\n", f"about: Plain.\n    readings: {readings}\n"))
    ended = installed.pytest_alone("conv2d.yaml", "--target", "honest", cwd=folder)
    assert (ended.code, counts(ended)) == (2, {"error": 1})
    assert "conv2d has no variant 'kernel flip'. Did you mean 'kernel flipped'?" in ended.out


def test_a_project_without_case_files_is_left_alone(installed: Installation, tmp_path: Path) -> None:
    names = "{'pydantic', 'yaml', 'pandas'}"
    (tmp_path / "test_own.py").write_text(
        f"import sys\n\ndef test_own():\n    assert not {names} & set(sys.modules)\n"
    )
    ended = installed.pytest(cwd=tmp_path)
    assert (ended.code, counts(ended)) == (0, {"passed": 1})
    assert "report:" not in ended.out
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "__pycache__") == ["test_own.py"]
