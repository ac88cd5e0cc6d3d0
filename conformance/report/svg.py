"""Scalable vector graphics as text, every attribute and every word escaped."""

from typing import Any

from markupsafe import Markup, escape


def tag(name: str, /, *children: Markup, **attributes: Any) -> Markup:
    """An element; `cls` stands for class, underscores for hyphens, and attributes that are None are left out."""
    written = "".join(
        f' {"class" if key == "cls" else key.replace("_", "-")}="{escape(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    inside = "".join(escape(child) for child in children)
    return Markup(f"<{name}{written}>{inside}</{name}>")


def number(value: float) -> str:
    """A coordinate: two decimals at most, no trailing zeros."""
    return "0" if abs(value) < 0.005 else f"{value:.2f}".rstrip("0").rstrip(".")


def rectangle(cls: str, x: float, y: float, width: float, height: float, *, r: float | None = None) -> Markup:
    """A rectangle of a class."""
    return tag("rect", cls=cls, x=number(x), y=number(y), width=number(width), height=number(height), rx=r)


def text(cls: str, x: float, y: float, words: str, *, anchor: str = "start", size: float | None = None) -> Markup:
    """A line of text, centred on its height unless it is a caption."""
    return tag(
        "text", escape(words), cls=cls, x=number(x), y=number(y), text_anchor=anchor, font_size=size and number(size)
    )
