"""What a user types becomes values, and what goes wrong becomes a message and an exit code.

Exit codes: 0 nothing unexpected; 1 something unexpected; 2 the call or a case file is wrong; 3 a target could not
start, or the run is incomplete; 5 nothing selected.
"""

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, get_args

import typer

from conformance.errors import ConformanceError, InvalidCases, InvalidTarget, TargetError, UnknownBackend

if TYPE_CHECKING:
    from conformance.case.job import Target

UNEXPECTED: Final = 1
WRONG: Final = 2
INCOMPLETE: Final = 3
NOTHING: Final = 5

Paths = Annotated[
    list[Path] | None, typer.Argument(help="Case files or folders; the shipped cases if none.", show_default=False)
]
Targets = Annotated[
    list[str] | None,
    typer.Option(
        "-t",
        "--target",
        help="BACKEND[:DEVICE][+MODE][@INTERPRETER], or a name of conformance.toml; repeatable. Every installed one "
        "if none. `conformance doctor` lists modes.",
    ),
]
Config = Annotated[
    Path | None,
    typer.Option("--config", help="Names targets; conformance.toml of the current folder, if there is one."),
]
Repeat = Annotated[
    int,
    typer.Option(
        "--repeat", min=1, help="Ask every question so often: other bits are UNSTABLE. Full asks once more."
    ),
]
Jobs = Annotated[
    int,
    typer.Option(
        "-j",
        "--jobs",
        min=0,
        help="Workers over which a target's questions are dealt, at most; 0: as many as the machine has cores.",
    ),
]
Keyword = Annotated[str, typer.Option("-k", "--keyword", help="Only items whose names match, as in pytest.")]
TierName = Annotated[
    str, typer.Option("--tier", help="smoke (seconds), core, or full: all, where a mode is costly, too.")
]
Formats = Annotated[str, typer.Option("--formats", help="Only these, comma-separated: float32,float64.")]
Layouts = Annotated[
    str,
    typer.Option("--layouts", help="In these, comma-separated: native,channels_first; else natively and in turn."),
]
Out = Annotated[Path, typer.Option("--out", help="Where runs and the report go.")]
MoreDeviations = Annotated[
    list[Path] | None, typer.Option("--deviations", help="More accepted differences, on file.")
]
MnistDir = Annotated[
    Path | None,
    typer.Option("--mnist-dir", envvar="CONFORMANCE_MNIST", help="The four official MNIST files, checked by digest."),
]


@contextmanager
def told_plainly() -> Iterator[None]:
    """Ends with a message and the exit code that it deserves, never with a traceback, on what a user can mend."""
    try:
        yield
    except KeyboardInterrupt as error:
        print("interrupted; what was measured is kept", file=sys.stderr)
        raise typer.Exit(INCOMPLETE) from error
    except InvalidCases as error:
        print(error, file=sys.stderr)
        print(f"{len(error.problems)} problem(s); nothing was run.", file=sys.stderr)
        raise typer.Exit(WRONG) from error
    except TargetError as error:
        print(error, file=sys.stderr)
        raise typer.Exit(WRONG if isinstance(error, (InvalidTarget, UnknownBackend)) else INCOMPLETE) from error
    except (ConformanceError, ValueError) as error:
        print(error, file=sys.stderr)
        raise typer.Exit(WRONG) from error


def shipped_root() -> Path:
    """The folder of the shipped cases."""
    from conformance.case.listing import default_root

    return default_root()


def cache_folder() -> Path:
    """Where this package keeps what it can make again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cnn-conformance"


def cores() -> int:
    """The processor's cores that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def existing(paths: Sequence[Path] | None) -> tuple[Path, ...]:
    """Paths that are there.

    Raises:
        ValueError: naming those that are not.
    """
    missing = [str(path) for path in paths or () if not path.exists()]
    if missing:
        raise ValueError(f"there is no {', '.join(missing)}; expected case files or folders of them")
    return tuple(paths or ())


def targets_of(texts: Sequence[str] | None, config: Path | None = None) -> "tuple[Target, ...]":
    """Targets, each text one or several with commas between; `config` names some, else `conformance.toml` here.

    Raises:
        InvalidTarget: if one cannot be read.
        InvalidCases: with every problem of the file that names targets.
    """
    if not texts:
        return ()  # listing cases needs no NumPy, which messages bring along
    from conformance.run.configuration import load_targets, target_of

    named = load_targets(config)
    return tuple(target_of(text.strip(), named) for joined in texts for text in joined.split(","))


def did_you_mean(given: str, allowed: Iterable[str]) -> str:
    """The nearest allowed name as a question, if one is near."""
    import difflib

    close = difflib.get_close_matches(given, list(allowed), 1)
    return f" Did you mean {close[0]!r}?" if close else ""


def one_of(what: str, given: str, allowed: Sequence[str]) -> None:
    """Refuses what is not among the allowed names.

    Raises:
        ValueError: with the nearest of them.
    """
    if given not in allowed:
        hint = did_you_mean(given, allowed)
        raise ValueError(f"{what} must be one of {', '.join(allowed)}, got {given!r}.{hint}")


def tier_of(text: str) -> Any:
    """A tier's name.

    Raises:
        ValueError: if there is none.
    """
    from conformance.case.model import TIERS

    one_of("--tier", text, TIERS)
    return text


def tiers_of(text: str) -> tuple[str, ...]:
    """A tier and the smaller ones."""
    from conformance.case.model import TIERS

    return TIERS[: TIERS.index(tier_of(text)) + 1]


def formats_of(text: str, *, integers: bool = True) -> Any:
    """Names of formats, with commas between; without `integers` floating-point ones alone.

    Raises:
        ValueError: if one is none.
    """
    from conformance.case.model import FloatName, FormatName

    return _names("--formats", text, get_args(FormatName if integers else FloatName))


def layouts_of(text: str) -> Any:
    """Names of layouts, with commas between.

    Raises:
        ValueError: if one is none.
    """
    from conformance.case.model import Layout

    return _names("--layouts", text, get_args(Layout))


def _names(what: str, text: str, allowed: Sequence[str]) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    for name in names:
        one_of(what, name, allowed)
    return names
