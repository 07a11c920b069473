"""Find words of `words.tsv` in the repository's files: private words for which the field has a standard term.

python tools/check_words.py [FILE ...]     the files, by default all that git knows of in FOLDERS and at the root
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
TABLE = Path(__file__).with_name("words.tsv")
FOLDERS = ("src", "tests", "benchmarks", "examples", "docs", "tools", ".github")
TEXT = {".py", ".pyi", ".h", ".cpp", ".md", ".yml", ".toml", ".build", ".cff"}


class Word(NamedTuple):
    """A row of the table."""

    pattern: re.Pattern[str]
    instead: str
    where: str


def main() -> int:
    words = table(TABLE.read_text(encoding="utf-8"))
    found = 0
    for path in map(Path, sys.argv[1:] or tracked()):
        for number, line in enumerate((ROOT / path).read_text(encoding="utf-8").splitlines(), 1):
            for word in words:
                match = word.pattern.search(line) if str(path).startswith(word.where) else None
                if match:
                    found += 1
                    print(f"{path}:{number}: {match[0].strip()!r}; write: {word.instead}")
    print(f"{found} words of {TABLE.name} found" if found else f"no word of {TABLE.name} found")
    return 1 if found else 0


def table(text: str) -> list[Word]:
    rows = [line.split("\t") for line in text.splitlines() if line and not line.startswith("#")]
    return [Word(compiled(pattern), instead, where[0] if where else "") for pattern, instead, *where in rows]


def compiled(pattern: str) -> re.Pattern[str]:
    """The pattern between letters' ends, where any space may be an underscore."""
    spaced = pattern.replace(" ", r"[ _]")
    return re.compile(rf"(?<![A-Za-z])(?:{spaced})(?![A-Za-z])", re.IGNORECASE)


def tracked() -> list[str]:
    """Texts that people write, without results and without the history of changes."""
    listed = subprocess.run(["git", "-C", str(ROOT), "ls-files"], stdout=subprocess.PIPE, text=True, check=True).stdout
    paths = [Path(line) for line in listed.splitlines()]
    return [
        str(path)
        for path in paths
        if (len(path.parts) == 1 or path.parts[0] in FOLDERS)
        and path.suffix in TEXT
        and "results" not in path.parts
        and (ROOT / path).exists()
    ]


if __name__ == "__main__":
    sys.exit(main())
