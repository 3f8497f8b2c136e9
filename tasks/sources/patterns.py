"""Which keys a path or pattern selects: one matcher for every source.

``*`` and ``?`` stay within one part of a path, ``**`` is any number of whole parts (none included), ``[a-z]`` and
``[!a-z]`` are one character, ``{a,b}`` is either. ``[*]`` is a star itself.

A pattern whose last part is plain (``2024-*/img``), or that ends in ``/``, names folders: all below them is selected;
any other names objects. Without a pattern all below the path is selected, or the one object of that name. A path that
ends in something like ``.jpg`` may be either, and is taken for both.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from tasks.core.errors import BadInput

MOST_ALTERNATIVES = 1000
_MAGIC = re.compile(r"[*?\[{]")
_EXTENSION = re.compile(r"[^/]\.[A-Za-z][A-Za-z0-9]{0,4}$")


@dataclass(frozen=True)
class _Levels:
    """A pattern without braces, folder by folder.

    Attributes:
        parts: one expression a part, ``None`` for ``**``.
        below: whether all below what it matches is selected.
    """

    parts: tuple[re.Pattern[str] | None, ...]
    below: bool

    def lead_on(self, names: list[str]) -> bool:
        """Whether something selected can lie in the folder of these names."""
        for name, part in zip(names, self.parts, strict=False):
            if part is None:
                return True
            if not part.fullmatch(name):
                return False
        return self.below or len(names) < len(self.parts)


@dataclass(frozen=True)
class Selection:
    """What a path or pattern selects.

    Attributes:
        text: the path as the user wrote it.
        root: its longest fixed folder, empty or ending in ``/``; keys are told relative to it.
        prefix: its longest fixed beginning, below which to list.
        by_extension: whether only media extensions count: the pattern itself names none.
    """

    text: str
    root: str
    prefix: str
    by_extension: bool
    _regex: re.Pattern[str] = field(repr=False)
    _levels: tuple[_Levels, ...] = field(repr=False)

    def matches(self, key: str) -> bool:
        """Whether the whole ``key`` is selected."""
        return self._regex.fullmatch(key) is not None

    def leads_into(self, folder: str) -> bool:
        """Whether anything selected can lie in ``folder``, which ends in ``/``: others need not be listed."""
        names = folder[:-1].split("/")
        return any(levels.lead_on(names) for levels in self._levels)


def is_pattern(path: str) -> bool:
    """Whether ``path`` holds anything but plain characters."""
    return _MAGIC.search(path) is not None


def exactly(key: str) -> Selection:
    """The selection of just the object ``key``, whatever characters and extension it has."""
    parts = tuple(re.compile(re.escape(part), re.DOTALL) for part in key.split("/"))
    return Selection(
        text=key,
        root=key[: key.rfind("/") + 1],
        prefix=key,
        by_extension=False,
        _regex=re.compile(re.escape(key), re.DOTALL),
        _levels=(_Levels(parts, below=False),),
    )


def parse_selection(path: str) -> Selection:
    """The selection of ``path``, which is relative to a bucket or file system.

    Raises:
        BadInput: a bracket or brace is not closed, or the braces stand for too many patterns.
    """
    text, first = path, _MAGIC.search(path)
    if first is None and path and not path.endswith("/") and not _has_extension(path):
        path += "/"
    fixed = path if first is None else path[: first.start()]
    alternatives = _expand(path)
    return Selection(
        text=text,
        root=fixed[: fixed.rfind("/") + 1],
        prefix=fixed,
        by_extension=first is None or not all(map(_names_objects, alternatives)),
        _regex=re.compile("|".join(map(_translate, alternatives)), re.DOTALL),
        _levels=tuple(map(_split, alternatives)),
    )


def _has_extension(path: str) -> bool:
    return _EXTENSION.search(path) is not None


def _names_objects(pattern: str) -> bool:
    """Whether a pattern without braces tells its objects' extension, and so takes the place of the usual ones."""
    last = pattern.rpartition("/")[2]
    return (is_pattern(last) and "." in last) or _has_extension(last)


def _split(pattern: str) -> _Levels:
    slashes = [place for place, character in _plain_characters(pattern) if character == "/"]
    parts = [pattern[left + 1 : right] for left, right in pairwise([-1, *slashes, len(pattern)])]
    below = not is_pattern(parts[-1])
    if not parts[-1]:
        parts.pop()
    return _Levels(tuple(None if part == "**" else _part(part) for part in parts), below)


def _part(pattern: str) -> re.Pattern[str]:
    return re.compile(_pieces(pattern), re.DOTALL)


def _expand(pattern: str) -> list[str]:
    """The patterns without braces that ``pattern`` stands for."""
    done: list[str] = []
    pending = [pattern]
    while pending:
        first = pending.pop(0)
        choice = _first_choice(first)
        if choice is None:
            done.append(first)
        else:
            before, options, after = choice
            pending[:0] = [before + option + after for option in options]
        if len(done) + len(pending) > MOST_ALTERNATIVES:
            raise BadInput(f"pattern {pattern}: its braces stand for over {MOST_ALTERNATIVES} patterns; use * instead")
    return done


def _first_choice(pattern: str) -> tuple[str, list[str], str] | None:
    """What stands before the first brace, the options in it, and what follows; ``None`` without a brace."""
    start, commas, depth = -1, [], 0
    for place, character in _plain_characters(pattern):
        if character == "{":
            depth += 1
            if depth == 1 and start < 0:
                start = place
        elif character == "," and depth == 1:
            commas.append(place)
        elif character == "}" and depth:
            depth -= 1
            if not depth:
                cuts = [start, *commas, place]
                options = [pattern[left + 1 : right] for left, right in pairwise(cuts)]
                return pattern[:start], options, pattern[place + 1 :]
    if depth:
        raise BadInput(f"pattern {pattern}: a {{ is not closed; a brace itself is written [{{]")
    return None


def _plain_characters(pattern: str) -> Iterator[tuple[int, str]]:
    """Each character that is not part of a class, with its place."""
    place = 0
    while place < len(pattern):
        if pattern[place] == "[":
            place += _character_class(pattern, place)[1]
        else:
            yield place, pattern[place]
            place += 1


def _translate(pattern: str) -> str:
    """The regular expression of a pattern without braces."""
    if not pattern or pattern.endswith("/"):
        return _pieces(pattern) + ".*"
    return _pieces(pattern) + ("" if is_pattern(pattern.rpartition("/")[2]) else "(?:/.*)?")


def _pieces(pattern: str) -> str:
    pieces: list[str] = []
    place = 0
    while place < len(pattern):
        piece, used = _translate_next(pattern, place)
        pieces.append(piece)
        place += used
    return "".join(pieces)


def _translate_next(pattern: str, place: int) -> tuple[str, int]:
    """The expression of what stands at ``place``, and the number of characters it takes."""
    rest = pattern[place:]
    if rest.startswith("**/") and pattern[place - 1 : place] in ("", "/"):
        return "(?:[^/]*/)*", 3
    if rest == "**" and pattern[place - 1 : place] in ("", "/"):
        return ".*", 2
    if rest[0] == "*":
        return "[^/]*", len(rest) - len(rest.lstrip("*"))
    if rest[0] == "?":
        return "[^/]", 1
    if rest[0] == "[":
        return _character_class(pattern, place)
    return re.escape(rest[0]), 1


def _character_class(pattern: str, place: int) -> tuple[str, int]:
    """The class that begins at ``place`` and the number of characters it takes; never matches ``/``."""
    start = place + 2 if pattern[place + 1 : place + 2] in ("!", "^") else place + 1
    end = pattern.find("]", start + 1)
    if end < 0:
        raise BadInput(f"pattern {pattern}: a [ is not closed; a bracket itself is written [[]")
    negation = "^" if start > place + 1 else ""
    return f"(?!/)[{negation}{_class_members(pattern, start, end)}]", end + 1 - place


def _class_members(pattern: str, start: int, end: int) -> str:
    """The characters and ranges of a class, as a regular expression writes them."""
    pieces: list[str] = []
    inside = pattern[start:end]
    while inside:
        first, last = inside[0], inside[2:3] if inside[1:2] == "-" else ""
        if last and last < first:
            raise BadInput(f"pattern {pattern}: [{inside[:3]}] is a range from high to low")
        pieces.append(f"{re.escape(first)}-{re.escape(last)}" if last else re.escape(first))
        inside = inside[3:] if last else inside[1:]
    return "".join(pieces)
