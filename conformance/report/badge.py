"""A badge: one line about the newest results, as a small picture that needs no font file and no network."""

from typing import Final

from markupsafe import Markup

from conformance.report.collection import Collection
from conformance.report.svg import number, tag
from conformance.verdict.model import Outcome

HEIGHT: Final = 20
# Of the 11 px sans-serif that badges are written in: a mean letter's width, and the room at both ends of a half.
LETTER: Final = 6.4
ROOM: Final = 12
# White on these has a contrast above 4.5.
INK, OK, BAD, NOTHING = "#444b54", "#17654f", "#a62a10", "#56616d"


def badge(collection: Collection) -> str:
    """The badge of a collection: how many results agree, and how many are unexpected."""
    results = [entry.result for entry in collection.entries]
    agree = sum(result.outcome is Outcome.AGREES for result in results)
    unexpected = sum(result.unexpected for result in results)
    if unexpected:
        return draw("conformance", f"{unexpected} unexpected of {len(results)}", BAD)
    return draw("conformance", f"{agree} of {len(results)} agree", OK if agree else NOTHING)


def draw(left: str, right: str, colour: str) -> str:
    """Two words side by side."""
    widths = [len(words) * LETTER + ROOM for words in (left, right)]
    total = number(sum(widths))

    def half(x: float, width: float, words: str, fill: str) -> tuple[Markup, Markup]:
        return (
            tag("rect", x=number(x), width=number(width), height=HEIGHT, fill=fill),
            tag(
                "text",
                Markup.escape(words),
                x=number(x + width / 2),
                y=14,
                textLength=number(width - ROOM),
                fill="#fff",
                text_anchor="middle",
            ),
        )

    parts = (*half(0, widths[0], left, INK), *half(widths[0], widths[1], right, colour))
    return (
        tag(
            "svg",
            tag("title", Markup.escape(f"{left}: {right}")),
            tag("g", *parts, font_family="Verdana, DejaVu Sans, sans-serif", font_size=11),
            xmlns="http://www.w3.org/2000/svg",
            width=total,
            height=HEIGHT,
            viewBox=f"0 0 {total} {HEIGHT}",
            role="img",
        )
        + "\n"
    )
