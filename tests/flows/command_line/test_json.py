"""``--json`` on every command that prints: one document on standard output, and nothing else there.

``--dry-run`` stands here as well, since what it says is held against the run that follows.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from flows.command_line.upkeep import Aborted
from tasks.core.journal import Journal
from tasks.core.records import Compiled, Reaped, Replayed, RunSummary, Surveyed
from tasks.core.run_folder import RunFolder
from tasks.steps.flow_runs import FACTS, PART, STEP, SUSPENSION
from tasks.steps.planning import Planned
from tests.commands import Outcome, clean_environment, darkroom, started
from tests.deployments.batch_server.running import KEY, process_server
from tests.images import make_images
from tests.prefect_server import PrefectServer
from tests.scripted import Reply, scripted_server
from tests.tasks.roboflow_api.test_models import METADATA

pytestmark = [pytest.mark.prefect_server]

HELD = "tests.deployments.batch_server.held_server"
IMAGES = 40
SAVE_BLOCK = """
import sys
from tasks.blocks import RoboflowPlatform
RoboflowPlatform.model_validate({"url": sys.argv[1], "api_key": sys.argv[2]}).save("mine", overwrite=True)
"""
SECRET = "https://user:hidden-word@host.invalid/c?sig=SECRET"


@dataclass
class Place:
    """A folder with images, a platform, and a Prefect server."""

    folder: Path
    url: str
    jobs: Any
    planned: dict[str, Any]
    first: Outcome
    prefect: PrefectServer

    @property
    def environment(self) -> dict[str, str]:
        return {"ROBOFLOW_API_KEY": KEY} | self.prefect.environment

    def do(self, *words: str, status: int = 0) -> Any:
        """The document of one command."""
        return document(self.said(*words), status)

    def said(self, *words: str) -> Outcome:
        return darkroom(*words, "--json", cwd=self.folder, **self.environment)

    @property
    def key(self) -> str:
        return str(self.planned["key"])


def document(outcome: Outcome, status: int = 0) -> Any:
    """What stands on standard output: one line, which is JSON."""
    assert outcome.status == status, outcome.errors
    (line,) = outcome.output.splitlines()
    return json.loads(line)


def run_words(place_url: str, *more: str) -> tuple[str, ...]:
    return ("run", "photos", "--workflow", "minimal", "--platform", place_url, *more)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, prefect_api: PrefectServer) -> Iterator[Place]:
    """A plan in a fresh home, and then the run."""
    folder = tmp_path_factory.mktemp("place")
    make_images(folder / "photos", IMAGES)
    (folder / "photos" / "text.jpg").write_text("no picture")
    with process_server(folder / "server", module=HELD) as held:
        url = held.client.url
        words = run_words(url)
        planned = darkroom(*words, "--dry-run", "--json", cwd=folder, ROBOFLOW_API_KEY=KEY)
        assert not (folder / "runs").exists()
        assert not (folder / ".darkroom").exists(), "no Prefect server is started for a plan"
        assert held.client.jobs("GET", "").json()["jobs"] == []
        first = darkroom(*words, "--json", cwd=folder, ROBOFLOW_API_KEY=KEY, **prefect_api.environment)
        yield Place(folder, url, held.client, document(planned), first, prefect_api)


def test_plan_is_what_the_run_does(place: Place) -> None:
    planned, done = place.planned, document(place.first)
    assert planned.keys() == Planned.model_fields.keys() | {"outcome"}
    assert (planned["outcome"], planned["state"], planned["sending"]) == ("planned", "new", "shards")
    for name in ("key", "source", "workflow", "platform", "workspace", "job_id", "files", "rejected", "bytes"):
        assert planned[name] == done[name], name
    assert len(place.jobs.shards(planned["job_id"])) == planned["parts"] == 1
    assert (planned["requests"], planned["seconds"], planned["finished_runs"]) == (4, None, 0)


def test_run_gives_its_summary_and_progress_goes_elsewhere(place: Place) -> None:
    done = document(place.first)
    assert done.keys() == RunSummary.model_fields.keys() | {"outcome"}
    assert (done["outcome"], done["processed"], done["rejected"]) == ("finished", IMAGES, 1)
    assert Path(place.folder, done["folder"], "report.html").is_file()
    assert "stage: 41 images, 1 rejected" in place.first.errors
    again = place.said(*run_words(place.url))
    assert document(again) == done
    assert again.errors.startswith(f"run {place.key} finished before")


def test_plan_of_a_finished_run_and_of_the_next_one_for_a_person(place: Place) -> None:
    words = run_words(place.url, "--dry-run")
    finished = darkroom(*words, cwd=place.folder, **place.environment)
    assert (finished.status, finished.errors) == (0, "")
    assert finished.output.splitlines()[-1] == (
        f"run {place.key}: finished before, nothing to do (--rerun LABEL does it afresh)"
    )
    following = darkroom(*words, "--rerun", "x", "--pilot", "5", cwd=place.folder, **place.environment)
    told = {line.split("  ")[0]: line for line in following.output.splitlines()}
    assert "uploaded in 1 tar shard" in told["transfer"]
    assert "s a file in 1 finished run)" in told["time"]
    assert "5 files uploaded one by one, 6 requests more" in told["pilot"]
    assert "not an image" in told["1x"]
    assert following.output.splitlines()[-1].endswith("40 files, 4 requests; nothing was sent")


def test_runs_and_show_tell_of_finished_and_unfinished_runs(place: Place) -> None:
    (known,) = place.do("runs")
    assert (known["key"], known["state"]) == (place.key, "done")
    assert known["summary"] == {name: value for name, value in document(place.first).items() if name != "outcome"}
    assert place.do("show", place.key[:8]) == known
    left = RunFolder(place.folder / "runs" / ("a" * 16))
    left.root.mkdir()
    lock = json.loads((place.folder / "runs" / place.key / "run.json").read_text())
    command = f"darkroom run photos --workflow minimal --job notifications_url={SECRET}"
    left.lock_file.write_text(json.dumps(lock | {"key": left.key, "command": command}))
    with Journal(left.journal) as journal:
        journal.confirm(STEP, PART, **dict.fromkeys(FACTS, "x") | {"flow_run": "f-1"})
        for sleeper in ("f-2", "f-3"):
            journal.confirm(SUSPENSION, sleeper, until="2026-09-15T12:00:00+00:00")
    (place.folder / "runs" / ("b" * 16)).mkdir()
    try:
        states = {run["key"]: run for run in place.do("runs")}
        unfinished = place.do("show", "aaaa")
    finally:
        for folder in (left.root, place.folder / "runs" / ("b" * 16)):
            for file in folder.iterdir():
                file.unlink()
            folder.rmdir()
    assert states[left.key] == unfinished
    assert (unfinished["state"], unfinished["summary"], unfinished["waits_for"]) == ("unfinished", None, "ingest")
    assert (unfinished["flow_run"], unfinished["sleepers"]) == ("f-1", 2)
    assert unfinished["command"].startswith("darkroom run photos --workflow minimal")
    assert not [word for word in ("SECRET", "hidden-word") if word in json.dumps(states)]
    assert states["b" * 16]["state"] == "damaged"


def test_stage_compare_reap_abort_replay_and_compile_give_their_records(place: Place) -> None:
    surveyed = place.do("stage", "photos")
    assert surveyed.keys() == Surveyed.model_fields.keys()
    assert (surveyed["files"], surveyed["rejected"]) == (IMAGES + 1, 1)
    compared = place.do("compare", place.key, place.key)
    assert (compared["key"], compared["drifted"]) == (place.key, False)
    reaped = place.do("reap")
    assert reaped == Reaped(looked=0).model_dump(mode="json")
    aborted = place.do("abort", place.key)
    assert aborted.keys() == Aborted.model_fields.keys()
    assert (aborted["job_id"], aborted["aborted"]) == (f"dr-{place.key}", False)
    replayed = place.do("replay", place.key)
    assert replayed.keys() == Replayed.model_fields.keys()
    assert (replayed["original"], replayed["identical"], replayed["same"]) == (place.key, True, IMAGES + 1)
    ended = METADATA | {"jobDefinition": {"type": "trt-compilation-v1", "modelId": "m/1"}, "isTerminal": True}
    with scripted_server() as cloud:
        cloud.answers({"workspace": "w"}, {"workspace": "w"})
        cloud.replies([Reply(404)])
        cloud.answers({}, {"job": ended})
        compiled = place.do("compile", "m/1", "--device", "nvidia-t4", "--platform", cloud.url)
    assert compiled.keys() == Compiled.model_fields.keys()
    assert (compiled["model"], compiled["devices"]) == ("m/1", ["nvidia-t4"])


@pytest.mark.parametrize(
    ("words", "status", "kind", "said"),
    [
        (["show", "zz"], 2, "BadInput", "no run in runs with a key that begins with 'zz'"),
        (["run"], 2, "UsageError", "the following arguments are required: SOURCE, --workflow"),
        (["rnu"], 2, "UsageError", "there is no command rnu: did you mean run?"),
        (["run", "photos", "--workflow", "nope", "--dry-run"], 2, "WorkflowUnknown", "unknown workflow 'nope'"),
        (["runs", "--runs", "https://u:hidden-word@h/c?sig=SECRET"], 2, "BadInput", "is no place in a bucket"),
    ],
)
def test_error_is_a_document_and_a_line(place: Place, words: list[str], status: int, kind: str, said: str) -> None:
    here = ["--platform", place.url] if "--dry-run" in words else []
    outcome = place.said(*words, *here)
    (error,) = document(outcome, status).values()
    assert error["type"] == kind
    assert said in error["message"]
    assert outcome.errors.splitlines()[-1].partition(": ")[2] == error["message"]
    assert not [word for word in ("SECRET", "hidden-word") if word in outcome.output + outcome.errors]


def test_fault_is_a_document_with_its_own_status(place: Place) -> None:
    broken = place.folder / "runs" / ("c" * 16)
    broken.mkdir()
    (broken / "run.json").write_text("junk")
    try:
        outcome = place.said("show", "cccc")
    finally:
        (broken / "run.json").unlink()
        broken.rmdir()
    assert document(outcome, 1)["error"]["type"] == "LocalFault"


def test_interrupt_is_a_document_too(place: Place) -> None:
    words = (*run_words(place.url, "--rerun", "interrupted"), "--json")
    with started(*words, cwd=place.folder, **place.environment) as child:
        assert child.stderr is not None
        assert "| INFO" in child.stderr.readline()
        child.send_signal(signal.SIGINT)
        output, errors = child.communicate(timeout=30)
    assert child.returncode == 130
    assert json.loads(output)["error"]["type"] == "Interrupted"
    assert errors.splitlines()[-1] == json.loads(output)["error"]["message"]


def test_block_stands_for_a_platform_and_its_key(place: Place) -> None:
    saving = [sys.executable, "-c", SAVE_BLOCK, place.url, KEY]
    environment = clean_environment(**place.prefect.environment)
    subprocess.run(saving, env=environment, cwd=place.folder, check=True, capture_output=True)
    words = run_words("block:mine", "--json")
    planned = document(darkroom(*words, "--dry-run", cwd=place.folder, **place.prefect.environment))
    assert (planned["key"], planned["state"], planned["platform"]) == (place.key, "finished", place.url)
    assert document(darkroom(*words, cwd=place.folder, **place.prefect.environment))["key"] == place.key
    asked = json.loads((place.folder / "runs" / place.key / "run.json").read_text())["request"]
    assert asked["platform"] == "block:mine"
    aborted = darkroom("abort", place.key, "--json", cwd=place.folder, **place.prefect.environment)
    assert document(aborted)["aborted"] is False
    unknown = darkroom(*run_words("block:nope"), "--json", cwd=place.folder, **place.prefect.environment)
    assert "darkroom setup --block nope" in document(unknown, 2)["error"]["message"]


@pytest.mark.parametrize("command", ["runs", "show", "stage", "run"])
def test_block_with_credentials_that_is_not_there_is_told(place: Place, command: str) -> None:
    words = {"runs": [], "show": [place.key], "stage": ["photos"], "run": ["photos", "--workflow", "w"]}[command]
    outcome = place.said(command, *words, "--credentials", "aws-credentials/nope")
    assert "Prefect has no block aws-credentials/nope" in document(outcome, 2)["error"]["message"]
