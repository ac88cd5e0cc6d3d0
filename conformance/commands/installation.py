"""What is installed here, and what a full training needs beside it."""

from pathlib import Path
from typing import Annotated

import typer

from conformance.arguments import INCOMPLETE, told_plainly


def doctor() -> None:
    """Says what is installed, what each backend tells of itself, and which extra would replace what is there."""
    from conformance.run.doctor import examine

    failed = False
    for line in examine():
        print(line.text)
        failed |= line.failed
    raise typer.Exit(INCOMPLETE if failed else 0)


def mnist_download(
    folder: Annotated[Path, typer.Argument(help="Where the four official files go.")],
    base_url: Annotated[str, typer.Argument(help="A mirror of the four files: its address up to the file names.")],
) -> None:
    """Fetches the official MNIST files from a mirror of your choice and checks their digests."""
    from conformance.run.digits import download

    with told_plainly():
        for path in download(folder, base_url):
            print(path)
