"""The report: what is merged, what is embedded, what is drawn, and that text stays text."""

import base64
import gzip
import hashlib
import json
import math
import os
import re
import struct
import time
from collections.abc import Mapping
from dataclasses import replace
from html.parser import HTMLParser
from itertools import count
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from conformance.case.job import Description, Target
from conformance.report import charts
from conformance.report.axes import resolve_axes
from conformance.report.changes import changes
from conformance.report.collection import collect, family, natural
from conformance.report.details import SPARED_SECONDS
from conformance.report.drawings import draw_case
from conformance.report.operators import offer
from conformance.report.page import show_bits, show_seconds, web_link, write_report
from conformance.report.summary import json_summary, markdown_summary
from conformance.run.execute import Execution, TargetRun
from conformance.run.result import Result
from conformance.run.store import CaseRecord, RunWriter
from conformance.verdict.deviations import Assessment, Deviation
from conformance.verdict.free_running import FreeRun
from conformance.verdict.judge import ClaimResult
from conformance.verdict.model import Comparison, Outcome, Reason, Verdict

TEMPLATES = Path(__file__).parents[1] / "report" / "templates"
HOSTILE = (
    "</script><script>evil()</script><img src=x onerror=evil()>"
    """" onmouseover="evil()' onfocus='evil() <!-- ]]> {{ 7 * 7 }}"""
)


def describe(name: str = "torch", **more: Any) -> Description:
    given: dict[str, Any] = {
        "backend": name,
        "versions": {name: "2.13.0"},
        "device": "cpu",
        "cpu_features": (),
        "switches": {},
        "accumulators": (),
        "absent": (),
        "operators": ("conv2d",),
    }
    return Description(**{**given, **more})


def case_of(name: str, **more: Any) -> CaseRecord:
    given: dict[str, Any] = {
        "id": name,
        "operator": "conv2d",
        "about": "Strides of two.",
        "source": "",
        "tier": "core",
        "yaml": "operator: conv2d\n",
        "shapes": {"x": (1, 5, 7, 1), "w": (3, 2, 1, 1)},
        "attributes": {"stride": (2, 2), "dilation": (1, 1), "groups": 1, "padding": "same"},
    }
    return CaseRecord(**{**given, **more})


def result_of(name: str, outcome: Outcome = Outcome.AGREES, **more: Any) -> Result:
    agrees = outcome is Outcome.AGREES
    reason = Reason.WITHIN_BOUND if agrees else Reason.VALUE
    given: dict[str, Any] = {
        "case": name,
        "operator": "conv2d",
        "target": "torch",
        "format": "float32",
        "layout": "native",
        "verdicts": {"outputs": Verdict(outcome=outcome, reason=reason, detail="" if agrees else "one is off")},
        "assessments": {"outputs": Assessment(standing="expected" if agrees else "unexpected")},
        "comparisons": (comparison_of(within=agrees),),
        "calls": ("F.conv2d(x, w, stride=2)",),
        "digest": "0123",
    }
    return Result(**{**given, **more})


def comparison_of(**more: Any) -> Comparison:
    given: dict[str, Any] = {
        "name": "output",
        "check": "outputs",
        "data": "normal",
        "within": True,
        "reason": Reason.WITHIN_BOUND,
        "expected_shape": (1, 3, 4, 1),
        "got_shape": (1, 3, 4, 1),
        "expected_format": "float32",
        "got_format": "float32",
        "worst_index": (0, 1, 2, 0),
        "bits": 23.99,
        "ratio": 0.3,
    }
    return Comparison(**{**given, **more})


_NAMES = count()


def write_run(
    folder: Path,
    results: list[tuple[Result, CaseRecord | None]],
    *,
    target: str = "torch",
    complete: bool = True,
    description: Description | None = None,
    training: Mapping[str, Any] | None = None,
    started: str | None = None,
) -> Path:
    writer = RunWriter(folder, target, description or describe(target))
    for result, case in results:
        writer.result(result, case)
    if training:
        writer.training(training)
    writer.close(complete=complete)
    path = writer.path
    # Runs of one test begin in the same second; the header decides which is newer.
    lines = path.read_text(encoding="utf-8").splitlines()
    hour, minute = divmod(next(_NAMES), 60)
    header = {**json.loads(lines[0]), "started": started or f"2026-01-01T{hour:02}:{minute:02}:00+00:00"}
    path.write_text("\n".join([json.dumps(header), *lines[1:]]) + "\n", encoding="utf-8")
    return path


class Page(HTMLParser):
    """What a browser would make of a page: elements with attributes, and the texts of scripts by id."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: dict[str, str] = {}
        self.words = ""
        self._script: str | None = None
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "script":
            self._script = dict(attrs).get("id") or "program"

    def handle_endtag(self, tag: str) -> None:
        if tag == "script":
            self._script = None

    def handle_data(self, data: str) -> None:
        if self._script is not None:
            self.scripts[self._script] = self.scripts.get(self._script, "") + data
        else:
            self.words += data

    def tags(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.elements if tag == name]

    @property
    def index(self) -> dict[str, Any]:
        index: dict[str, Any] = json.loads(gzip.decompress(base64.b64decode(self.scripts["index"])))
        return index

    def chunk(self, number: int = 0) -> tuple[list[dict[str, Any]], list[list[Any]], bytes]:
        raw = gzip.decompress(base64.b64decode(self.scripts[f"chunk-{self.index['chunks'][number]}"]))
        (length,) = struct.unpack_from("<I", raw)
        plain = json.loads(raw[4 : 4 + length])
        return plain["cases"], plain["arrays"], raw[4 + length :]


def page_of(folder: Path, deviations: tuple[Deviation, ...] = ()) -> Page:
    return Page(write_report(folder, deviations).read_text(encoding="utf-8"))


def unpack(table: list[list[Any]], content: bytes, place: int) -> np.ndarray[Any, Any]:
    """Reads an array as the page's script does."""
    shape, kind, offset, *base = table[place]
    size = math.prod(shape)
    width = 2 if kind == "h" else 4
    grouped = np.frombuffer(content, np.uint8, size * width, offset).reshape(width, size)
    words = sum(grouped[byte].astype(np.uint32) << 8 * byte for byte in range(width))
    words = np.asarray(words, np.uint32)
    if kind == "h":
        words = words << 16
    if kind == "d":
        near = unpack(table, content, base[0]).reshape(-1).view(np.uint32).astype(np.int64)
        folded = words.astype(np.int64)
        step = np.where(folded & 1, -(folded >> 1) - 1, folded >> 1)
        there = np.where(near >= 2**31, 2**31 - 1 - near, near) + step
        there = (there & 0xFFFFFFFF).astype(np.uint32).view(np.int32).astype(np.int64)
        words = np.where(there < 0, 2**31 - 1 - there, there).astype(np.uint32)
    return words.view(np.float32).reshape(shape)


def test_text_from_cases_and_backends_stays_text(tmp_path: Path) -> None:
    name = f"conv2d/{HOSTILE}"
    result = result_of(
        name,
        Outcome.DIFFERS,
        verdicts={"outputs": Verdict(outcome=Outcome.DIFFERS, reason=Reason.VALUE, detail=HOSTILE)},
        assessments={"outputs": Assessment(standing="unexpected", deviation=HOSTILE)},
        comparisons=(comparison_of(name=HOSTILE, data=HOSTILE, within=False),),
        claims=(ClaimResult(says=HOSTILE, holds=False, measured=False),),
        calls=(HOSTILE,),
        evidence={f"normal/operand/{HOSTILE}": np.ones((2, 2))},
    )
    stale = result_of(f"{name}2", assessments={"outputs": Assessment(standing="stale", deviation=HOSTILE)})
    record = case_of(name, about=HOSTILE, source=HOSTILE, yaml=HOSTILE, tier=HOSTILE)
    write_run(
        tmp_path,
        [(result, record), (stale, None)],
        description=describe(versions={HOSTILE: HOSTILE}, device=HOSTILE, switches={HOSTILE: HOSTILE}),
        training={
            "id": HOSTILE,
            "target": HOSTILE,
            "losses": [1.0],
            "ratios": {HOSTILE: [0.5]},
            "network_text": HOSTILE,
        },
    )
    (tmp_path / "torch" / "x<script>evil()<.jsonl").write_text(f"{HOSTILE}\n", encoding="utf-8")
    deviation = Deviation(
        id=HOSTILE,
        cases=(HOSTILE,),
        backend=HOSTILE,
        outcome=Outcome.DIFFERS,
        about=HOSTILE,
        link="javascript:evil()",
    )
    page = page_of(tmp_path, (deviation,))
    assert not page.tags("img")
    assert len(page.tags("script")) == 2 + sum(name.startswith("chunk-") for name in page.scripts)
    assert not [key for _, attributes in page.elements for key in attributes if key.startswith("on")]
    assert not [a for a in page.tags("a") if (a.get("href") or "").startswith("javascript")]
    assert "evil()" in page.words
    assert "evil()" not in page.scripts["program"]
    assert page.index["ids"][0] == name
    assert page.chunk()[0][0]["yaml"] == HOSTILE


def test_a_case_tells_the_terms_and_the_end_to_end_note(tmp_path: Path) -> None:
    note = FreeRun(name="last", error=2e-3, radius=1e-5, ratio=200.0)
    told = {"location": "output on normal data: 1 of 12 elements differ", "terms": ("one", "two"), "free_run": note}
    write_run(tmp_path, [(result_of("conv2d/a", Outcome.DIFFERS, **told), case_of("conv2d/a"))])
    named = result_of("conv2d/b", Outcome.DIFFERS, **told, agrees_with=("kernel flipped",))
    write_run(tmp_path, [(named, case_of("conv2d/b"))])
    write_run(tmp_path, [(result_of("conv2d/c"), case_of("conv2d/c"))])
    page = page_of(tmp_path)
    cases = [case["results"][0] for case in page.chunk()[0]]
    assert [(case["diagnosis"], case["terms"], case["free"]) for case in cases] == [
        ("output on normal data: 1 of 12 elements differ", "one\ntwo", note.text),
        ("agrees with: kernel flipped", "one\ntwo", note.text),
        ("", "", ""),
    ]
    for part in ("result.terms", "result.free"):
        assert part in page.scripts["program"]


def test_the_program_makes_no_markup_of_strings() -> None:
    for script in TEMPLATES.glob("*.js"):
        text = script.read_text(encoding="utf-8")
        found = re.findall(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|srcdoc", text
        )
        assert found == [], script.name
        assert "</" not in re.sub(r'"/></svg>`', "", text), f"{script.name} must not close elements"


def test_the_page_allows_its_own_program_alone_and_no_network(tmp_path: Path) -> None:
    write_run(tmp_path, [(result_of("conv2d/a"), case_of("conv2d/a"))])
    page = page_of(tmp_path)
    policy = next(a["content"] for a in page.tags("meta") if a.get("http-equiv") == "Content-Security-Policy")
    digest = base64.b64encode(hashlib.sha256(page.scripts["program"].encode()).digest()).decode()
    assert policy is not None
    assert f"script-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    addresses = [a[key] or "" for _, a in page.elements for key in ("src", "href") if key in a]
    assert all(address.startswith(("#", "data:,")) for address in addresses)


def heavy(folder: Path, *names: str) -> None:
    """A run whose details are more than a page holds: numbers that no compression shortens."""
    generator = np.random.default_rng(5)
    for name in names:
        evidence = {"normal/operand/x": generator.normal(size=(280, 1000)).astype(np.float32)}
        write_run(folder, [(result_of(name, evidence=evidence), case_of(name))])


def test_details_that_are_many_stand_beside_the_page_by_their_contents_names(tmp_path: Path) -> None:
    heavy(tmp_path, "conv2d/a", "conv2d/b")
    page = page_of(tmp_path)
    assert (tmp_path / "index.html").stat().st_size < 200_000
    assert not [name for name in page.scripts if name.startswith("chunk-")]
    policy = next(a["content"] for a in page.tags("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert "'strict-dynamic'" in (policy or "")
    assert len(page.index["chunks"]) == 2
    for name in page.index["chunks"]:
        script = (tmp_path / "details" / f"{name}.js").read_text(encoding="ascii")
        found = re.fullmatch(rf'conformanceDetails\("{name}","([A-Za-z0-9+/=]+)"\);\n', script)
        assert found is not None
        assert hashlib.sha256(found[1].encode()).hexdigest().startswith(name)
        assert gzip.decompress(base64.b64decode(found[1]))


def test_details_that_no_page_names_go_once_they_are_old(tmp_path: Path) -> None:
    heavy(tmp_path, "conv2d/a", "conv2d/b")
    page_of(tmp_path)
    folder = tmp_path / "details"
    for name, age in (("old", SPARED_SECONDS + 60), ("young", 0)):
        (folder / f"{name}.js").write_text("")
        then = time.time() - age
        os.utime(folder / f"{name}.js", (then, then))
    kept = {f"{name}.js" for name in page_of(tmp_path).index["chunks"]}
    assert {path.name for path in folder.iterdir()} == {*kept, "young.js"}


def test_few_details_stand_in_the_page_and_leave_no_folder(tmp_path: Path) -> None:
    write_run(tmp_path, [(result_of("conv2d/a"), case_of("conv2d/a"))])
    (tmp_path / "details").mkdir()
    page = page_of(tmp_path)
    assert [f"chunk-{name}" for name in page.index["chunks"]] == [name for name in page.scripts if "chunk" in name]
    assert not (tmp_path / "details").exists()


def test_the_newest_result_of_a_question_wins_and_a_filtered_run_erases_nothing(tmp_path: Path) -> None:
    write_run(
        tmp_path,
        [(result_of(f"conv2d/{n}", Outcome.DIFFERS), case_of(f"conv2d/{n}", about="old")) for n in "ab"],
        started="2026-01-01T00:00:00+00:00",
    )
    write_run(
        tmp_path,
        [(result_of("conv2d/a"), case_of("conv2d/a", about="new"))],
        started="2026-01-02T00:00:00+00:00",
    )
    found = {entry.result.case: entry.result.outcome for entry in collect(tmp_path).entries}
    assert found == {"conv2d/a": Outcome.AGREES, "conv2d/b": Outcome.DIFFERS}
    page = page_of(tmp_path)
    assert page.index["abouts"] == ["new", "old"]
    assert "1 of the results are from earlier runs" in page.words


def test_runs_and_arrays_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    result = result_of("conv2d/a", evidence={"normal/operand/x": np.ones((2, 2))})
    path = write_run(tmp_path, [(result, case_of("conv2d/a"))])
    path.with_suffix(".arrays").write_bytes(b"cut off")
    (tmp_path / "torch" / "broken.jsonl").write_text('{"kind": "surprise"}\n', encoding="utf-8")
    (tmp_path / "torch" / "binary.jsonl").write_bytes(b"\xff\xfe\x00")
    page = page_of(tmp_path)
    for name in ("torch/broken.jsonl", "torch/binary.jsonl", f"torch/{path.stem}.arrays"):
        assert name in page.words
    assert page.index["ids"] == ["conv2d/a"]
    assert str(tmp_path) not in page.words


def test_a_folder_without_runs_gives_a_page_that_says_so(tmp_path: Path) -> None:
    assert "No results yet" in page_of(tmp_path).words


def test_the_page_is_replaced_in_one_step(tmp_path: Path) -> None:
    write_run(tmp_path, [(result_of("conv2d/a"), case_of("conv2d/a"))])
    (tmp_path / "index.html").write_text("old", encoding="utf-8")
    path = write_report(tmp_path)
    assert path == tmp_path / "index.html"
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert sorted(found.name for found in tmp_path.iterdir()) == ["index.html", "torch"]


def test_accumulators_and_stored_sums_are_listed(tmp_path: Path) -> None:
    told = describe(
        accumulators=(("conv*", "bfloat16", "gradients/b", "float32"),), stored_sums=(("dense", "float16"),)
    )
    write_run(tmp_path, [(result_of("conv2d/a"), case_of("conv2d/a"))], description=told)
    words = page_of(tmp_path).words
    assert "2 that are not the storage format" in words
    assert "conv* bfloat16 gradients/b: float32" in words
    assert "dense float16 outputs: stored before the bias is added" in words


def test_an_incomplete_run_is_told(tmp_path: Path) -> None:
    write_run(tmp_path, [(result_of("conv2d/a"), case_of("conv2d/a"))], complete=False)
    assert "Incomplete:" in page_of(tmp_path).words


def test_arrays_come_back_as_single_precision_and_equal_ones_are_shared(tmp_path: Path) -> None:
    generator = np.random.default_rng(7)
    expected = generator.normal(size=(1, 3, 4, 1))
    got = expected.astype(np.float32)
    got.reshape(-1)[:7] = [np.nan, np.inf, -np.inf, -0.0, 1e-42, -3e38, np.nextafter(np.float32(1), np.float32(2))]
    bound = np.abs(generator.normal(size=expected.shape)) * 1e-7
    other = np.zeros((2, 2), np.float32)
    for target, mine in (("torch", got), ("tf", got[::-1]), ("jax", other)):
        evidence = {
            "normal/operand/x": expected,
            "normal/output/output/expected": expected,
            "normal/output/output/bound": bound,
            "normal/output/output/got": mine.astype(np.float64),
        }
        write_run(tmp_path, [(result_of("conv2d/a", evidence=evidence), case_of("conv2d/a"))], target=target)
    cases, table, content = page_of(tmp_path).chunk()
    results = cases[0]["results"]
    places = [result["arrays"]["normal"]["output output"] for result in results]
    assert len({place["expected"] for place in places}) == 1
    assert {result["arrays"]["normal"]["operand x"]["given"] for result in results} == {places[0]["expected"]}
    by_target = {place: unpack(table, content, place["got"]) for place in map(_Frozen, places)}
    jax, tf, torch = by_target.values()
    np.testing.assert_array_equal(torch, got)
    assert np.signbit(torch.reshape(-1)[3])
    np.testing.assert_array_equal(tf, got[::-1])
    np.testing.assert_array_equal(jax, other)
    bounds = unpack(table, content, places[0]["bound"])
    assert (bounds >= bound.astype(np.float32)).all()
    np.testing.assert_allclose(bounds, bound, rtol=2**-7)


class _Frozen(dict[str, int]):
    def __hash__(self) -> int:  # type: ignore[override]
        return id(self)


def test_the_page_stays_small(tmp_path: Path) -> None:
    generator = np.random.default_rng(1)
    names = [f"conv2d/{n}" for n in range(40)]
    shapes = {"operand/x": (2, 7, 9, 3), "operand/w": (3, 2, 3, 4), "cotangent/output": (2, 4, 5, 4)}
    arrays = {
        name: {
            **{f"normal/{key}": generator.normal(size=shape) for key, shape in shapes.items()},
            "normal/output/output/expected": generator.normal(size=(2, 4, 5, 4)),
            "normal/output/output/bound": generator.uniform(1e-7, 1e-6, size=(2, 4, 5, 4)),
        }
        for name in names
    }
    for target in ("torch", "tf", "jax"):
        results = []
        for name in names:
            near = arrays[name]["normal/output/output/expected"]
            got = (near * (1 + 2e-7 * generator.normal(size=near.shape))).astype(np.float32)
            evidence = {**arrays[name], "normal/output/output/got": got.astype(np.float64)}
            for format_name in ("float32", "float64"):
                kept = evidence if format_name == "float32" else {}
                result = result_of(name, format=format_name, evidence=kept, comparisons=(comparison_of(),) * 6)
                results.append((result, case_of(name)))
        write_run(tmp_path, results, target=target)
    size = write_report(tmp_path).stat().st_size
    program = sum(path.stat().st_size for path in TEMPLATES.iterdir())
    assert size - program < len(names) * 7000


def test_matrix_codes_tell_outcome_way_and_standing(tmp_path: Path) -> None:
    exact = comparison_of(reason=Reason.EXACT, bits=math.inf)
    stated = comparison_of(name="output (stated)", bits=13.1)
    expected = Assessment(standing="expected", deviation="known")
    refused = Verdict(outcome=Outcome.AGREES, reason=Reason.REFUSED_AS_EXPECTED)
    results = {
        "a": result_of("conv2d/a", comparisons=(exact,)),
        "b": result_of("conv2d/b", comparisons=(comparison_of(), stated)),
        "c": result_of("conv2d/c", comparisons=(), verdicts={"outputs": refused}),
        "d": result_of("conv2d/d", Outcome.DIFFERS, assessments={"outputs": expected}),
        "e": result_of("conv2d/e", Outcome.CRASHED, comparisons=()),
        "f": result_of("conv2d/f", assessments={"outputs": Assessment(standing="stale", deviation="known")}),
    }
    write_run(tmp_path, [(result, case_of(result.case)) for result in results.values()])
    index = page_of(tmp_path).index
    severity = {outcome.value: outcome.severity * 100 for outcome in Outcome}
    assert index["codes"] == [[10, 20, 30, severity["DIFFERS"] + 1, severity["CRASHED"] + 3, 22]]
    assert index["bits"] == [[-1, 239, -2, 239, -2, 239]]


def test_unexpected_results_come_first_and_formats_share_a_row(tmp_path: Path) -> None:
    results = [
        result_of("conv2d/a", Outcome.DIFFERS),
        result_of("conv2d/a", Outcome.DIFFERS, format="float64"),
        result_of("conv2d/b", Outcome.CRASHED),
    ]
    write_run(tmp_path, [(result, case_of(result.case)) for result in results])
    page = page_of(tmp_path)
    assert "3 unexpected results" in page.words
    links = [a["href"] for a in page.tags("a") if "case=" in (a.get("href") or "")]
    assert links == ["#case=conv2d%2Fb&target=torch-float32", "#case=conv2d%2Fa&target=torch-float32"]
    assert "float32, float64" in page.words


def test_deviations_are_listed_with_what_shows_them_stale_ones_first(tmp_path: Path) -> None:
    shown = result_of(
        "conv2d/a", Outcome.DIFFERS, assessments={"outputs": Assessment(standing="expected", deviation="b")}
    )
    stale = result_of("conv2d/b", assessments={"outputs": Assessment(standing="stale", deviation="z")})
    write_run(tmp_path, [(shown, case_of("conv2d/a")), (stale, case_of("conv2d/b"))])
    known = [
        Deviation(id=name, cases=("*",), backend="torch", outcome=Outcome.DIFFERS, about=f"About {name}.", link=link)
        for name, link in (("a", ""), ("b", "https://example.org/1"), ("z", "ftp://example.org"))
    ]
    nobody = Deviation(id="n", cases=("*",), backend="jax", outcome=Outcome.DIFFERS, about="Of who was not asked.")
    page = page_of(tmp_path, (*known, nobody))
    assert nobody.about not in page.words
    listed = page.words[page.words.index("Deviations on file") :]
    places = [listed.index(f"About {name}.") for name in ("z", "b", "a")]
    assert places == sorted(places)
    assert "not met by these runs" in page.words
    assert [a["href"] for a in page.tags("a") if "example" in (a.get("href") or "")] == ["https://example.org/1"]


def test_a_deviation_says_what_came_of_a_few_results_and_names_all_of_their_cases(tmp_path: Path) -> None:
    expected = {"outputs": Assessment(standing="expected", deviation="known")}
    names = [f"conv2d/{letter}" for letter in "abcdef"]
    shown = [result_of(name, Outcome.DIFFERS, assessments=expected) for name in names]
    shown.append(result_of("conv2d/e", Outcome.DIFFERS, assessments=expected, format="float64"))
    write_run(tmp_path, [(result, case_of(result.case)) for result in shown])
    page = page_of(tmp_path)
    listed = page.words[page.words.index("Deviations on file") :]
    assert "Shown by 6 results of 6 cases" in listed
    assert listed.count("conv2d/a") == 2  # what came of it, and its name among all
    assert listed.count("conv2d/f") == 1
    assert "float32, float64" in listed


def test_refuted_claims_are_listed_with_who_was_asked(tmp_path: Path) -> None:
    claims = (
        ClaimResult(says="output keeps 5x5", holds=False, measured=False),
        ClaimResult(says="stride is 2", holds=True, measured=True),
    )
    write_run(tmp_path, [(result_of("conv2d/a", claims=claims), case_of("conv2d/a"))])
    words = page_of(tmp_path).words
    assert "“output keeps 5x5”" in words
    assert "false on torch-float32" in words
    assert "stride is 2" not in words


def test_what_moved_since_the_run_before_stands_on_the_overview(tmp_path: Path) -> None:
    old = describe(versions={"torch": "2.12.0"})
    day = "2026-01-0{}T00:00:00+00:00"
    lost = result_of("conv2d/c", comparisons=(comparison_of(bits=20.0),))
    write_run(
        tmp_path,
        [(result_of(f"conv2d/{name}"), case_of(f"conv2d/{name}")) for name in "abcx"],
        description=old,
        started=day.format(1),
    )
    newer = [result_of("conv2d/a", Outcome.DIFFERS), result_of("conv2d/b"), lost, result_of("conv2d/new")]
    write_run(tmp_path, [(result, case_of(result.case)) for result in newer], started=day.format(2))
    write_run(tmp_path, [(result_of("conv2d/a"), case_of("conv2d/a"))], target="jax")
    (change,) = changes(collect(tmp_path))
    assert (change.target, change.compared, change.same) == ("torch", 3, 1)
    assert change.versions == (("torch", "2.12.0", "2.13.0"),)
    # What a selection leaves out is not gone.
    assert [(section.title, [line.name for line in section.lines]) for section in change.sections] == [
        ("Worse", ["conv2d/a [float32]"]),
        ("Bits lost", ["conv2d/c [float32]"]),
        ("New", ["conv2d/new [float32]"]),
    ]
    page = page_of(tmp_path)
    assert "against the run of 2026-01-01 00:00 UTC" in page.words
    assert "torch 2.12.0 → 2.13.0" in page.words
    assert {"href": "#case=conv2d%2Fc&target=torch", "class": "id"} in page.tags("a")


def test_the_table_of_operators_tells_native_composed_and_absent(tmp_path: Path) -> None:
    everything = ("conv2d", "mish", "prelu", "relu")
    results = [
        result_of("conv2d/a", composed=()),
        result_of("conv2d/b", composed=("there is no SAME",)),
        result_of("conv2d/b", composed=("there is no SAME",), format="float64"),
        result_of("mish/a", operator="mish", composed=("no mish",)),
        result_of("relu/a", operator="relu", composed=()),
        result_of("prelu/a", Outcome.REFUSED, operator="prelu"),
    ]
    told = describe(operators=everything, absent=("relu:gradients",))
    write_run(tmp_path, [(result, None) for result in results], description=told)
    write_run(tmp_path, [(result_of("conv2d/a", composed=()), None)], target="jax", description=describe("jax"))
    found = {
        row.operator: dict(zip(table.targets, row.provisions, strict=True))
        for table in [offer(collect(tmp_path))]
        for row in table.rows
    }
    kinds = {operator: [p.kind for p in row.values()] for operator, row in found.items()}
    assert kinds == {
        "conv2d": ["native", "partly"],
        "mish": ["absent", "composed"],
        "prelu": ["absent", "untold"],
        "relu": ["absent", "native"],
    }
    partly = found["conv2d"]["torch"]
    assert (partly.answered, partly.composed, partly.lacking) == (2, 1, ("there is no SAME",))
    assert not found["relu"]["torch"].gradients
    assert "1 of 2 composed" in page_of(tmp_path).words


def test_a_case_tells_accumulators_sums_and_its_script(tmp_path: Path) -> None:
    told = describe(
        accumulators=(("conv*", "bfloat16", "gradients/b", "float32"),), stored_sums=(("conv*", "float16"),)
    )
    arrays = (comparison_of(), comparison_of(name="b", check="gradients"), comparison_of(name="output (stated)"))
    more = {"comparisons": arrays, "sums": {"normal/outputs/output": ("one", "two")}, "script": "print(1)\n"}
    results = [result_of("conv2d/a", format=name, **more) for name in ("float32", "bfloat16", "float16")]
    write_run(tmp_path, [(result, None) for result in results], description=told)
    cases, _, _ = page_of(tmp_path).chunk()
    assert [result["accumulators"] for result in cases[0]["results"]] == [
        [["output", "float32"], ["gradient of b", "float32"]],
        [["output", "bfloat16"], ["gradient of b", "float32"]],
        [["output", "float16"], ["gradient of b", "float16"], ["the sum before the bias", "stored in float16"]],
    ]
    assert cases[0]["results"][0]["sums"] == {"normal/outputs/output": "one\ntwo"}
    assert cases[0]["results"][0]["script"] == "print(1)\n"


def test_pages_of_cases_lead_to_the_thread_of_a_deviation(tmp_path: Path) -> None:
    shown = result_of(
        "conv2d/a", Outcome.DIFFERS, assessments={"outputs": Assessment(standing="expected", deviation="known")}
    )
    write_run(tmp_path, [(shown, case_of("conv2d/a"))])
    given = {"cases": ("*",), "backend": "torch", "outcome": Outcome.DIFFERS}
    deviations = (
        Deviation(id="known", about="So it is.", link="https://example.org/1", **given),
        Deviation(id="other", about="Not met.", link="https://example.org/2", **given),
    )
    page = page_of(tmp_path, deviations)
    assert page.index["known"] == {"known": ["So it is.", "deviation-1", "https://example.org/1"]}
    assert "deviation-1" in [a.get("id") for a in page.tags("article")]
    hostile = tuple(replace(each, link="javascript:evil()") for each in deviations)
    assert page_of(tmp_path, hostile).index["known"]["known"][2] == ""


def test_training_shows_every_backend_and_the_reference(tmp_path: Path) -> None:
    record = {
        "id": "training/mnist",
        "losses": [2.3, 2.0, "nan"],
        "reference_losses": [2.3, 2.1, 1.9],
        "accuracy": 0.89,
        "reference_accuracy": 0.9,
        "first_judged_difference": None,
        "first_loss_outside_one_step_bound": 2,
        "ratios": {"conv1": [0.1, "inf"]},
        "network_text": "Net()",
        "seconds": 3.5,
    }
    for target in ("torch", "jax"):
        write_run(tmp_path, [], target=target, training={**record, "target": target})
    page = page_of(tmp_path)
    assert len([a for a in page.tags("polyline") if a.get("class", "")]) == 3 + 2
    assert "0.8900" in page.words
    assert "step 2" in page.words
    assert [(r["target"], r["rows"]) for r in page.index["training"]] == [
        ("jax", [[0.1, "inf"]]),
        ("torch", [[0.1, "inf"]]),
    ]


@pytest.mark.parametrize("logarithmic", [False, True])
@pytest.mark.parametrize("values", [[], [0.0], [1.0], [1.0, 1.0], [math.nan, 2.0], [-3.0, 5.0], [1e-30, 1e30]])
def test_charts_take_any_numbers(values: list[float], logarithmic: bool) -> None:
    chart = charts.chart([charts.Line(name="a", values=values)], "t", "loss", logarithmic=logarithmic)
    if chart:
        assert "nan" not in str(ElementTree.fromstring(str(chart)).attrib)
        assert not re.search(r'"[^"]*\b(nan|inf)\b', str(chart))


def test_drawing_of_same_with_stride_two() -> None:
    (drawing,) = draw_case(case_of("conv2d/a"))
    assert drawing.lines == (
        ("rows", "floor((5 + 1 + 1 - 3) / 2) + 1 = 3", "pads: 1 low, 1 high"),
        ("columns", "floor((7 + 0 + 1 - 2) / 2) + 1 = 4", "pads: 0 low, 1 high"),
    )
    for picture in (drawing.plane, *drawing.strips):
        assert ElementTree.fromstring(picture).tag == "{http://www.w3.org/2000/svg}svg"


def test_drawing_tells_what_is_left_unread() -> None:
    attributes = {"stride": (3, 2), "dilation": (1, 2), "groups": 1, "padding": "valid"}
    (drawing,) = draw_case(case_of("conv2d/a", attributes=attributes, shapes={"x": (1, 8, 8, 1), "w": (2, 2, 1, 1)}))
    assert [line[2] for line in drawing.lines] == ["no pads; unread: 2, 5", "no pads; unread: 1, 3, 5, 7"]


def test_drawing_of_a_transposed_convolution_tells_the_crop() -> None:
    attributes = {"stride": (2, 3), "dilation": (1, 1), "groups": 1, "padding": "same", "output_padding": (0, 0)}
    shapes = {"x": (1, 2, 2, 1), "w": (3, 3, 1, 1)}
    record = case_of("t", operator="conv2d_transpose", attributes=attributes, shapes=shapes)
    (drawing,) = draw_case(record)
    assert drawing.lines[0][1:] == (
        "canvas (2 - 1) x 2 + 3 = 5; SAME keeps 2 x 2 = 4, from 0",
        "cropped: 0 at the low end, 1 at the high end",
    )
    assert drawing.lines[1][1:] == ("canvas (2 - 1) x 3 + 3 = 6; SAME keeps 2 x 3 = 6, from 0", "")


def test_drawing_of_a_size_that_is_told_has_its_pads() -> None:
    attributes = {"stride": (2, 2), "dilation": (1, 1), "padding": "same", "output_padding": (0, 0)}
    shapes = {"x": (1, 2, 2, 1), "w": (3, 1, 1, 1)}
    rows, columns = resolve_axes("conv2d_transpose", {**attributes, "output_size": (3, 4)}, shapes)
    assert (rows.formula, rows.remark) == (
        "canvas (2 - 1) x 2 + 3 = 5; 5 - 1 - 1 = 3",
        "cropped: 1 at the low end, 1 at the high end",
    )
    assert columns.formula == "canvas (2 - 1) x 2 + 1 = 3; 3 - 0 - 0 + 1 = 4"


def test_a_ceil_that_takes_no_window_in_the_high_pad_says_so() -> None:
    attributes = {"window": (2,), "stride": (3,), "dilation": (1,), "padding": ((1, 1),), "ceil_mode": True}
    (axis,) = resolve_axes("max_pool1d", attributes, {"x": (1, 3, 1)})
    assert axis.count == 2
    assert axis.formula == "ceil((3 + 1 + 1 - 2) / 3) + 1 = 2"
    (axis,) = resolve_axes("max_pool1d", {**attributes, "window": (3,)}, {"x": (1, 5, 1)})
    assert axis.formula.endswith(f"= {axis.count}")


def test_every_sliding_layer_of_a_chain_is_drawn() -> None:
    conv = {"stride": (1, 1), "dilation": (1, 1), "groups": 1, "padding": "same"}
    pool = {"window": (2, 2), "stride": (2, 2), "dilation": (1, 1), "padding": "valid", "ceil_mode": False}
    layers = [
        {"name": "conv1", "operator": "conv2d", "attributes": conv},
        {"name": "relu1", "operator": "relu", "attributes": {}},
        {"name": "pool1", "operator": "max_pool2d", "attributes": pool},
    ]
    shapes = {"x": (1, 6, 6, 1), "conv1/w": (3, 3, 1, 2)}
    drawings = draw_case(case_of("chain/a", operator="chain", attributes={"layers": layers}, shapes=shapes))
    assert [drawing.title for drawing in drawings] == ["conv1 (conv2d)", "pool1 (max_pool2d)"]
    assert drawings[1].lines[0][1] == "floor((6 + 0 + 0 - 2) / 2) + 1 = 3"


def test_layers_of_a_network_that_look_alike_are_drawn_once():
    window = {"stride": [1, 1], "dilation": [1, 1], "groups": 1, "padding": "same"}
    layers = [
        {"name": "one", "operator": "conv2d", "attributes": window},
        {"name": "two", "operator": "conv2d", "attributes": window, "takes": ["x"]},
        {"name": "sum", "operator": "add", "attributes": {}, "takes": ["two", "one"]},
    ]
    shapes = {"x": (1, 6, 7, 3), "one/w": (3, 3, 3, 3), "two/w": (3, 3, 3, 3)}
    (drawing,) = draw_case(case_of("chain/a", operator="chain", attributes={"layers": layers}, shapes=shapes))
    assert drawing.title == "one (conv2d), and 1 like it"


def test_a_question_without_an_answer_has_no_picture() -> None:
    assert draw_case(case_of("conv2d/a", shapes={"x": (1, 2, 2, 1), "w": (9, 9, 1, 1)}, attributes={})) == ()


def test_effective_bits_are_rounded_down() -> None:
    assert [show_bits(value) for value in (23.99, math.inf, 0.0)] == ["23.9", "exact", "0.0"]


def test_durations_read_well() -> None:
    assert [show_seconds(value) for value in (0.012, 12.34, 125)] == ["12 ms", "12.3 s", "2 min 5 s"]


def test_links_to_the_web_alone_are_clickable() -> None:
    given = ("https://a.org/x", "http://a.org", "javascript:evil()", "data:text/html,x", "//a.org", "", "https://[")
    assert [bool(web_link(link)) for link in given] == [True, True, False, False, False, False, False]


def test_operators_of_all_ranks_are_a_family() -> None:
    assert family("conv2d_transpose") == family("conv1d_transpose") == "conv_transpose"
    assert family("max_pool3d") == "max_pool"
    assert family("dense") == "dense"


def test_names_sort_by_their_numbers() -> None:
    assert sorted(["s10", "s2", "s1-b"], key=natural) == ["s1-b", "s2", "s10"]


def execution() -> Execution:
    bad = replace(result_of("conv2d/a|b", Outcome.DIFFERS), target="torch")
    run = TargetRun(target=Target(backend="torch"), description=describe(), results=(result_of("conv2d/c"), bad))
    missing = TargetRun(target=Target(backend="tf"), error="tf: cannot import <b>'tensorflow'</b>")
    return Execution(runs=(run, missing), complete=False)


def test_json_summary_is_plain() -> None:
    summary = json.loads(json.dumps(json_summary(execution(), Path("reports/index.html"))))
    assert summary["targets"]["torch"] == {"versions": {"torch": "2.13.0"}, "verdicts": {"AGREES": 1, "DIFFERS": 1}}
    assert summary["targets"]["tf"]["error"].startswith("tf: cannot import")
    assert summary["unexpected"] == [
        {"case": "conv2d/a|b", "target": "torch", "format": "float32", "verdict": "DIFFERS", "detail": "one is off"}
    ]
    assert summary["report"] == "reports/index.html"


def test_markdown_summary_names_what_is_on_file() -> None:
    assert "on file" not in markdown_summary(execution())
    run = execution().runs[0]
    known = {check: Assessment(standing="expected", deviation="a_b") for check in ("outputs", "gradients")}
    shown = tuple(result_of(f"conv2d/{name}", Outcome.DIFFERS, assessments=known) for name in "ab")
    text = markdown_summary(Execution(runs=(replace(run, results=shown),)))
    assert "Nothing unexpected." in text
    assert "<summary>1 known difference, on file</summary>\n\n- a\\_b: 2 results\n\n</details>" in text


def test_markdown_summary_tells_all_that_fails_a_run_and_who_answered() -> None:
    run = replace(execution().runs[0], description=replace(describe(), cpu_features=("avx2",)))
    stale = {check: Assessment(standing="stale", deviation="old") for check in ("outputs", "gradients")}
    shown = (result_of("conv2d/c", assessments=stale),)
    text = markdown_summary(Execution(runs=(replace(run, results=shown, below_floor=("torch: 1 agrees, not 2",)),)))
    assert "conv2d/c \\[torch-float32\\] agrees, but old says otherwise" in text
    assert "- torch: 1 agrees, not 2" in text
    assert text.rstrip().endswith("torch was torch 2.13.0 on cpu avx2.")


def test_markdown_summary_escapes_what_it_is_told() -> None:
    text = markdown_summary(execution())
    assert "| torch | 1 | 1 |" in text
    assert "conv2d/a\\|b" in text
    assert "<b>" not in text
