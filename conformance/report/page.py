"""The page: everything that was measured, without a network; details that are many stand in files beside it."""

import base64
import hashlib
import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final
from urllib.parse import urlencode, urlsplit

from markupsafe import Markup

from conformance.report import charts, details, selfcheck, training
from conformance.report.changes import changes
from conformance.report.collection import Collection, Entry, agreement, collect, effective_bits, family, target_order
from conformance.report.conventions import ports, topics
from conformance.report.operators import offer
from conformance.report.payload import build
from conformance.report.replacing import replace_text
from conformance.report.templating import asset, environment
from conformance.run.store import Run
from conformance.verdict.deviations import Deviation
from conformance.verdict.model import Outcome
from conformance.verdict.oracle import reference_digest

SCRIPTS: Final = ("data.js", "heatmap.js", "matrix.js", "case.js", "app.js")
# Rows of a list that stand open, and rows beyond which nobody reads on: the matrix has them all.
FIRST: Final = 12
# Differences on file that the overview opens with: the targets still begin on the first screen.
FOREMOST: Final = 6
LISTED: Final = 300
# Rows of a deviation that say what came; of the others the cases' names say enough.
FEW: Final = 3

GLYPHS: Final[Mapping[str, str]] = {
    "exact": "=",
    "within bound": "\N{ALMOST EQUAL TO}",
    "within norm-wise bound": "\N{TILDE OPERATOR}",
    "refused": "\N{CIRCLED DIVISION SLASH}",
    Outcome.AGREES: "\N{ALMOST EQUAL TO}",
    Outcome.INCONCLUSIVE: "?",
    Outcome.UNSUPPORTED: "\N{EN DASH}",
    Outcome.REFUSED: "R",
    Outcome.LOW_PRECISION: "\N{DOWNWARDS ARROW}",
    Outcome.FELL_BACK: "\N{LEFTWARDS ARROW WITH HOOK}",
    Outcome.UNSTABLE: "~",
    Outcome.DIFFERS: "\N{NOT EQUAL TO}",
    Outcome.ACCEPTED_INVALID: "!",
    Outcome.TIMED_OUT: "T",
    Outcome.CRASHED: "\N{MULTIPLICATION SIGN}",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Bits:
    """Effective bits of a format: median and least; infinite where nothing differs."""

    format: str
    median: float
    least: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What came of a group of results."""

    outcomes: tuple[tuple[str, int], ...]
    total: int
    unexpected: int
    bits: tuple[Bits, ...]

    @classmethod
    def of(cls, entries: Sequence[Entry]) -> "Tally":
        """Counts entries."""
        counts = Counter(entry.result.outcome for entry in entries)
        by_format: dict[str, list[float]] = {}
        for entry in entries:
            bits = effective_bits(entry.result)
            if bits is not None:
                by_format.setdefault(entry.column.format, []).append(bits)
        return cls(
            outcomes=tuple((outcome.value, counts[outcome]) for outcome in Outcome if counts[outcome]),
            total=len(entries),
            unexpected=sum(entry.result.unexpected for entry in entries),
            bits=tuple(
                Bits(format=name, median=statistics.median_low(found), least=min(found))
                for name, found in sorted(by_format.items(), reverse=True)
            ),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A result in a list, with the formats in which the same came of it."""

    entry: Entry
    formats: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """A target: what it is, and what came of it."""

    name: str
    run: Run
    tally: Tally
    families: Mapping[str, Tally]
    older: int
    seconds: float

    @property
    def started(self) -> str:
        """When the newest run began, to the minute."""
        return self.run.header.started[:16].replace("T", " ")


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A deviation on file, and the results that show it; a deviation whose text is not at hand has its id alone.

    Attributes:
        place: its element on the page.
    """

    id: str
    place: str
    deviation: Deviation | None
    shown: tuple[Row, ...]
    stale: tuple[Row, ...]

    @property
    def met(self) -> bool:
        """Whether the runs say anything of it."""
        return bool(self.shown or self.stale)

    @property
    def cases(self) -> int:
        """How many cases show it."""
        return len(self.by_case)

    @property
    def by_case(self) -> tuple[tuple[str, tuple[Row, ...]], ...]:
        """The cases that show it, each with its rows."""
        found: dict[str, list[Row]] = {}
        for row in self.shown:
            found.setdefault(row.entry.result.case, []).append(row)
        return tuple((case, tuple(rows)) for case, rows in found.items())

    @property
    def targets(self) -> tuple[str, ...]:
        """Who shows it."""
        return tuple(sorted({row.entry.column.target for row in self.shown}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Refuted:
    """A claim of a source that does not hold, and who was asked."""

    case: str
    says: str
    source: str
    about: str
    false_on: tuple[str, ...]
    true_on: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reported:
    """A case that somebody's report on the web became, and what came of it on every target."""

    case: str
    about: str
    link: str
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """The page, and the chunks of details that stand beside it; none where it holds them itself."""

    text: str
    beside: Mapping[str, str]


def write_report(reports: Path, deviations: Sequence[Deviation] = ()) -> Path:
    """Writes `index.html` into a folder of runs, from every run below it, and returns its path.

    A run that cannot be read is named on the page. Details that are more than a page should hold go into a folder
    beside it, before it; then the file is replaced in one step.
    """
    page = render(collect(reports), deviations)
    reports.mkdir(parents=True, exist_ok=True)
    if page.beside:
        details.write(reports, page.beside)
    replace_text(reports / "index.html", page.text)
    details.tidy(reports, page.beside)
    return reports / "index.html"


def render(collection: Collection, deviations: Sequence[Deviation] = ()) -> Page:
    """The page as text, and what stands beside it."""
    made = environment()
    made.filters |= {"bits": show_bits, "web": web_link, "thread": thread, "seconds": show_seconds, "short": _short}
    made.filters |= {"number": selfcheck.number, "figures": selfcheck.figures}
    made.globals |= {
        "glyph": GLYPHS,
        "legend": charts.legend,
        "query": _query,
        "float": float,
        "share": selfcheck.share,
    }
    script = "\n".join(asset(made, name) for name in SCRIPTS)
    entries = [entry for row in collection.by_case.values() for entry in row.values()]
    unexpected = [entry for entry in entries if entry.result.unexpected]
    conventions = topics(collection)
    backends = {run.header.description.backend for run in collection.runs}
    known = _known(entries, [each for each in deviations if backends & set(each.backend)])
    payload = build(collection, charts.heat_records(collection.training), _threads(known))
    inside = details.inside(payload.chunks)
    text = made.get_template("page.html.j2").render(
        style=Markup(asset(made, "style.css")),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii"),
        index=payload.index,
        chunks=payload.chunks if inside else {},
        beside=not inside,
        problems=(*collection.problems, *payload.problems),
        generated=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        product=_product(),
        summaries=[_summary(collection, name) for name in collection.latest],
        families=sorted({family(entry.result.operator) for entry in entries}),
        outcomes=[outcome.value for outcome in Outcome if any(e.result.outcome is outcome for e in entries)],
        total=len(entries),
        cases=len(collection.by_case),
        tally=Tally.of(entries),
        unexpected=unexpected,
        unexpected_rows=_rows(unexpected),
        stale=_rows([entry for entry in entries if entry.result.stale]),
        known=known,
        differing=sorted((item for item in known if item.shown), key=_gravest_first),
        reported=_reported(collection),
        changes=changes(collection),
        offer=offer(collection),
        refuted=_refuted(collection),
        topics=conventions,
        ports=ports(conventions),
        selfchecks=collection.selfchecks,
        build=reference_digest(),
        forms=training.forms(collection.training, {case: record.about for case, record in collection.cases.items()}),
        seeded=training.seeded(collection.training),
        first=FIRST,
        foremost=FOREMOST,
        listed=LISTED,
        few=FEW,
    )
    return Page(text=text, beside={} if inside else payload.chunks)


def _rows(entries: Sequence[Entry]) -> tuple[Row, ...]:
    """Entries as rows, the gravest first; formats in which the same came of a case stand in one."""
    found: dict[tuple[str, str, Outcome], list[Entry]] = {}
    for entry in entries:
        found.setdefault((entry.column.target, entry.result.case, entry.result.outcome), []).append(entry)
    rows = [
        Row(entry=same[0], formats=tuple(dict.fromkeys(entry.column.format for entry in same)))
        for same in found.values()
    ]
    return tuple(sorted(rows, key=lambda row: -row.entry.result.outcome.severity))


def _product() -> str:
    try:
        return version("cnn-conformance")
    except PackageNotFoundError:
        return ""


def _summary(collection: Collection, name: str) -> Summary:
    run = collection.latest[name]
    entries = [entry for entry in collection.entries if entry.column.target == name]
    by_family: dict[str, list[Entry]] = {}
    for entry in entries:
        by_family.setdefault(family(entry.result.operator), []).append(entry)
    return Summary(
        name=name,
        run=run,
        tally=Tally.of(entries),
        families={key: Tally.of(found) for key, found in by_family.items()},
        older=sum(entry.run is not run for entry in entries),
        seconds=run.seconds or sum(result.total_seconds for result in run.results),
    )


def _known(entries: Sequence[Entry], deviations: Sequence[Deviation]) -> list[Known]:
    """The deviations of the backends that were asked: stale ones, then what results show, then the others."""
    texts = {deviation.id: deviation for deviation in deviations}
    shown: dict[str, list[Entry]] = {}
    stale: dict[str, list[Entry]] = {}
    for entry in entries:
        for name in entry.result.deviations:
            shown.setdefault(name, []).append(entry)
        for name in entry.result.stale:
            stale.setdefault(name, []).append(entry)
    names = sorted({*texts, *shown, *stale}, key=lambda name: (name not in stale, name not in shown, name))
    return [
        Known(
            id=name,
            place=f"deviation-{place}",
            deviation=texts.get(name),
            shown=_rows(shown.get(name, ())),
            stale=_rows(stale.get(name, ())),
        )
        for place, name in enumerate(names, start=1)
    ]


def _gravest_first(item: Known) -> tuple[bool, int, int, str]:
    """Wrong answers before answers to questions that have none, which nobody meets in a model that works."""
    outcome = item.shown[0].entry.result.outcome
    return (outcome is Outcome.ACCEPTED_INVALID, -outcome.severity, -item.cases, item.id)


def _threads(known: Sequence[Known]) -> dict[str, tuple[str, str, str]]:
    """What pages of cases say of the deviations that their results show: the sentence, the place, the thread."""
    return {
        item.id: (item.deviation.about, item.place, web_link(item.deviation.link))
        for item in known
        if item.deviation is not None and item.met
    }


def _reported(collection: Collection) -> list[Reported]:
    """Cases whose source is a thread on the web, with what shows now of what it describes."""
    return [
        Reported(
            case=case,
            about=record.about,
            link=link,
            rows=tuple(sorted(_rows(list(row.values())), key=lambda row: target_order(row.entry.column.target))),
        )
        for case, row in collection.by_case.items()
        if (record := collection.cases.get(case)) is not None and (link := web_link(record.source))
    ]


def _refuted(collection: Collection) -> list[Refuted]:
    """Claims that cases hold to be false, with what was measured."""
    found: dict[tuple[str, str], dict[bool, list[str]]] = {}
    for case, row in collection.by_case.items():
        for column, entry in row.items():
            for claim in entry.result.claims:
                if not claim.holds:
                    who = found.setdefault((case, claim.says), {True: [], False: []})[claim.measured]
                    who.append(f"{column.target}-{column.format}")
    refuted = []
    for (case, says), measured in found.items():
        record = collection.cases.get(case)
        refuted.append(
            Refuted(
                case=case,
                says=says,
                source=record.source if record else "",
                about=record.about if record else "",
                false_on=tuple(measured[False]),
                true_on=tuple(measured[True]),
            )
        )
    return refuted


def show_bits(value: float) -> str:
    """Effective bits for people: one decimal, rounded down."""
    return "exact" if math.isinf(value) else f"{math.floor(value * 10) / 10:.1f}"


def show_seconds(value: float) -> str:
    """A duration for people."""
    if value < 1:
        return f"{value * 1000:.0f} ms"
    return f"{value:.1f} s" if value < 90 else f"{value // 60:.0f} min {value % 60:.0f} s"


def web_link(link: str) -> str:
    """The link if it leads to the web, else nothing: no other scheme becomes clickable."""
    try:
        parts = urlsplit(link)
    except ValueError:
        return ""
    return link if parts.scheme in ("http", "https") and parts.netloc else ""


def thread(link: str) -> str:
    """A link as people cite it: owner/project#number, or the address without its scheme."""
    host, _, path = link.partition("//")[2].partition("/")
    match path.split("/"):
        case [owner, project, "issues" | "pull", number] if host == "github.com":
            return f"{owner}/{project}#{number}"
    return f"{host}/{path}"


def _query(**values: str) -> str:
    return urlencode(values)


def _short(entry: Entry) -> str:
    """How a result is best told in one sign: the way it agrees, or its outcome."""
    result = entry.result
    if result.outcome is Outcome.AGREES:
        return GLYPHS[agreement(result).value]
    return GLYPHS[result.outcome]
