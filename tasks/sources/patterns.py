"""Which keys a path or pattern selects: one matcher for every source.

``*`` and ``?`` stay within one part of a path, ``**`` is any number of whole parts (none included), ``[a-z]`` and
``[!a-z]`` are one character, ``{a,b}`` is either. ``[*]`` is a star itself.

A pattern whose last part is plain (``2024-*/img``), or that ends in ``/``, names folders: all below them is selected;
any other names objects. Without a pattern all below the path is selected, or the one object of that name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from tasks.core.errors import BadInput
from tasks.sources.base import IMAGE_EXTENSIONS

_MAGIC = re.compile(r"[*?\[{]")


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

    def matches(self, key: str) -> bool:
        """Whether the whole ``key`` is selected."""
        return self._regex.fullmatch(key) is not None


def is_pattern(path: str) -> bool:
    """Whether ``path`` holds anything but plain characters."""
    return _MAGIC.search(path) is not None


def parse_selection(path: str) -> Selection:
    """The selection of ``path``, which is relative to a bucket or file system.

    Raises:
        BadInput: a bracket or brace is not closed.
    """
    last = path.rpartition("/")[2]
    names_objects = is_pattern(last)
    if not is_pattern(path):
        return _plain(path)
    fixed = path[: _MAGIC.search(path).start()]  # type: ignore[union-attr]  # it is a pattern
    regex = _translate(path)
    if not names_objects:
        regex = f"{regex.removesuffix('/')}/.*" if path.endswith("/") else f"{regex}(?:/.*)?"
    return Selection(
        text=path,
        root=fixed[: fixed.rfind("/") + 1],
        prefix=fixed,
        by_extension=not (names_objects and "." in last),
        _regex=re.compile(regex, re.DOTALL),
    )


def _plain(path: str) -> Selection:
    """Everything below a folder, or the one object; a name with a media extension is taken for an object's."""
    one_object = PurePosixPath(path).suffix.lower() in IMAGE_EXTENSIONS and not path.endswith("/")
    if one_object:
        root, regex = path[: path.rfind("/") + 1], f"{re.escape(path)}(?:/.*)?"
        return Selection(path, root, path, by_extension=True, _regex=re.compile(regex, re.DOTALL))
    root = path if not path or path.endswith("/") else path + "/"
    return Selection(path, root, root, by_extension=True, _regex=re.compile(f"{re.escape(root)}.*", re.DOTALL))


def _translate(pattern: str) -> str:
    """The regular expression of a pattern."""
    pieces: list[str] = []
    place = depth = 0
    while place < len(pattern):
        rest = pattern[place:]
        if rest.startswith("**/") and _begins_part(pattern, place):
            piece, used = "(?:[^/]*/)*", 3
        elif rest.startswith("**") and _begins_part(pattern, place) and (rest[2:3] or "}") in "},":
            piece, used = ".*", 2
        elif rest[0] == "*":
            piece, used = "[^/]*", len(rest) - len(rest.lstrip("*"))
        elif rest[0] == "?":
            piece, used = "[^/]", 1
        elif rest[0] == "[":
            piece, used = _character_class(pattern, place)
        elif rest[0] == "{":
            piece, used, depth = "(?:", 1, depth + 1
        elif depth and rest[0] == "}":
            piece, used, depth = ")", 1, depth - 1
        elif depth and rest[0] == ",":
            piece, used = "|", 1
        else:
            piece, used = re.escape(rest[0]), 1
        pieces.append(piece)
        place += used
    if depth:
        raise BadInput(f"pattern {pattern}: a {{ is not closed; a brace itself is written [{{]")
    return "".join(pieces)


def _begins_part(pattern: str, place: int) -> bool:
    return place == 0 or pattern[place - 1] in "/{,"


def _character_class(pattern: str, place: int) -> tuple[str, int]:
    """The class that begins at ``place`` and the number of characters it takes; never matches ``/``."""
    start = place + 2 if pattern[place + 1 : place + 2] in ("!", "^") else place + 1
    end = pattern.find("]", start + 1)
    if end < 0:
        raise BadInput(f"pattern {pattern}: a [ is not closed; a bracket itself is written [[]")
    inside = re.sub(r"([\\\[\]^&~|])", r"\\\1", pattern[start:end])
    negated = start > place + 1
    return f"(?!/)[{'^' if negated else ''}{inside}]", end + 1 - place
