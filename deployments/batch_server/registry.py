"""The workflow definitions a server knows: those that come with it, and the user's own in the data folder.

Definitions are JSON files that hold a bare specification ("version", "inputs", "steps", "outputs"); the file's stem
is the workflow's id. They are read at each request, so a new file needs no restart.
"""

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from deployments.batch_server.blobs import flush_folder, make_folder
from deployments.batch_server.names import check_workflow_id
from deployments.batch_server.refusals import BadRequest, NotFound

BUILT_IN = Path(__file__).parent / "workflows"
FILE_FIELD = "image"
"""The field of a result that names the file."""


class WorkflowRegistry:
    """Finds and keeps definitions; the user's own go before built-in ones of the same id."""

    def __init__(self, own: Path, built_in: Path = BUILT_IN) -> None:
        self._own = own
        self._built_in = built_in

    def ids(self) -> list[str]:
        """The known ids in alphabetical order."""
        folders = (self._built_in, self._own)
        return sorted({path.stem for folder in folders for path in folder.glob("*.json")})

    def get(self, workflow_id: str) -> dict[str, Any]:
        """A workflow's specification.

        Raises:
            NotFound: No such workflow; names those there are.
            BadRequest: Its file does not hold a specification.
        """
        for folder in (self._own, self._built_in):
            # Looked up in a listing, never joined: the id comes from a client.
            path = next((p for p in folder.glob("*.json") if p.stem == workflow_id), None)
            if path is not None:
                return _read(path)
        raise NotFound(f"workflow {workflow_id!r} is not known here; known: {_listed(self.ids())}")

    def put(self, workflow_id: str, specification: Any) -> bool:
        """Keep a definition of the user's; gives whether anything changed.

        Raises:
            BadRequest: The id or the specification is not one.
        """
        check_workflow_id(workflow_id)
        definition = check_specification(specification)
        path = self._own / f"{workflow_id}.json"
        if path.exists() and _read(path) == definition:
            return False
        make_folder(self._own)
        handle, temporary = tempfile.mkstemp(dir=self._own, suffix=".part")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(definition, file, indent=2)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
        flush_folder(self._own)
        return True


def check_specification(content: Any) -> dict[str, Any]:
    """A specification, also when it lies under "specification".

    Raises:
        BadRequest: It lacks what every workflow has; says what.
    """
    if isinstance(content, dict) and isinstance(content.get("specification"), dict):
        content = content["specification"]
    if not isinstance(content, dict):
        raise BadRequest("a workflow definition is a JSON object with version, inputs, steps and outputs")
    for key in ("inputs", "steps", "outputs"):
        entries = content.get(key)
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise BadRequest(f"the workflow definition has no list of objects under {key!r}")
    return content


def check_outputs(definition: dict[str, Any], outputs: list[str]) -> None:
    """Raise BadRequest when a workflow's outputs cannot be those of a job.

    Args:
        definition: The workflow's specification.
        outputs: Names of the outputs to keep images of.
    """
    known = [str(entry.get("name")) for entry in definition["outputs"]]
    if FILE_FIELD in known:
        raise BadRequest(f"the workflow has an output {FILE_FIELD!r}, under which results name the file: rename it")
    unknown = sorted(set(outputs) - set(known))
    if unknown:
        raise BadRequest(f"the workflow has no output {_listed(unknown)}; it has: {_listed(known)}")


def _listed(names: list[str]) -> str:
    return ", ".join(names) or "none"


def _read(path: Path) -> dict[str, Any]:
    try:
        return check_specification(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, BadRequest) as error:
        raise BadRequest(f"the file of workflow {path.stem!r} holds no workflow definition: {error}") from None
