"""The images, as far as can be seen without building one: there is no Docker where the tests run."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from tests.commands import ROOT
from tests.deployments.stack.containers import check_command, unknown_variables
from tests.one_authority import all_authorities

DOCKERFILE = ROOT / "deployments" / "Dockerfile"
IGNORED = (ROOT / "deployments" / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
UV = ROOT / ".venv-tools" / "bin" / "uv"
TARGETS = ("pipeline", "server")
Instruction = tuple[str, str]


def stages() -> dict[str, list[Instruction]]:
    """The Dockerfile's instructions, by stage."""
    text = "\n".join(line for line in DOCKERFILE.read_text(encoding="utf-8").splitlines() if not line.startswith("#"))
    found: dict[str, list[Instruction]] = {"": []}
    for line in filter(None, text.replace("\\\n", " ").splitlines()):
        word, _, rest = line.partition(" ")
        if word == "FROM":
            image, _, name = rest.partition(" AS ")
            found[name] = [(word, image)]
        else:
            list(found.values())[-1].append((word, " ".join(rest.split())))
    return found


STAGES = stages()


def line_of(target: str) -> list[Instruction]:
    """A target's instructions after those of the stages that it is built on."""
    below = STAGES[target][0][1]
    return (line_of(below) if below in STAGES else []) + STAGES[target]


def last(target: str, word: str) -> str:
    return [rest for found, rest in line_of(target) if found == word][-1]


def copied() -> list[str]:
    """What is copied from the project's folder."""
    words = [rest.split() for stage in STAGES.values() for word, rest in stage if word == "COPY"]
    return [name for names in words if not names[0].startswith("--from") for name in names[:-1]]


def environment(target: str) -> dict[str, str]:
    pairs = [rest.split() for word, rest in line_of(target) if word == "ENV"]
    return dict(pair.split("=", 1) for words in pairs for pair in words)


def test_what_is_copied_is_there_and_not_ignored() -> None:
    assert [name for name in copied() if not (ROOT / name).exists()] == []
    assert {line[1:] for line in IGNORED if line.startswith("!")} == set(copied())
    assert IGNORED[1] == "*"


def test_stages_are_built_on_earlier_ones() -> None:
    before: set[str] = set()
    for name, instructions in STAGES.items():
        sources = [rest.split()[0].removeprefix("--from=") for word, rest in instructions if word == "COPY"]
        assert {source for source in sources if source.endswith("environment")} <= before
        before.add(name)
    assert set(TARGETS) <= before
    assert STAGES["base"][0] == ("FROM", "${PYTHON_IMAGE}")
    assert [word for word, _ in STAGES[""]] == ["ARG"]


@pytest.mark.parametrize("target", TARGETS)
def test_containers_are_not_root(target: str) -> None:
    user = last(target, "USER")
    assert re.fullmatch(r"[1-9]\d+:[1-9]\d+", user)
    commands = line_of(target)
    after = commands[commands.index(("USER", user)) :]
    assert [word for word, _ in after if word in ("RUN", "ADD")] == []


@pytest.mark.parametrize("target", TARGETS)
def test_command_is_one_that_its_parser_takes(target: str) -> None:
    check_command(json.loads(last(target, "CMD")))


@pytest.mark.parametrize("target", TARGETS)
def test_variables_are_settings(target: str) -> None:
    assert unknown_variables(environment(target)) == set()


def test_packages_are_those_of_the_locks_with_their_hashes() -> None:
    text = " && ".join(rest for stage in STAGES.values() for word, rest in stage if word == "RUN")
    installing = [step for step in text.split(" && ") if re.search(r"pip (install|sync)", step)]
    unhashed = [step for step in installing if "--require-hashes" not in step]
    assert len(installing) == 5
    assert [step for step in unhashed if "--no-deps --no-build-isolation --editable ." not in step] == []


def test_no_host_and_no_secret_is_named() -> None:
    text = DOCKERFILE.read_text(encoding="utf-8")
    assert re.findall(r"https?://|--index-url|--trusted-host", text) == []
    arguments = {rest.partition("=")[0] for stage in STAGES.values() for word, rest in stage if word == "ARG"}
    assert arguments == {"PYTHON_IMAGE", "VERSION", "REVISION"}
    assert [
        name for target in TARGETS for name in environment(target) if re.search("KEY|SECRET|TOKEN|PASS", name)
    ] == []


def test_server_asks_for_its_health_where_it_listens() -> None:
    assert "is_healthy(9001, '/health')" in last("server", "HEALTHCHECK")
    assert json.loads(last("server", "CMD"))[-3:] == ["9001", "--data", "/data"]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The distributions that the image's environment holds, with their versions, installed as its file says."""
    (step,) = re.findall(r"uv pip install --python \.venv (--require-hashes .* pyproject\.toml)", str(STAGES))
    python = tmp_path_factory.mktemp("image") / "venv"
    subprocess.run([UV, "venv", "--quiet", "--python", sys.executable, python], check=True)
    # Mostly from what `make setup` has fetched; as that does, it asks the index that pip and uv are told of.
    command = [UV, "pip", "install", "--quiet", "--python", python / "bin" / "python", *step.split()]
    done = subprocess.run(command, cwd=ROOT, env=all_authorities(dict(os.environ)), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = [info.name.removesuffix(".dist-info") for info in python.rglob("*.dist-info")]
    return {name.lower().replace("_", "-"): version for name, version in (text.rsplit("-", 1) for text in found)}


def test_image_holds_what_the_lock_says_without_the_developers_tools(installed: dict[str, str]) -> None:
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    pinned = dict(re.findall(r"^([a-z0-9.-]+)==(\S+)", lock, re.MULTILINE))
    locked = {name.replace(".", "-"): version for name, version in pinned.items()}
    assert {name: version for name, version in installed.items() if locked[name.replace(".", "-")] != version} == {}
    assert not {"pytest", "mypy", "ruff", "setuptools", "pip", "inference-cpu"} & set(installed)
    assert {"prefect", "paramiko", "asyncpg"} <= set(installed)


IMPORTS = """
import sys
sys.modules.update(dict.fromkeys(sys.argv[1].split(",")))  # None: importing one fails
import flows.batch, flows.command_line.commands, flows.compilation, flows.expiring, flows.notifications
import flows.reaping, flows.replay, flows.staging, tasks.blocks, tasks.pipeline
import deployments.batch_server.app, deployments.webhooks.app, deployments.stack.__main__, deployments.setup.planning
print(flows.batch.__file__)
"""


def test_flows_can_be_imported_with_what_the_image_holds(installed: dict[str, str], tmp_path: Path) -> None:
    for name in ("flows", "tasks", "deployments"):
        shutil.copytree(ROOT / name, tmp_path / name)
    lacking = {
        module
        for module, distributions in packages_distributions().items()
        if not {name.lower().replace("_", "-") for name in distributions} & {*installed, "darkroom"}
    }
    assert {"pytest", "mypy"} <= lacking
    done = subprocess.run(
        [sys.executable, "-c", IMPORTS, ",".join(sorted(lacking))],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(tmp_path / "flows" / "batch.py")
