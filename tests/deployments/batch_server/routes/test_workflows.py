import json
from pathlib import Path

import pytest

from tests.deployments.batch_server.running import ServerClient, job_body, settings_for, thread_server
from tests.deployments.batch_server.small_engine import SmallEngine

DEFINITION = {
    "version": "1.0",
    "inputs": [{"type": "WorkflowImage", "name": "picture"}],
    "steps": [],
    "outputs": [],
}


def specification_of(server: ServerClient, workflow_id: str) -> dict[str, object]:
    answer = server.http.get(f"/local/workflows/{workflow_id}")
    assert answer.status_code == 200, answer.text
    workflow = answer.json()["workflow"]
    assert workflow["name"] == workflow_id
    found: dict[str, object] = json.loads(workflow["config"])["specification"]
    return found


def test_workflow_that_comes_with_the_server_is_given(server: ServerClient) -> None:
    assert specification_of(server, "minimal")["version"] == "1.0"


@pytest.mark.parametrize("workflow_id", ["other", "..%2Fworkflows%2Fminimal", "min*"])
def test_workflow_unknown_is_404_and_names_those_there_are(server: ServerClient, workflow_id: str) -> None:
    answer = server.http.get(f"/local/workflows/{workflow_id}")
    assert answer.status_code == 404
    if "%2F" not in workflow_id:
        assert "minimal" in answer.json()["error"]


def test_workflow_of_the_user_is_kept_found_and_shadows(tmp_path: Path) -> None:
    with thread_server(settings_for(tmp_path / "data"), SmallEngine()) as server:
        first = server.http.post("/local/workflows/minimal", json={"specification": DEFINITION})
        again = server.http.post("/local/workflows/minimal", json=DEFINITION)
        assert [first.json()["changed"], again.json()["changed"]] == [True, False]
        assert specification_of(server, "minimal") == DEFINITION


def test_workflow_put_into_the_folder_needs_no_restart(tmp_path: Path) -> None:
    with thread_server(settings_for(tmp_path / "data"), SmallEngine()) as server:
        assert server.http.get("/local/workflows/mine").status_code == 404
        folder = tmp_path / "data" / "workflows"
        folder.mkdir()
        (folder / "mine.json").write_text(json.dumps(DEFINITION))
        assert specification_of(server, "mine") == DEFINITION
        (folder / "mine.json").write_text("{")
        assert server.http.get("/local/workflows/mine").status_code == 400


@pytest.mark.parametrize("body", [[], "x", {}, {"inputs": [], "steps": [], "outputs": [1]}])
def test_workflow_that_is_no_definition_is_400(server: ServerClient, body: object) -> None:
    assert server.http.post("/local/workflows/broken", json=body).status_code == 400
    assert server.http.get("/local/workflows/broken").status_code == 404


def test_workflow_id_outside_the_pattern_is_400(server: ServerClient) -> None:
    assert server.http.post("/local/workflows/Upper.x", json=DEFINITION).status_code == 400


def test_workflow_with_two_image_inputs_cannot_be_a_job(tmp_path: Path) -> None:
    images = [{"type": kind, "name": kind.lower()} for kind in ("WorkflowImage", "InferenceImage")]
    with thread_server(settings_for(tmp_path / "data"), SmallEngine()) as server:
        server.http.post("/local/workflows/two", json={**DEFINITION, "inputs": images})
        server.upload("b", "a.jpg", b"one")
        answer = server.jobs("POST", "/j", json=job_body("b", specification={"workflowId": "two"}))
    assert answer.status_code == 400
    assert "'workflowimage', 'inferenceimage'" in answer.json()["error"]


def test_workflow_whose_output_would_hide_the_files_name_cannot_be_a_job(tmp_path: Path) -> None:
    output = {"type": "JsonField", "name": "image", "selector": "$inputs.image"}
    with thread_server(settings_for(tmp_path / "data"), SmallEngine()) as server:
        server.http.post("/local/workflows/hides", json={**DEFINITION, "outputs": [output]})
        server.upload("b", "a.jpg", b"one")
        answer = server.jobs("POST", "/j", json=job_body("b", specification={"workflowId": "hides"}))
    assert answer.status_code == 400
    assert "output 'image'" in answer.json()["error"]
