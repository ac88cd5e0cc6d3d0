"""How every page is made: from the templates beside, with what is inserted escaped and nothing left undefined."""

from jinja2 import Environment, PackageLoader, StrictUndefined


def environment() -> Environment:
    """What pages are rendered with; a caller adds its own filters and globals."""
    return Environment(
        loader=PackageLoader("conformance.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def asset(made: Environment, name: str) -> str:
    """A file beside the templates as it is, such as the style."""
    assert made.loader is not None
    return made.loader.get_source(made, name)[0]
