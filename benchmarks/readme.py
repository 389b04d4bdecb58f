"""The blocks of the README that commands write."""

from __future__ import annotations

from pathlib import Path

README = Path(__file__).resolve().parents[1] / "README.md"


def write(block: str, made: str) -> None:
    """Replace what stands between the marks of a block. The file is read now: others write it too."""
    begin, end = f"<!-- {block} -->", f"<!-- end of {block} -->"
    before, rest = README.read_text("utf-8").split(begin)
    README.write_text(f"{before}{begin}\n{made}\n{end}{rest.split(end)[1]}", "utf-8")
