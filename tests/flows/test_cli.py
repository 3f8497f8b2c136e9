from __future__ import annotations

import json
import re
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from flows.prefect_server import prefect_service
from tasks.core.settings import Settings
from tasks.roboflow_api.platform import embedded_server
from tests.commands import ENGINE_PYTHON, Outcome, clean_environment, darkroom, started
from tests.deployments.batch_server.running import KEY, process_server
from tests.images import make_image, make_images
from tests.prefect_server import prepare_home
from tests.scripted import Reply, scripted_server
from tests.tasks.roboflow_api.test_models import METADATA
from tests.waiting import wait_for

pytestmark = [pytest.mark.engine, pytest.mark.prefect_server]

HELD = "tests.deployments.batch_server.held_server"
UGLY = ["a b/1.png", "c/1.png", "quote'\".jpg", "new\nline.png", "日本/写真.webp"]
NOISE = ("Traceback", "WARN", "Warning", "ERROR", "Error")


@dataclass
class Place:
    """A folder in which a user works, with the embedded server kept warm."""

    folder: Path
    source: Path
    home: Path
    first: Outcome

    @property
    def run_folder(self) -> Path:
        return self.folder / "runs" / self.first.last_line[1]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """The first run of a home as `make setup` leaves it, on a folder such as users have them."""
    folder = tmp_path_factory.mktemp("place")
    source = folder / "photos of mine"
    for number, key in enumerate(UGLY):
        make_image(source / key, number)
    (source / "text.jpg").write_text("no picture")
    (source / "empty.jpg").touch()
    Image.effect_noise((320, 240), 80).save(source / "cut.jpg")
    whole = (source / "cut.jpg").read_bytes()
    (source / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (source / "loop").symlink_to(source)
    home = folder / ".darkroom"
    settings = Settings.model_validate({"DARKROOM_HOME": home, "DARKROOM_ENGINE_PYTHON": ENGINE_PYTHON})
    prepare_home(home)
    service, prefect = embedded_server(settings), prefect_service(home)
    with service.use():
        first = darkroom("run", str(source), "--workflow", "photo-audit", cwd=folder)
        with prefect.use():
            yield Place(folder, source, home, first)
    assert service.wait_until_gone()
    assert prefect.wait_until_gone()


def test_run_of_a_fresh_home_succeeds_without_noise(place: Place) -> None:
    assert place.first.status == 0, place.first.errors
    said = place.first.output + place.first.errors
    # The job's own word on the image that is cut.
    said, told = re.subn(r".*wait: job dr-\w+: error: image-processing-failed: .*\n", "", said)
    assert told == 1
    assert not [word for word in NOISE if word in said], said
    server_log = (place.home / "prefect" / "prefect.log").read_text()
    assert not [word for word in NOISE if word in server_log], server_log
    for step in (
        "stage: 8 images, 2 rejected",
        "ingest: 6 sent",
        "launch: job",
        "wait: job",
        "export: ",
        "summarize: ",
    ):
        assert step in place.first.errors


def test_run_ends_each_file_in_one_state(place: Place) -> None:
    assert place.first.last_line.group(2, 3, 4) == (str(len(UGLY)), "1", "2")
    results = pq.read_table(place.run_folder / "results.parquet")["source_key"].to_pylist()
    failures = pq.read_table(place.run_folder / "failures.parquet").to_pylist()
    assert Counter([*results, *(row["source_key"] for row in failures)]) == Counter(
        [*UGLY, "text.jpg", "empty.jpg", "cut.jpg"]
    )
    assert all(row["reason"] for row in failures)


def test_results_have_the_outputs_in_typed_columns(place: Place) -> None:
    table = pq.read_table(place.run_folder / "results.parquet")
    types = {field.name: field.type for field in table.schema}
    assert types["focus"] == pa.float64()
    assert types["dominant_color"] == pa.list_(pa.int64())
    assert types["contours"] == types["codes_count"] == pa.int64()
    assert types["annotated"] == pa.string()
    assert all((place.run_folder / path).is_file() for path in table["annotated"].to_pylist())


def test_report_is_one_file_that_asks_for_nothing(place: Place) -> None:
    report = Path(place.folder / place.first.last_line[5]).read_text()
    assert 'src="http' not in report and 'href="http' not in report and "<script" not in report
    assert "data:image/jpeg;base64," in report


def test_run_again_only_finds_the_finished_run(place: Place) -> None:
    log = place.home / "prefect" / "prefect.log"
    before = log.stat().st_mtime_ns
    again = darkroom("run", str(place.source), "--workflow", "photo-audit", cwd=place.folder)
    assert again.status == 0
    assert again.output == place.first.output
    assert again.errors.startswith(f"run {place.first.last_line[1]} finished before: nothing to do")
    assert log.stat().st_mtime_ns == before


def test_prefect_has_six_task_runs_and_their_artifacts(place: Place) -> None:
    with closing(sqlite3.connect(place.home / "prefect" / "prefect.db")) as database:
        tasks = database.execute("select name, state_type from task_run").fetchall()
        flows = database.execute("select name, state_type from flow_run").fetchall()
        artifacts = dict(database.execute("select key, type from artifact").fetchall())
    steps = ("stage", "ingest", "launch", "wait", "export", "summarize")
    assert sorted(tasks) == sorted((step, "COMPLETED") for step in steps)
    assert flows == [(f"photo-audit on {place.source}", "COMPLETED")]
    assert {artifacts.get(step) for step in steps} == {"table"}
    assert {artifacts.get(f"{step}-file") for step in (*steps, "report")} == {"markdown"}
    assert {artifacts.get(f"{step}-progress") for step in ("ingest", "wait", "export")} == {"progress"}
    assert artifacts["summary"] == "markdown"


def test_many_images_make_no_more_task_runs(place: Place) -> None:
    make_images(place.folder / "many", 700)
    outcome = darkroom("run", "many", "--workflow", "minimal", "--param", "tolerance=5", cwd=place.folder)
    assert outcome.last_line[2] == "700", outcome.errors
    with closing(sqlite3.connect(place.home / "prefect" / "prefect.db")) as database:
        (tasks,) = database.execute("select count(*) from task_run").fetchone()
        (flows,) = database.execute("select count(*) from flow_run").fetchone()
    assert (tasks, flows) == (12, 2)


def test_own_definition_file_is_run(place: Place) -> None:
    definition = {
        "version": "1.0",
        "inputs": [{"type": "WorkflowImage", "name": "image"}],
        "steps": [{"type": "roboflow_core/camera_focus@v1", "name": "focus", "image": "$inputs.image"}],
        "outputs": [{"type": "JsonField", "name": "sharpness", "selector": "$steps.focus.focus_measure"}],
    }
    (place.folder / "mine.json").write_text(json.dumps(definition))
    outcome = darkroom("run", str(place.source / "c"), "--workflow", "./mine.json", cwd=place.folder)
    assert outcome.status == 0, outcome.errors
    folder = place.folder / "runs" / outcome.last_line[1]
    assert pq.read_table(folder / "results.parquet").schema.field("sharpness").type == pa.float64()


def test_runs_and_show_tell_of_a_run(place: Place) -> None:
    key = place.first.last_line[1]
    assert key in darkroom("runs", cwd=place.folder).output
    assert darkroom("show", key[:6], cwd=place.folder).output == place.first.output
    unknown = darkroom("show", "zz", cwd=place.folder)
    assert (unknown.status, unknown.output) == (2, "")


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["run", "missing", "--workflow", "minimal"], 2, "source folder missing does not exist"),
        (["run", "void", "--workflow", "minimal"], 2, "no images in void"),
        (["run", "ftp://host/x", "--workflow", "minimal"], 2, "unknown source scheme ftp://"),
        (["run", "ok", "--workflow", "nope"], 2, "unknown workflow 'nope'"),
        (["run", "ok", "--workflow", "./nope.json"], 2, "workflow file nope.json does not exist"),
        (["run", "ok", "--workflow", "minimal", "--param", "zzz=1"], 2, "its parameters: color, tolerance"),
        (["run", "ok", "--workflow", "minimal", "--param", "zzz"], 2, "'zzz' is not NAME=VALUE"),
        (["run", "ok", "--workflow", "minimal", "--platform", "roboflow"], 2, "set ROBOFLOW_API_KEY"),
        (["run", "ok", "--workflow", "minimal", "--platform", "gopher"], 2, "is not a platform"),
        (["run", "ok"], 2, "--workflow"),
        (["run", "ok", "--workflow", "minimal", "--rerun", "x" * 65], 2, "choose one of at most 64"),
        (["run", "n\udcff", "--workflow", "minimal"], 2, "is not valid UTF-8"),
        (["run", "ok", "--workflow", "minimal", "--runs", "ok/image-00000.png"], 2, "name a folder"),
        (["run", "ok", "--workflow", "minimal", "--runs", "sftp://host/runs"], 2, "is no place in a bucket"),
        (["run", "ok", "--workflow", "minimal", "--runs", "https://h/c?sig=SECRET"], 2, "is no place in a bucket"),
        (["run", "ok", "--workflow", "minimal", "--destination", "az://c?sig=SECRET"], 2, "no bucket has the name"),
        (["run", "ok", "--workflow", "minimal", "--transfer", "reference"], 2, "leave out --transfer reference"),
        (["runs", "--runs", "sftp://host/runs"], 2, "is no place in a bucket"),
        (["stage", "void"], 2, "no images in void"),
        (["stage", "roboql:cats"], 2, "cannot be listed"),
        (["stage", "ok", "--references", "r.jsonl"], 2, "leave out --references"),
    ],
)
def test_bad_input_gets_one_clear_line(place: Place, arguments: list[str], status: int, said: str) -> None:
    make_images(place.folder / "ok", 1)
    (place.folder / "void").mkdir(exist_ok=True)
    extra = {"ROBOFLOW_API_KEY": "some"} if "gopher" in arguments else {}
    outcome = darkroom(*arguments, cwd=place.folder, **extra)
    assert (outcome.status, outcome.output) == (status, "")
    assert said in outcome.errors.splitlines()[-1]
    assert "Traceback" not in outcome.errors
    assert "SECRET" not in outcome.errors


def test_damage_to_one_run_does_not_stop_another(place: Place) -> None:
    broken = place.folder / "runs" / ("0" * 16)
    broken.mkdir()
    for name in ("run.json", "summary.parquet"):
        (broken / name).write_text("junk")
    again = darkroom("run", str(place.source), "--workflow", "photo-audit", cwd=place.folder)
    assert (again.status, again.output) == (0, place.first.output)
    assert re.search(rf"^{broken.name} +damaged", darkroom("runs", cwd=place.folder).output, re.MULTILINE)
    shown = darkroom("show", broken.name, cwd=place.folder)
    assert (shown.status, "Traceback" in shown.errors) == (1, False)


def test_interrupt_while_python_still_imports_ends_with_one_line(place: Place) -> None:
    command, pipe = [sys.executable, "-m", "flows.cli", "run", "ok", "--workflow", "minimal"], subprocess.PIPE
    environment = clean_environment()
    with subprocess.Popen(command, cwd=place.folder, env=environment, stdout=pipe, stderr=pipe, text=True) as child:
        wait_for(lambda: "libarrow" in Path(f"/proc/{child.pid}/maps").read_text(), "a library of the imports")
        assert_interrupted(child)


def test_interrupt_of_a_flow_ends_with_one_line(place: Place) -> None:
    make_images(place.folder / "long", 400)
    with started("run", "long", "--workflow", "photo-audit", cwd=place.folder) as child:
        assert child.stderr is not None
        assert "| INFO" in child.stderr.readline()
        assert_interrupted(child)


@pytest.mark.parametrize(
    ("number", "on_cancel"), [(signal.SIGINT, "abort"), (signal.SIGTERM, "abort"), (signal.SIGINT, "leave")]
)
def test_interrupt_aborts_the_job_or_leaves_it_and_the_same_command_goes_on(
    place: Place, tmp_path: Path, number: signal.Signals, on_cancel: str
) -> None:
    make_images(place.folder / "held", 5)
    options = ("--workflow", "minimal", "--rerun", f"{number.name} {on_cancel}", "--wait", f"on_cancel={on_cancel}")
    with process_server(tmp_path / "server", "--hold-after", "1", module=HELD) as held:
        words = ("run", "held", *options, "--platform", held.client.url)
        with started(*words, cwd=place.folder, ROBOFLOW_API_KEY=KEY) as child:
            job = held.client.standing()
            child.send_signal(number)
            _, errors = child.communicate(timeout=30)
        found = held.client.job(job)
        assert (found["isTerminal"], found["error"]) == (on_cancel == "abort", on_cancel == "abort")
        assert ("is aborted, as the run was interrupted" in errors) == (on_cancel == "abort")
        assert "Traceback" not in errors
        if on_cancel == "leave":
            key = job.removeprefix("dr-")
            reaped = darkroom("reap", cwd=place.folder, ROBOFLOW_API_KEY=KEY)
            assert re.fullmatch(r"\d+ unfinished runs: 0 jobs aborted, 0 flow runs resumed", reaped.output.strip())
            stopped = darkroom("abort", key[:6], cwd=place.folder, ROBOFLOW_API_KEY=KEY)
            assert stopped.output.startswith(f"job {job} is aborted; go on with: darkroom run held --workflow minimal")
            assert held.client.job(job)["lastNotification"] == "aborted on request"
        held.process.send_signal(signal.SIGUSR1)
        again = darkroom(*words, cwd=place.folder, ROBOFLOW_API_KEY=KEY)
        assert again.last_line.group(2, 3, 4) == ("5", "0", "0")
        assert "it is restarted" in again.errors
        assert len(held.client.jobs("GET", "").json()["jobs"]) == 1


def assert_interrupted(child: subprocess.Popen[str]) -> None:
    child.send_signal(signal.SIGINT)
    _, errors = child.communicate(timeout=30)
    assert child.returncode == 130
    said = [line for line in errors.splitlines() if "| INFO" not in line]
    assert said == ["interrupted: the same command goes on where this one stopped"]


def test_server_that_is_down_is_told_with_its_address(place: Place) -> None:
    url = "http://127.0.0.1:9"
    outcome = darkroom("run", "ok", "--workflow", "minimal", "--platform", url, cwd=place.folder, ROBOFLOW_API_KEY="x")
    assert outcome.status == 1
    assert outcome.errors.startswith(f"darkroom: {url} does not answer")
    assert outcome.errors.count("\n") == 1


def test_refused_key_is_told_and_not_shown(place: Place) -> None:
    service = embedded_server(Settings.model_validate({"DARKROOM_HOME": place.home}))
    with service.use() as url:
        outcome = darkroom(
            "run", "ok", "--workflow", "minimal", "--platform", url, cwd=place.folder, ROBOFLOW_API_KEY="secret-wrong"
        )
    assert outcome.status == 2
    assert "refused the API key (401): set ROBOFLOW_API_KEY" in outcome.errors
    assert "secret-wrong" not in outcome.errors


def test_job_that_fails_ends_with_its_reason_and_no_traceback(place: Place) -> None:
    outcome = darkroom("run", "ok", "--workflow", "minimal", "--param", "color=[1]", cwd=place.folder)
    assert (outcome.status, outcome.output) == (1, "")
    assert "failed" in outcome.errors.splitlines()[-1]
    assert "Traceback" not in outcome.errors


def test_run_without_one_processed_image_fails_with_the_reason(place: Place) -> None:
    outcome = darkroom("run", "ok", "--workflow", "minimal", "--param", "color=nonsense", cwd=place.folder)
    assert (outcome.status, outcome.output) == (1, "")
    assert "none of the 1 files could be processed; the most common reason (1x):" in outcome.errors.splitlines()[-1]
    assert "Traceback" not in outcome.errors


def test_compilation_is_a_flow_with_one_task_and_a_table(place: Place) -> None:
    ended = METADATA | {"jobDefinition": {"type": "trt-compilation-v1", "modelId": "m/1"}, "isTerminal": True}
    words = ("compile", "m/1", "--device", "nvidia-t4", "--device", "nvidia-l4")
    with scripted_server() as cloud:
        cloud.answers({"workspace": "w"}, {"workspace": "w"})
        cloud.replies([Reply(404)])
        cloud.answers({}, {"job": ended})
        outcome = darkroom(*words, "--platform", cloud.url, cwd=place.folder, ROBOFLOW_API_KEY="rf-secret-4711")
    assert outcome.status == 0, outcome.errors
    last = re.fullmatch(r"compiled m/1 for nvidia-l4, nvidia-t4: job (dc-[0-9a-f]{16}), \d+\.\d s\n", outcome.output)
    assert last, outcome.output
    assert f"compile: job {last[1]} done" in outcome.errors
    assert cloud.seen[3].json()["compilationDevices"] == ["nvidia-l4", "nvidia-t4"]
    with closing(sqlite3.connect(place.home / "prefect" / "prefect.db")) as database:
        flows = database.execute("select state_type, id from flow_run where name = 'compile m/1'").fetchall()
        (state, flow_run), *others = flows
        tasks = database.execute("select name from task_run where flow_run_id = ?", [flow_run]).fetchall()
        table = database.execute("select type, data from artifact where key = 'compile'").fetchall()
    assert (state, others, tasks) == ("COMPLETED", [], [("compile",)])
    assert [kind for kind, _data in table] == ["table"]
    assert last[1] in table[0][1]
    assert "rf-secret-4711" not in outcome.errors + table[0][1]


def test_missing_engine_is_told_before_anything_is_started(place: Place) -> None:
    outcome = darkroom("run", "ok", "--workflow", "minimal", cwd=place.folder, DARKROOM_ENGINE_PYTHON="/nope")
    assert outcome.status == 2
    assert "the engine's environment is missing (/nope): run `make setup`" in outcome.errors


def test_full_disk_is_told_and_loses_nothing(place: Place) -> None:
    small = place.folder / "small"
    small.mkdir()
    if not mounted_small(small):
        pytest.skip("mounting a small file system is not permitted here")
    try:
        outcome = darkroom("run", "many", "--workflow", "minimal", "--runs", "small", cwd=place.folder)
        assert outcome.status == 1
        assert "the disk is full" in outcome.errors.splitlines()[-1]
        assert "Traceback" not in outcome.errors
    finally:
        unmount(small)


def mounted_small(folder: Path) -> bool:
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(folder)]
    return subprocess.run(command, capture_output=True, check=False, env=clean_environment()).returncode == 0


def unmount(folder: Path) -> None:
    subprocess.run(["umount", str(folder)], check=True)
