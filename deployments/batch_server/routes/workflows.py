"""Workflow definitions: read as from the vendor, and, here only, written."""

import json
from typing import Any

from fastapi import APIRouter, Request

from deployments.batch_server.routes.bodies import JsonBody
from deployments.batch_server.routes.common import GUARDS, ServicesOf, base_url
from tasks.roboflow_api.models import WorkflowAnswer, WorkflowEntry

router = APIRouter(prefix="/{workspace}/workflows", dependencies=GUARDS)


@router.get("/{workflow_id}")
def get_workflow(workflow_id: str, request: Request, services: ServicesOf) -> dict[str, Any]:
    """A workflow's definition; `config` is a JSON string that holds it under `specification`."""
    config = json.dumps({"specification": services.registry.get(workflow_id)})
    url = f"{base_url(request, services).rstrip('/')}{request.url.path}"
    return WorkflowAnswer(workflow=WorkflowEntry(name=workflow_id, url=url, config=config), status="ok").wire()


@router.post("/{workflow_id}")
def put_workflow(workflow_id: str, services: ServicesOf, body: JsonBody) -> dict[str, Any]:
    """Keep a definition of the user's under an id.

    This call is this server's own: the vendor's workflows are edited in its web application. The same definition
    again changes nothing; another replaces it for later jobs, since each job keeps the one it was made with.
    """
    changed = services.registry.put(workflow_id, body)
    return {"status": "ok", "changed": changed}
