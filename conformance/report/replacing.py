"""A file that is replaced in one step: whoever reads it finds the old text or the new one, whole."""

import tempfile
from pathlib import Path


def replace_text(path: Path, text: str) -> None:
    """Writes a text beside a file, then puts it in its place; the folder must be there."""
    with tempfile.NamedTemporaryFile(
        "w",
        encoding="utf-8",
        newline="\n",
        dir=path.parent,
        prefix=f".{path.stem}-",
        suffix=path.suffix,
        delete=False,
    ) as file:
        temporary = Path(file.name)
        try:
            file.write(text)
            file.close()
            # Temporary files are their owner's alone; a report is as public as its folder.
            temporary.chmod(0o644)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
