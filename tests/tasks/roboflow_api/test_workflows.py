import json
from pathlib import Path
from typing import Any

import pytest

from tasks.core.errors import BadInput, KeyRefused, WorkflowUnknown
from tasks.roboflow_api.transport import Transport
from tasks.roboflow_api.workflows import Workflow, WorkflowsApi, is_file, read_definition
from tests.scripted import Reply, Scripted

DEFINITION: dict[str, Any] = {
    "version": "1.0",
    "inputs": [
        {"type": "WorkflowImage", "name": "image"},
        {"type": "WorkflowParameter", "name": "threshold"},
        {"type": "InferenceParameter", "name": "model"},
    ],
    "steps": [],
    "outputs": [],
}


@pytest.fixture
def workflows(transport: Transport) -> WorkflowsApi:
    return WorkflowsApi(transport, "my space")


def written(folder: Path, content: Any, name: str = "My Workflow.json") -> Path:
    file = folder / name
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return file


def test_find_reads_the_definition(server: Scripted, workflows: WorkflowsApi) -> None:
    config = json.dumps({"specification": DEFINITION})
    server.answers({"workflow": {"name": "n", "url": "u", "config": config}, "status": "ok"})
    found = workflows.find("photo audit")
    assert (found.id, found.definition) == ("photo audit", DEFINITION)
    assert server.seen[0].path == "/my%20space/workflows/photo%20audit"


@pytest.mark.parametrize("config", ["", "no json", "[]", "null", "{}", '{"specification": "text"}'])
def test_find_bears_a_definition_that_is_not_shown(server: Scripted, workflows: WorkflowsApi, config: str) -> None:
    server.answers({"workflow": {"config": config}})
    found = workflows.find("x")
    assert (found.definition, found.digest) == (None, None)
    found.check_parameters({"anything": 1})


def test_find_tells_an_unknown_workflow(server: Scripted, workflows: WorkflowsApi) -> None:
    server.replies([Reply(404, b'{"error": "known are: photo-audit"}')])
    with pytest.raises(WorkflowUnknown, match="'nope': known are: photo-audit") as caught:
        workflows.find("nope")
    assert caught.value.exit_status == 2


def test_find_keeps_an_id_inside_its_path(server: Scripted, workflows: WorkflowsApi) -> None:
    server.replies([Reply(404)])
    with pytest.raises(WorkflowUnknown):
        workflows.find("../../jobs?x=1")
    assert server.seen[0].path == "/my%20space/workflows/..%2F..%2Fjobs%3Fx%3D1"


def test_find_leaves_a_refused_key_what_it_is(server: Scripted, workflows: WorkflowsApi) -> None:
    server.replies([Reply(401)])
    with pytest.raises(KeyRefused):
        workflows.find("x")


def test_parameters_are_checked_against_the_definition() -> None:
    workflow = Workflow("audit", DEFINITION)
    workflow.check_parameters({"threshold": 1, "model": "m"})
    with pytest.raises(BadInput, match="no parameter 'image'; its parameters: threshold, model"):
        workflow.check_parameters({"image": 1})
    with pytest.raises(BadInput, match="its parameters: none"):
        Workflow("bare", {"inputs": []}).check_parameters({"threshold": 1})


def test_digest_is_of_the_content_not_of_its_order() -> None:
    shuffled = dict(reversed(DEFINITION.items()))
    assert Workflow("a", DEFINITION).digest == Workflow("b", shuffled).digest
    assert Workflow("a", DEFINITION | {"version": "2"}).digest != Workflow("a", DEFINITION).digest


def test_register_saves_under_name_and_content(server: Scripted, workflows: WorkflowsApi, tmp_path: Path) -> None:
    first = workflows.register(written(tmp_path, DEFINITION))
    again = workflows.register(written(tmp_path, {"specification": DEFINITION}))
    other = workflows.register(written(tmp_path, DEFINITION | {"version": "2"}))
    assert first.id == again.id != other.id
    assert first.id.startswith("my-workflow-")
    assert server.seen[0].path == f"/my%20space/workflows/{first.id}"
    assert server.seen[0].json() == DEFINITION


@pytest.mark.parametrize(("name", "slug"), [("日本.json", "workflow-"), ("a" * 99 + ".json", "a" * 40 + "-")])
def test_register_makes_an_id_of_any_name(
    server: Scripted, workflows: WorkflowsApi, tmp_path: Path, name: str, slug: str
) -> None:
    found = workflows.register(written(tmp_path, DEFINITION, name))
    assert found.id.startswith(slug)
    assert found.id.isascii()


def test_register_tells_a_platform_that_takes_no_files(
    server: Scripted, workflows: WorkflowsApi, tmp_path: Path
) -> None:
    server.replies([Reply(404, b"<html>"), Reply(400, b'{"error": "unknown block"}')])
    with pytest.raises(BadInput, match="takes no workflow files"):
        workflows.register(written(tmp_path, DEFINITION))
    with pytest.raises(BadInput, match="unknown block"):
        workflows.register(written(tmp_path, DEFINITION))


@pytest.mark.parametrize(
    "content", ["", "no json", "[]", "null", "{}", '{"specification": 1}', '{"inputs": [], "steps": []}']
)
def test_definition_that_is_none_is_bad_input(tmp_path: Path, content: str) -> None:
    with pytest.raises(BadInput, match=r"Workflow\.json"):
        read_definition(written(tmp_path, content))


def test_definition_that_cannot_be_read_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="does not exist"):
        read_definition(tmp_path / "nowhere.json")
    with pytest.raises(BadInput, match="cannot be read"):
        read_definition(tmp_path)
    (tmp_path / "latin.json").write_bytes(b'{"inputs": "\xff"}')
    with pytest.raises(BadInput, match="cannot be read"):
        read_definition(tmp_path / "latin.json")


@pytest.mark.parametrize(
    ("named", "file"), [("photo-audit", False), ("mine.json", True), ("./mine", True), ("/a/b.json", True)]
)
def test_workflow_is_told_from_a_file(named: str, file: bool) -> None:
    assert is_file(named) is file
