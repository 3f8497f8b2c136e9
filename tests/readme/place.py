"""The place in which the README's commands are given: photographs, buckets, a workflow and servers on loopback."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from flows.prefect_server import prefect_service
from tasks.core.settings import Settings
from tasks.roboflow_api.platform import embedded_server
from tests.commands import ENGINE_PYTHON, ROOT, Outcome, clean_environment
from tests.deployments.batch_server.running import KEY, settings_for, thread_server
from tests.deployments.batch_server.small_engine import SmallEngine
from tests.emulators.pool import POOL, foreign_variables
from tests.forkserver.client import ForkedModule
from tests.images import make_images
from tests.prefect_server import PREFECT, prepare_home
from tests.readme.document import Block, Command, blocks, read_command

LONGEST = 120.0
IMAGES = 5
PHOTOGRAPHS = ("animals/chelsea.jpg", "space/moon.jpg", "things/coins.jpg")
SECRETS = {"ROBOFLOW_API_KEY": KEY, "DARKROOM_WEBHOOK_SECRET": "a-secret-of-the-receiver"}
"""What stands in place of ``...``."""
FIRST_RUN = "darkroom run /data/photos --workflow photo-audit"
SECOND_RUN = "darkroom run s3://bucket/2024/**/*.jpg"
SET_UP = "darkroom setup"
NEEDS = {"darkroom show": FIRST_RUN, "darkroom abort": FIRST_RUN, "prefect deployment": SET_UP, "python": SET_UP}
"""Commands, and what must have been done before, as both begin."""
READY = {
    "darkroom server": "batch server ready on",
    "darkroom webhooks": "receiver ready on",
    "prefect worker": "started!",
}
"""Servers, which stay, and what they say when they are ready."""
MODULES = {"darkroom": "flows.cli", "prefect": PREFECT}
VARIANTS = "tests/deployments/stack/test_variants.py"
ELSEWHERE = {
    "make run": ("tests/test_fresh_clone.py", 'make(clone, "run")'),
    "make test": ("tests/test_fresh_clone.py", 'make(clone, "test"'),
    "make up": ("tests/deployments/stack/test_stack.py", "def up("),
    "make image": ("tests/deployments/test_image.py", "Dockerfile"),
    "cp deployments/.env.example deployments/.env": ("tests/deployments/stack/test_compose.py", ".env.example"),
    # Prefect's server would ask GitHub about such a pool.
    "prefect work-pool create darkroom-kubernetes --type kubernetes": (VARIANTS, '["docker", "kubernetes"]'),
    "prefect deploy --prefect-file deployments/prefect-kubernetes.yaml --all": (VARIANTS, "variant.file"),
    "docker compose -f deployments/compose.yaml up -d": ("tests/deployments/stack/test_compose.py", "compose.yaml"),
}
"""Commands that are not given here: the test that sees to each, and what it says of it."""


@dataclass
class ReadmePlace:
    """A folder with the project in it, and what commands find there; each block of the README is run once.

    Attributes:
        folder: in which commands are given.
        environment: what they are given with.
        prefect: URL of the Prefect server.
        platform: URL of the batch server that stands for the cloud, and for a server of one's own.
    """

    folder: Path
    environment: dict[str, str]
    prefect: str
    platform: str
    _ran: dict[str, list[tuple[Command, Outcome]]] = field(default_factory=dict)

    def ran(self, block: Block) -> list[tuple[Command, Outcome]]:
        """What came of the commands of a block, and first of those that they need."""
        if block.text not in self._ran:
            for needed in {NEEDS[start] for start in NEEDS for command in block.commands if command.begins(start)}:
                self.ran(block_of(needed))
            self._ran[block.text] = list(self._run(block))
        return self._ran[block.text]

    def outcome(self, start: str) -> Outcome:
        """What came of the first command that begins so."""
        return next(outcome for command, outcome in self.ran(block_of(start)) if command.begins(start))

    def here(self, word: str) -> str:
        """A word of the README, as it is in this place."""
        if word in ("3f0c", "9a1b"):
            return self.outcome(FIRST_RUN if word == "3f0c" else SECOND_RUN).last_line[1]
        for told, real in (
            ("http://127.0.0.1:4200", self.prefect),
            ("http://127.0.0.1:9001", self.platform),
            ("/data/photos", f"{self.folder}/photos"),
            ("/srv/darkroom", f"{self.folder}/srv"),
        ):
            word = word.replace(told, real)
        return {"9001": "0", "9002": "0", "200": "2", "choose-one": KEY}.get(word, word)

    def darkroom(self, words: str) -> Outcome:
        """A ``darkroom`` command with words of the README."""
        return self._carried_out(read_command(shlex.split(f"darkroom {words}")), self.environment)

    def text(self, block: Block) -> str:
        """A block of Python, as it is in this place."""
        run = f"runs/{self.outcome(FIRST_RUN).last_line[1]}" if "runs/" in block.text else ""
        return self.here(re.sub(r"runs/[0-9a-f]{16}", run, block.text))

    def _run(self, block: Block) -> Iterator[tuple[Command, Outcome]]:
        environment = self.environment
        for command in block.commands:
            variables = {name: self._value(name, value, environment) for name, value in command.variables.items()}
            if not command.words:
                environment = environment | variables
            elif command.text not in ELSEWHERE:
                yield command, self._carried_out(command, environment | variables)

    def _value(self, name: str, value: str, environment: Mapping[str, str]) -> str:
        return SECRETS[name] if value == "..." else self.here(value.replace("$PATH", environment["PATH"]))

    def _carried_out(self, command: Command, environment: Mapping[str, str]) -> Outcome:
        program, *rest = (self.here(word) for word in command.words)
        words = (self._written(rest[0]),) if program == "python" else (MODULES[program], *rest)
        ready = next((said for start, said in READY.items() if command.begins(start)), "")
        child = self._started(words, environment)
        outcome = self._ended_when(child, ready) if ready else self._ended(child)
        if command.output:
            Path(command.output.replace("~", environment["HOME"])).write_text(outcome.output)
        return outcome

    def _written(self, name: str) -> str:
        """The module that a file of the README is, written down."""
        block = next(block for block in blocks("python") if block.title == f"# {name}")
        (self.folder / name).write_text(self.text(block))
        return name.removesuffix(".py")

    def _started(self, words: tuple[str, ...], environment: Mapping[str, str]) -> ForkedModule:
        pipe = subprocess.PIPE
        return ForkedModule(
            *words, cwd=self.folder, env=environment, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe
        )

    def _ended(self, child: ForkedModule) -> Outcome:
        with child:
            try:
                output, errors = child.communicate(timeout=LONGEST)
            finally:
                child.kill()
        return Outcome(child.returncode, output, errors)

    def _ended_when(self, child: ForkedModule, ready: str) -> Outcome:
        """A server that has been told to end when it was ready."""
        assert child.stdout is not None
        for line in child.stdout:
            if ready in line:
                child.send_signal(signal.SIGINT)
                outcome = self._ended(child)
                return Outcome(outcome.status, line + outcome.output, outcome.errors)
        return self._ended(child)


def block_of(start: str) -> Block:
    """The block with the first command that begins so."""
    return next(block for block in blocks("sh") for command in block.commands if command.begins(start))


@contextmanager
def readme_place(folder: Path) -> Iterator[ReadmePlace]:
    """The place, with its servers kept warm.

    Args:
        folder: an empty one.
    """
    _fill(folder)
    settings = Settings.model_validate({"DARKROOM_HOME": folder / ".darkroom", "DARKROOM_ENGINE_PYTHON": ENGINE_PYTHON})
    service, embedded = prefect_service(settings.home), embedded_server(settings)
    prepare_home(settings.home)
    s3, gcs = POOL.place("s3"), POOL.place("gcs")
    _fill_buckets(folder, s3, gcs)
    platform = settings_for(folder / "platform")
    _register(platform.data)
    with embedded.use(), service.use() as prefect, thread_server(platform, SmallEngine()) as server:
        _make_notifier(f"{prefect}/api")
        own = {"HOME": str(folder), "API_BASE_URL": server.url, "ROBOFLOW_API_KEY": KEY}
        dropped = {name for name in os.environ if name.startswith("DARKROOM_")} | set(foreign_variables())
        kept = {name: value for name, value in clean_environment().items() if name not in dropped}
        engine = {"DARKROOM_ENGINE_PYTHON": str(ENGINE_PYTHON)}
        environment = kept | engine | s3.environment | gcs.environment | own
        yield ReadmePlace(folder, environment, prefect, server.url)
    assert embedded.wait_until_gone()
    assert service.wait_until_gone()


def _fill(folder: Path) -> None:
    """Links to the project, and photographs."""
    for name in ("flows", "tasks", "deployments", "prefect.yaml", ".venv-engine"):
        (folder / name).symlink_to(ROOT / name)
    samples = folder / "samples"
    make = [ENGINE_PYTHON, ROOT / "deployments" / "samples.py", samples]
    subprocess.run(make, check=True, capture_output=True, timeout=LONGEST)
    for name in PHOTOGRAPHS:
        (folder / "photos" / name).parent.mkdir(parents=True)
        shutil.copy(samples / name, folder / "photos" / name)


def _fill_buckets(folder: Path, s3: Any, gcs: Any) -> None:
    """The bucket ``bucket`` of both clouds: photographs, and small images in a folder."""
    where = {"LocationConstraint": s3.environment["AWS_REGION"]}
    s3.client.create_bucket(Bucket="bucket", CreateBucketConfiguration=where)
    bucket = gcs.client.create_bucket("bucket")
    for name in PHOTOGRAPHS:
        content = (folder / "photos" / name).read_bytes()
        s3.client.put_object(Bucket="bucket", Key=f"2024/{name}", Body=content)
        bucket.blob(f"photos/{name}").upload_from_string(content)
    for path in make_images(folder / "small", IMAGES):
        s3.client.put_object(Bucket="bucket", Key=f"photos/{path.name}", Body=path.read_bytes())


def _register(data: Path) -> None:
    """The workflow ``my-workflow``, as people drop it into a server's folder."""
    (data / "workflows").mkdir(parents=True)
    shutil.copy(ROOT / "deployments/batch_server/workflows/photo-audit.json", data / "workflows" / "my-workflow.json")


def _make_notifier(api: str) -> None:
    """The block ``slack-webhook/mine``, as Prefect's UI makes it."""
    with httpx.Client(base_url=api, timeout=30, trust_env=False) as client:
        kind = client.get("/block_types/slug/slack-webhook").raise_for_status().json()["id"]
        asked = {"block_schemas": {"block_type_id": {"any_": [kind]}}}
        schema = client.post("/block_schemas/filter", json=asked).raise_for_status().json()[0]["id"]
        block = {"name": "mine", "block_type_id": kind, "block_schema_id": schema}
        data = {"url": "https://hooks.slack.com/services/none"}
        client.post("/block_documents/", json=block | {"data": data}).raise_for_status()
