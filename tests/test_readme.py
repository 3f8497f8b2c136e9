"""The README is held to the truth: what it documents is there, and what is there it documents."""

import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pydantic import BaseModel

from flows.command_line.commands import COMMANDS
from tasks.core.identity import ResultOptions
from tasks.core.job_options import JobOptions, WaitOptions
from tasks.core.options import ComparisonOptions, Expectations
from tasks.core.pilot import PilotOptions
from tasks.results.exporters.registry import formats
from tasks.results.schemas import FAILURES_SCHEMA, PREDICTIONS_SCHEMA, RESULT_FIELDS, SCHEMA_KEY

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    return re.split(r"\n## ", README.partition(f"\n## {title}\n")[2])[0]


@pytest.mark.parametrize("schema", [pa.schema(RESULT_FIELDS), PREDICTIONS_SCHEMA, FAILURES_SCHEMA])
def test_every_column_is_documented(schema: pa.Schema) -> None:
    assert [name for name in schema.names if f"`{name}`" not in section("Results")] == []


@pytest.mark.parametrize("schema", [PREDICTIONS_SCHEMA, FAILURES_SCHEMA])
def test_version_of_every_schema_is_documented(schema: pa.Schema) -> None:
    assert f"`{schema.metadata[SCHEMA_KEY.encode()].decode()}`" in section("Results")


@pytest.mark.parametrize(
    "names", [Expectations.model_fields, formats(), set(ComparisonOptions.model_fields) - {"against"}]
)
def test_every_wish_is_documented(names: Any) -> None:
    assert [name for name in names if f"`{name}`" not in section("Results")] == []


@pytest.mark.parametrize(("model", "flag"), [(ResultOptions, "--option"), (JobOptions, "--job")])
def test_every_option_of_a_job_is_documented(model: type[BaseModel], flag: str) -> None:
    assert flag in section("The job")
    assert [name for name in model.model_fields if f"`{name}`" not in section("The job")] == []


def test_every_way_of_waiting_is_documented() -> None:
    said = section("The job")
    assert [
        name for name in WaitOptions.model_fields if f"wait {name}=" not in said and f"`wait.{name}`" not in said
    ] == []


def test_every_command_is_documented() -> None:
    assert [name for name in COMMANDS if f"`darkroom {name}" not in README] == []


def test_every_part_of_a_budget_is_documented() -> None:
    assert "`--pilot N`" in section("Pilot")
    assert [name for name in set(PilotOptions.model_fields) - {"files"} if f"`{name}`" not in section("Pilot")] == []
