"""Compilations: by our own server, which refuses them, and by scripted ones for what it never answers."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from deployments.batch_server.plan import Feature
from tasks.core.errors import Conflict, JobFailed, JobTimedOut, NotFound, RequestRefused
from tasks.core.progress import Counting
from tasks.core.records import Compiled
from tasks.core.settings import Settings
from tasks.roboflow_api.models import JOB_ID_PATTERN, CompilationDevice
from tasks.roboflow_api.platform import Platform, open_platform
from tasks.roboflow_api.processing import ProcessingApi
from tasks.roboflow_api.retrying import Timing
from tasks.roboflow_api.transport import Transport
from tasks.steps.compiling import Compilation, CompilationOptions, compile_remotely
from tests.deployments.batch_server.running import KEY, ServerClient, settings_for, thread_server
from tests.deployments.batch_server.small_engine import SmallEngine
from tests.fake_time import FakeTime
from tests.scripted import Reply, Scripted, scripted_server
from tests.tasks.roboflow_api.test_models import LOG, METADATA

MODEL = "my-project/3"
DEVICES: tuple[CompilationDevice, ...] = ("nvidia-t4", "nvidia-l4")
DEFINITION = {"type": "trt-compilation-v1", "modelId": MODEL, "compilationDevices": ["nvidia-l4", "nvidia-t4"]}
MISSING, TAKEN, MADE = Reply(404), Reply(409, b'{"error": "the id is taken"}'), Reply()
ENDED = {"isTerminal": True, "currentStage": None}
FAILED = ENDED | {"error": True}


def job(**changes: Any) -> Reply:
    """The platform's answer about the job."""
    return answer(job=METADATA | {"jobDefinition": DEFINITION} | changes)


def logs(*payloads: dict[str, Any]) -> Reply:
    """The platform's answer with errors of the job's log."""
    return answer(logs=[LOG | {"payload": payload} for payload in payloads])


def answer(**fields: Any) -> Reply:
    return Reply(body=json.dumps(fields).encode())


@pytest.fixture
def connect() -> Iterator[Callable[[str], Platform]]:
    """Opens the platform of a URL, for as long as the test lasts."""
    settings = Settings.model_validate({"ROBOFLOW_API_KEY": SecretStr(KEY)})
    with ExitStack() as stack:
        yield lambda url: stack.enter_context(open_platform(url, settings))


class Cloud:
    """A platform that answers as its script says, in time that passes only while somebody sleeps."""

    def __init__(self, server: Scripted, opened: Platform, transport: Transport, timing: Timing) -> None:
        self._server = server
        self._platform = replace(opened, processing=ProcessingApi(transport, opened.workspace))
        self._timing = timing
        self.told: list[str] = []
        self.percent: list[int] = []

    def compilation(self, **options: Any) -> Compilation:
        """The compilation that a test asks for."""
        return Compilation(
            self._platform,
            MODEL,
            CompilationOptions.model_validate({"devices": DEVICES} | options),
            Counting(lambda _name, done, _total: self.percent.append(done), interval=0),
            self.told.append,
            self._timing,
        )

    def compiled(self, *replies: Reply, timing: Timing | None = None, **options: Any) -> Compiled:
        """What comes of it when the platform answers so; all answers are used up."""
        self._server.replies(replies)
        try:
            return compile_remotely(replace(self.compilation(**options), timing=timing or self._timing))
        finally:
            assert self._server.script == []

    @property
    def calls(self) -> list[str]:
        """The methods of the calls about the job."""
        return [seen.method for seen in self._server.seen]

    @property
    def posted(self) -> list[tuple[str, dict[str, str], Any]]:
        """The jobs that were asked for: path, query and body."""
        return [(seen.path, seen.query, seen.json()) for seen in self._server.seen if seen.method == "POST"]


@pytest.fixture
def cloud(connect: Callable[[str], Platform]) -> Iterator[Cloud]:
    with scripted_server() as server:
        server.answers({"workspace": "w"})
        opened, timing = connect(server.url), FakeTime().timing()
        server.seen.clear()
        with Transport(server.url, SecretStr(KEY), timing=timing) as transport:
            yield Cloud(server, opened, transport, timing)


def test_compilation_is_asked_for_and_waited_for(cloud: Cloud) -> None:
    stages = {"plannedStages": ["compilation", "registration"]}
    ask = [MISSING, MADE, job(currentStage=None), job(currentStage="compilation", **stages)]
    last = {"currentStage": "registration", **stages}
    looks = [job(**last), job(**last, lastNotification="nearly done"), job(**ENDED)]
    compiled = cloud.compiled(*ask, *looks)
    wanted = cloud.compilation().job_id
    path = f"/batch-processing/v1/external/w/jobs/{wanted}"
    assert cloud.posted == [(path, {"name": wanted, "api_key": KEY}, DEFINITION)]
    assert cloud.told == [
        f"job {wanted} on {cloud.compilation().platform.name}: {stage}"
        for stage in ("scheduled", "compilation", "registration")
    ]
    assert cloud.percent == [0, 0, 50, 100]
    assert (compiled.attached, compiled.seconds > 0) == (False, True)
    line = rf"compiled {MODEL} for nvidia-l4, nvidia-t4: job {wanted}, \d+\.\d s"
    assert re.fullmatch(line, compiled.line())


def test_devices_are_the_platforms_choice_where_none_is_named(cloud: Cloud) -> None:
    chosen = {**DEFINITION, "compilationDevices": ["nvidia-t4", "nvidia-l4"]}
    compiled = cloud.compiled(MISSING, TAKEN, job(jobDefinition=chosen), job(**ENDED), devices=())
    assert [body for _path, _query, body in cloud.posted] == [{"type": "trt-compilation-v1", "modelId": MODEL}]
    assert compiled.devices == ()
    assert f"for the devices of the platform's choice: job {compiled.job_id} (there already)" in compiled.line()


@pytest.mark.parametrize("state", [{}, ENDED])
def test_compilation_that_is_there_is_not_asked_for_again(cloud: Cloud, state: dict[str, Any]) -> None:
    ordered = {**DEFINITION, "compilationDevices": ["nvidia-t4", "nvidia-l4"], "priority": 1}
    assert cloud.compiled(job(jobDefinition=ordered, **state), job(**ENDED)).attached
    assert cloud.calls == ["GET", "GET"]


def test_lost_answer_to_the_request_makes_no_second_job(cloud: Cloud) -> None:
    compiled = cloud.compiled(MISSING, Reply(reset=True), TAKEN, job(), job(**ENDED))
    assert compiled.job_id == cloud.compilation().job_id
    assert cloud.calls == ["GET", "POST", "POST", "GET", "GET"]
    assert len({path for path, _query, _body in cloud.posted}) == 1


@pytest.mark.parametrize("found", [[], [MISSING, TAKEN]])
@pytest.mark.parametrize(
    "definition",
    [
        {**DEFINITION, "modelId": "other/1"},
        {**DEFINITION, "compilationDevices": ["nvidia-t4"]},
        {"type": "trt-compilation-v1", "modelId": MODEL},
        {**DEFINITION, "type": "simple-image-processing-v1"},
    ],
)
def test_job_of_that_id_that_does_something_else_is_told(
    cloud: Cloud, found: list[Reply], definition: dict[str, Any]
) -> None:
    with pytest.raises(Conflict, match=r"job dc-[0-9a-f]{16} is on the platform already and does something else"):
        cloud.compiled(*found, job(jobDefinition=definition))


def test_conflict_without_such_a_job_is_told_in_the_platforms_words(cloud: Cloud) -> None:
    with pytest.raises(Conflict, match="the id is taken"):
        cloud.compiled(MISSING, TAKEN, MISSING)


def test_failure_is_told_with_its_reasons(cloud: Cloud) -> None:
    url = "https://host/engine.plan?X-Amz-Signature=SECRET"
    often = {"code": 7, "trace": "x" * 5000}
    said: list[dict[str, Any]] = [{"message": f"no layer\n  like {url}"}, often, often, {"message": "out of memory"}]
    with pytest.raises(JobFailed) as told:
        cloud.compiled(MISSING, MADE, job(**FAILED, lastNotification="out of memory"), logs(*said, {"code": 8}))
    text = str(told.value)
    assert f"{MODEL}, failed: out of memory; " in text
    assert re.search(r'; \{"code": 7, "trace": "x{200,300}; no layer like https://host/engine.plan\?…\. After', text)
    assert "pass --rerun LABEL for another try" in text
    assert ("SECRET" in text, "\n" in text, '"code": 8' in text) == (False, False, False)


@pytest.mark.parametrize("notification", ["aborted on request", {"message": "aborted on request"}])
def test_compilation_that_failed_before_is_told_and_not_tried_again(cloud: Cloud, notification: Any) -> None:
    ended = job(**FAILED, lastNotification=notification)
    with pytest.raises(JobFailed, match=r"failed before: aborted on request\. After .* pass --rerun LABEL"):
        cloud.compiled(ended, ended, logs())
    assert cloud.calls == ["GET"] * 3


def test_compilation_that_is_found_under_way_and_fails_has_not_failed_before(cloud: Cloud) -> None:
    with pytest.raises(JobFailed, match=f"{MODEL}, failed: no reason given"):
        cloud.compiled(job(), job(**FAILED, lastNotification=None), Reply(403))


def test_compilation_that_stands_still_times_out(cloud: Cloud) -> None:
    half_hours = count(step=1800.0)
    hurried = Timing(clock=lambda: next(half_hours), sleep=lambda _: None)
    with pytest.raises(JobTimedOut, match=r"still running after 1\.5 h: the same command goes on"):
        cloud.compiled(MISSING, MADE, *[job()] * 3, deadline_hours=1.5, timing=hurried)


def test_job_that_vanishes_is_told(cloud: Cloud) -> None:
    with pytest.raises(NotFound, match=r"has no job dc-.* any more: the same command asks for it anew"):
        cloud.compiled(MISSING, MADE, job(), MISSING)


def test_job_id_follows_from_what_is_asked_for(cloud: Cloud) -> None:
    asked = cloud.compilation()
    assert re.fullmatch(JOB_ID_PATTERN, asked.job_id)
    assert cloud.compilation(devices=(*DEVICES[::-1], DEVICES[0]), deadline_hours=2).job_id == asked.job_id
    elsewhere = replace(asked, platform=replace(asked.platform, workspace="other"))
    others = [
        replace(asked, model="my-project/4"),
        cloud.compilation(devices=DEVICES[:1]),
        cloud.compilation(devices=()),
        cloud.compilation(rerun="again"),
        elsewhere,
    ]
    assert len({asked.job_id, *(other.job_id for other in others)}) == 6


@pytest.mark.parametrize("options", [{"devices": ["tpu"]}, {"deadline_hours": 0}, {"deadline_hours": "inf"}])
def test_options_that_cannot_be_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        CompilationOptions.model_validate(options)


def test_our_server_says_why_it_cannot_and_keeps_one_job(
    server: ServerClient, connect: Callable[[str], Platform]
) -> None:
    asked = Compilation(connect(server.url), MODEL, CompilationOptions(devices=DEVICES))
    reason = "this server compiles no models: it has no TensorRT; have them compiled on Roboflow's cloud"
    with pytest.raises(JobFailed, match=rf"failed: {reason}\. After mending"):
        compile_remotely(asked)
    found = server.job(asked.job_id)
    assert found["jobDefinition"] == DEFINITION
    with pytest.raises(JobFailed, match="failed before: this server compiles no models"):
        compile_remotely(replace(asked, options=CompilationOptions(devices=DEVICES[::-1])))
    assert server.job(asked.job_id) == found
    again = replace(asked, options=CompilationOptions(devices=DEVICES, rerun="again"))
    with pytest.raises(JobFailed, match=f"job {again.job_id}, which compiles {MODEL}, failed: "):
        compile_remotely(again)


def test_plan_without_compilations_is_told(tmp_path: Path, connect: Callable[[str], Platform]) -> None:
    settings = settings_for(tmp_path / "server", left_out=frozenset({Feature.COMPILATION}))
    with thread_server(settings, SmallEngine()) as small:
        asked = Compilation(connect(small.url), MODEL)
        with pytest.raises(RequestRefused, match=r"402.*plan does not include compilation: have"):
            compile_remotely(asked)
        assert small.jobs("GET", f"/{asked.job_id}").status_code == 404
