"""Workflow definitions: what a workflow takes, and registering one's own."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tasks.core.errors import BadInput, NotFound, RequestRefused, WorkflowUnknown
from tasks.core.identity import digest_json
from tasks.roboflow_api.models import Acknowledged, WorkflowAnswer
from tasks.roboflow_api.transport import Transport

Definition = dict[str, Any]
_PARAMETERS = frozenset({"WorkflowParameter", "InferenceParameter"})


@dataclass(frozen=True)
class Workflow:
    """A workflow as a run names it.

    Attributes:
        id: what a job refers to.
        definition: the specification, or ``None`` where the platform does not show it.
        recorded: its digest as a run has kept it, where the specification is not at hand.
    """

    id: str
    definition: Definition | None
    recorded: str | None = None

    @property
    def digest(self) -> str | None:
        """SHA-256 of the canonical definition."""
        return digest_json(self.definition) if self.definition is not None else self.recorded

    def check_parameters(self, parameters: dict[str, Any]) -> None:
        """Refuses parameters that the workflow does not have.

        Raises:
            BadInput: naming the ones it has.
        """
        if self.definition is None:
            return
        inputs = self.definition.get("inputs", [])
        known = [entry.get("name") for entry in inputs if entry.get("type") in _PARAMETERS]
        for name in parameters:
            if name not in known:
                has = ", ".join(map(str, known)) or "none"
                raise BadInput(f"workflow {self.id} has no parameter {name!r}; its parameters: {has}")


class WorkflowsApi:
    """``/{workspace}/workflows``; errors as in :class:`Transport`."""

    def __init__(self, transport: Transport, workspace: str) -> None:
        self._transport = transport
        self._root = f"/{quote(workspace, safe='')}/workflows"

    def find(self, workflow_id: str) -> Workflow:
        """A workflow that is saved on the platform.

        Raises:
            WorkflowUnknown: there is none of that id.
        """
        try:
            answer = self._transport.get(f"{self._root}/{quote(workflow_id, safe='')}", WorkflowAnswer)
        except NotFound as error:
            raise WorkflowUnknown(
                f"unknown workflow {workflow_id!r}: {error.excerpt or 'the platform has none of that id'}"
            ) from None
        return Workflow(workflow_id, _specification(answer.workflow.config))

    def register(self, file: Path) -> Workflow:
        """Saves the definition in ``file`` on a self-hosted server, under an id derived from name and content.

        Raises:
            BadInput: the file holds no definition, or the platform takes none this way (Roboflow's cloud).
        """
        definition = read_definition(file)
        workflow = Workflow(f"{_slug(file.stem)}-{digest_json(definition)[:8]}", definition)
        try:
            self._transport.post(f"{self._root}/{workflow.id}", Acknowledged, json=definition)
        except NotFound:
            raise BadInput(
                f"this platform takes no workflow files: save {file.name} as a workflow there and pass its id"
            ) from None
        except RequestRefused as error:
            raise BadInput(f"workflow file {file} was refused: {error.excerpt}") from None
        return workflow


def read_definition(file: Path) -> Definition:
    """The workflow definition in a JSON file, bare or under ``specification``.

    Raises:
        BadInput: no such file, not JSON, or no definition in it.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInput(f"workflow file {file} does not exist") from None
    except (OSError, ValueError) as error:
        raise BadInput(f"workflow file {file} cannot be read as JSON: {error}") from None
    definition = content.get("specification", content) if isinstance(content, dict) else None
    if not isinstance(definition, dict) or not {"inputs", "steps", "outputs"} <= definition.keys():
        raise BadInput(f'workflow file {file} is no workflow definition: it needs "inputs", "steps" and "outputs"')
    return definition


def is_file(workflow: str) -> bool:
    """Whether the user names a definition file rather than a workflow's id."""
    return workflow.endswith(".json") or "/" in workflow


def _specification(config: str) -> Definition | None:
    try:
        found = json.loads(config).get("specification")
    except (ValueError, AttributeError):
        return None
    return found if isinstance(found, dict) else None


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40] or "workflow"
