"""Names of classes: their order, and forms of them that a format or a file system can hold.

Class names come from models and are not trusted: a format that makes paths, lines or markup of them goes through
:func:`distinct`, so that two classes never become one.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass, field

UNNAMED = "object"
"""What a prediction without a class, or with a blank one, is called where a format needs a name."""
MAX_FOLDER_BYTES = 120
_LINE_BREAKS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_NOT_XML = re.compile("[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_IN_FOLDERS = frozenset(" ._,+()-")


def label_of(name: str | None) -> str:
    """The class under which a prediction is counted."""
    return name if name is not None and name.strip() else UNNAMED


@dataclass(frozen=True)
class Classes:
    """The classes of a dataset in the order of their indices, which run from 0 without a gap."""

    names: tuple[str, ...] = ()
    _places: Mapping[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_places", {name: place for place, name in enumerate(self.names)})

    def index(self, name: str) -> int:
        """The index of a class.

        Raises:
            KeyError: there is no such class.
        """
        return self._places[name]


def ordered(found: Mapping[str, Set[int | None]]) -> tuple[str, ...]:
    """Names in the order of their ids where every name has one id and no two share it, else sorted.

    Outputs of different models give the same id to different classes; then ids are of no use.

    Args:
        found: the ids that each name came with; ``None`` stands for no id.
    """
    single = {name: next(iter(ids)) for name, ids in found.items() if len(ids) == 1}
    known = {name: number for name, number in single.items() if number is not None and number >= 0}
    if len(known) == len(found) and len(set(known.values())) == len(found):
        return tuple(sorted(known, key=known.__getitem__))
    return tuple(sorted(found))


def distinct(
    names: Iterable[str], plain: Callable[[str], str], same: Callable[[str], str] = lambda name: name
) -> dict[str, str]:
    """A plain form for each name, no two alike; names that are plain already keep theirs.

    Args:
        names: in the order in which they may choose.
        plain: the form that a name would have by itself.
        same: forms are alike where this gives the same for them, such as ``str.casefold``.
    """
    forms: dict[str, str] = {}
    taken: set[str] = set()
    tried: dict[str, int] = {}
    for name in sorted(names, key=lambda name: plain(name) != name):
        form = chosen = plain(name)
        while same(chosen) in taken:
            tried[form] = tried.get(form, 1) + 1
            chosen = f"{form}~{tried[form]}"
        taken.add(same(chosen))
        forms[name] = chosen
    return forms


def as_line(name: str) -> str:
    """``name`` on one line: line breaks and control characters become blanks."""
    return _LINE_BREAKS.sub(" ", name)


def as_xml(name: str) -> str:
    """``name`` without the characters that XML has no way to write."""
    return _NOT_XML.sub("\ufffd", name)


def as_folder(name: str) -> str:
    """``name`` as the name of a folder: no separators, no leading dot or dash, and not long."""
    shown = "".join(map(_folder_character, unicodedata.normalize("NFC", name)))
    short = shown.encode()[:MAX_FOLDER_BYTES].decode(errors="ignore")
    return short.lstrip(" .-").rstrip(" .") or "_"


def as_yaml(name: str) -> str:
    """``name`` as a quoted YAML scalar, whatever it holds."""
    return '"' + "".join(map(_yaml_character, name)) + '"'


def _folder_character(character: str) -> str:
    letter = unicodedata.category(character)[0] in "LMN"
    return character if letter or character in _IN_FOLDERS else "_"


def _yaml_character(character: str) -> str:
    if character.isalnum() or (" " <= character <= "~" and character not in '"\\'):
        return character
    return f"\\U{ord(character):08X}"
