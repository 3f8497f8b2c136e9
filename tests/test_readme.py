"""The README is held to the truth: what it documents is there, and what is there it documents."""

import re
from typing import Any

import pyarrow as pa
import pytest
import yaml  # type: ignore[import-untyped]
from pydantic import BaseModel

from flows.cli import INTERRUPTED
from flows.command_line.arguments import build_parser
from flows.command_line.commands import COMMANDS
from flows.command_line.looking import DRIFTED
from tasks.core.errors import BadInput, DarkroomError
from tasks.core.identity import ResultOptions
from tasks.core.job_options import JobOptions, WaitOptions
from tasks.core.options import ComparisonOptions, Expectations
from tasks.core.pilot import PilotOptions
from tasks.results.exporters.registry import formats
from tasks.results.schemas import FAILURES_SCHEMA, PREDICTIONS_SCHEMA, RESULT_FIELDS, SCHEMA_KEY
from tests.readme.document import README, ROOT, rows, section, sections


@pytest.mark.parametrize("schema", [pa.schema(RESULT_FIELDS), PREDICTIONS_SCHEMA, FAILURES_SCHEMA])
def test_every_column_is_documented(schema: pa.Schema) -> None:
    assert [name for name in schema.names if f"`{name}`" not in section("What came out")] == []


@pytest.mark.parametrize("schema", [PREDICTIONS_SCHEMA, FAILURES_SCHEMA])
def test_version_of_every_schema_is_documented(schema: pa.Schema) -> None:
    assert f"`{schema.metadata[SCHEMA_KEY.encode()].decode()}`" in section("What came out")


@pytest.mark.parametrize(
    ("title", "names"),
    [
        ("What came out", Expectations.model_fields),
        ("What came out", set(ComparisonOptions.model_fields) - {"against"}),
        ("Get COCO", formats()),
    ],
)
def test_every_wish_is_documented(title: str, names: Any) -> None:
    assert [name for name in names if f"`{name}`" not in section(title)] == []


@pytest.mark.parametrize(("model", "flag"), [(ResultOptions, "--option"), (JobOptions, "--job")])
def test_every_option_of_a_job_is_documented(model: type[BaseModel], flag: str) -> None:
    assert flag in section("The job")
    assert [name for name in model.model_fields if f"`{name}`" not in section("The job")] == []


def test_every_way_of_waiting_is_documented() -> None:
    said = "".join(map(section, ("The job", "Stop it", "Wait without a worker")))
    missing = [name for name in WaitOptions.model_fields if not re.search(rf"wait {name}=|`wait\.{name}`", said)]
    assert missing == []


def test_every_part_of_a_budget_is_documented() -> None:
    said = section("Try it on a few first")
    assert "`--pilot N`" in said
    assert [name for name in set(PilotOptions.model_fields) - {"files"} if f"`{name}`" not in said] == []


def test_table_of_commands_is_complete() -> None:
    table = [row[0].split()[1].strip("`") for row in rows(section("The command line"), "command")]
    assert sorted(table) == sorted(COMMANDS)


def test_every_option_of_every_command_is_documented() -> None:
    _, parsers = build_parser()
    flags = {flag for parser in parsers.values() for flag in parser.flags() if flag.startswith("--")}
    assert {flag for flag in flags if not re.search(rf"{flag}\b", README)} == set()


def test_table_of_deployments_is_complete() -> None:
    deployments = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]
    made = {deployment["name"]: deployment["entrypoint"].partition(":")[0] for deployment in deployments}
    table = [row[0].strip("`").split("/") for row in rows(section("On a schedule"), "deployment")]
    assert sorted(name for _, name in table) == sorted(made)
    for flow, name in table:
        assert f'name="{flow}"' in (ROOT / made[name]).read_text(encoding="utf-8")


def test_exit_statuses_are_complete() -> None:
    (line,) = (line for line in section("The command line").splitlines() if line.startswith("Exit status: "))
    told = {int(number) for number in re.findall(r"[:;] (\d+) ", line)}
    assert told == {0, DarkroomError.exit_status, BadInput.exit_status, DRIFTED, INTERRUPTED}


def test_links_lead_to_sections() -> None:
    anchors = {title.lower().replace(" ", "-") for title in sections()}
    assert set(re.findall(r"\]\(#([\w-]+)\)", README)) - anchors == set()
