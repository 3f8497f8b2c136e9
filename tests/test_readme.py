"""The README is held to the truth: what it documents is there, and what is there it documents."""

import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tasks.core.options import ComparisonOptions, Expectations
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
