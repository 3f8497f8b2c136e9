"""The environment variables that the code reads, found by reading it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.readme.document import ROOT

CODE = ("flows", "tasks", "deployments")
READERS = {"environ", "environment", "settings", "profiles"}
"""What the mappings are called that hold variables."""
_NAME = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)*")


@dataclass(frozen=True)
class Setting:
    """A field of a class of settings.

    Attributes:
        names: its variables, the first of which counts.
        description: as the field has it.
        default: as it is written, where it is a plain value.
    """

    names: tuple[str, ...]
    description: str
    default: str


@cache
def modules() -> list[ast.Module]:
    """All modules of the code."""
    return [_parsed(path) for folder in CODE for path in sorted((ROOT / folder).rglob("*.py"))]


@cache
def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def settings() -> list[Setting]:
    """All fields that take their values from variables."""
    return [found for module in modules() for found in _settings(module)]


@cache
def variables_read() -> set[str]:
    """The variables that the code asks for by name, those of settings included."""
    asked = {name for module in modules() for name in _asked(module)}
    return asked | {name for setting in settings() for name in setting.names}


def _settings(module: ast.Module) -> Iterator[Setting]:
    constants = _constants(module)
    for node in ast.walk(module):
        if isinstance(node, ast.Call):
            yield from _setting(node, constants)


def _setting(call: ast.Call, constants: dict[str, str]) -> Iterator[Setting]:
    given = {word.arg: word.value for word in call.keywords}
    alias = given.get("validation_alias")
    if alias is None:
        return
    texts = [text for node in ast.walk(alias) if (text := _text(node, constants)) is not None and _NAME.fullmatch(text)]
    description = _text(given["description"], constants)
    assert description is not None, f"{texts}: the description is no plain text"
    yield Setting(tuple(texts), description, _default(given["default"]))


def _default(node: ast.expr) -> str:
    while isinstance(node, ast.Call):  # Path("…")
        node = node.args[0]
    value = ast.literal_eval(node)
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _asked(module: ast.Module) -> Iterator[str]:
    """Names in ``environ.get(NAME)`` and ``environ[NAME]``, whatever the mapping is called."""
    constants = _constants(module)
    for node in ast.walk(module):
        match node:
            case ast.Call(func=ast.Attribute(value=mapping, attr="get" | "pop"), args=[name, *_]):
                pass
            case ast.Subscript(value=mapping, slice=name):
                pass
            case _:
                continue
        called = mapping.attr if isinstance(mapping, ast.Attribute) else getattr(mapping, "id", "")
        text = _text(name, constants)
        if called in READERS and text is not None and _NAME.fullmatch(text):
            yield text


def _constants(module: ast.Module) -> dict[str, str]:
    """The texts that the module's names stand for, those imported from our own modules included."""
    found: dict[str, str] = {}
    for node in module.body:
        if isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] in CODE:
            file = ROOT / f"{node.module.replace('.', '/')}.py"
            there = _constants_of(file)
            found |= {alias.name: there[alias.name] for alias in node.names if alias.name in there}
    return found | _own_constants(module)


def _constants_of(file: Path) -> dict[str, str]:
    return _own_constants(_parsed(file)) if file.exists() else {}


def _own_constants(module: ast.Module) -> dict[str, str]:
    found: dict[str, str] = {}
    for node in module.body:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant(value=str(text))):
                found[name] = text
            case ast.Assign(targets=[ast.Tuple(elts=names)], value=ast.Tuple(elts=values)):
                found |= {
                    name.id: value.value
                    for name, value in zip(names, values, strict=True)
                    if isinstance(name, ast.Name) and isinstance(value, ast.Constant) and isinstance(value.value, str)
                }
    return found


def _text(node: ast.expr | ast.AST, constants: dict[str, str]) -> str | None:
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.Name(id=name):
            return constants.get(name)
    return None
