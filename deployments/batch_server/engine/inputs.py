"""What a workflow's definition says about its inputs.

Pure functions, used by the server before a job is taken and by the worker before a chunk is run.
"""

from collections.abc import Iterator, Mapping
from typing import Any

_IMAGE_TYPES = ("InferenceImage", "WorkflowImage")
_PARAMETER_TYPES = ("WorkflowParameter", "InferenceParameter")


class InputsInvalid(ValueError):
    """The image input or the parameters do not fit the definition; says how in one line."""


def find_image_input(definition: Mapping[str, Any], wanted: str | None = None) -> str:
    """Give the name of the image input to feed; batch jobs take workflows with exactly one.

    Args:
        definition: A workflow's bare specification.
        wanted: The name asked for, if any.

    Raises:
        InputsInvalid: There is none, or several, or it has another name.
    """
    names = [str(entry["name"]) for entry in _inputs(definition) if _is_image(entry)]
    if len(names) != 1:
        raise InputsInvalid(f"a workflow for images needs exactly one image input; this one has {_listed(names)}")
    if wanted not in (None, names[0]):
        raise InputsInvalid(f"the workflow has no image input {wanted!r}; it has {_listed(names)}")
    return names[0]


def check_parameters(definition: Mapping[str, Any], parameters: Mapping[str, Any]) -> None:
    """Refuse parameters that the definition does not declare: the engine itself would ignore them.

    Raises:
        InputsInvalid: Names the unknown parameter and the known ones.
    """
    known = [entry["name"] for entry in _inputs(definition) if entry.get("type") in _PARAMETER_TYPES]
    for name in parameters:
        if name not in known:
            raise InputsInvalid(f"the workflow has no parameter {name!r}; it has {_listed(known)}")


def _inputs(definition: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    entries = definition.get("inputs")
    for entry in entries if isinstance(entries, list) else []:
        if isinstance(entry, dict) and isinstance(entry.get("name"), str):
            yield entry


def _is_image(entry: Mapping[str, Any]) -> bool:
    if entry.get("type") == "WorkflowBatchInput":
        return "image" in (entry.get("kind") or ())
    return entry.get("type") in _IMAGE_TYPES


def _listed(names: list[Any]) -> str:
    return ", ".join(repr(name) for name in names) or "none"
