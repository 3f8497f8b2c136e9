"""The README taken apart: its sections, tables and blocks, and the commands of its shell blocks."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CODE = re.compile(r"`([^`]+)`")
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_ASSIGNMENT = re.compile(r"[A-Z_]+=")


@dataclass(frozen=True)
class Command:
    """A simple command, as a shell would read it.

    Attributes:
        variables: assignments in front of it, or all that it exports.
        words: its words; none for ``export``.
        output: file that its output goes to; empty: none.
    """

    variables: dict[str, str]
    words: tuple[str, ...] = ()
    output: str = ""

    @property
    def text(self) -> str:
        """The command without what stands around it."""
        return " ".join(self.words)

    def begins(self, start: str) -> bool:
        """Whether the command begins with these words."""
        return f"{self.text} ".startswith(f"{start} ")


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        language: as the fence names it.
        section: title of the section that it stands in.
        text: its lines.
    """

    language: str
    section: str
    text: str

    @cached_property
    def commands(self) -> list[Command]:
        """The commands of a shell block."""
        lines = self.text.replace("\\\n", " ").splitlines()
        return [read_command(words) for line in lines if (words := shlex.split(line, comments=True))]

    @property
    def title(self) -> str:
        """What the block begins with."""
        return self.text.partition("\n")[0]


def read_command(words: list[str]) -> Command:
    """The command that these words make."""
    exported = words[0] == "export"
    rest = words[1:] if exported else words
    count = next((index for index, word in enumerate(rest) if not _ASSIGNMENT.match(word)), len(rest))
    variables = {name: value for name, _, value in (word.partition("=") for word in rest[:count])}
    plain = rest[count:]
    if len(plain) > 2 and plain[-2] == ">":
        return Command(variables, tuple(plain[:-2]), plain[-1])
    return Command(variables, tuple(plain))


def section(title: str) -> str:
    """The text of a section, without its title."""
    return re.split(r"\n## ", README.partition(f"\n## {title}\n")[2])[0]


def sections() -> list[str]:
    """The titles of all sections."""
    return re.findall(r"^## (.+)$", README, re.MULTILINE)


def blocks(language: str) -> list[Block]:
    """All blocks in a language, in order."""
    return [
        Block(language, title, text)
        for title in sections()
        for found, text in _BLOCK.findall(section(title))
        if found == language
    ]


def rows(text: str, header: str) -> list[list[str]]:
    """The cells of the rows of the table whose first cell is ``header``."""
    lines = text.partition(f"\n| {header} |")[2].splitlines()[2:]
    table = lines[: next((index for index, line in enumerate(lines) if not line.startswith("|")), len(lines))]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in table]
