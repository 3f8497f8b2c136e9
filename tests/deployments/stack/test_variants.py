from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from deployments.stack.variants import VARIANTS, Variant
from tests.commands import ROOT

each_variant = pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)


def parsed(file: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / file).read_text(encoding="utf-8"))
    return loaded


def without(deployment: dict[str, Any]) -> dict[str, Any]:
    """A deployment but for its pool, its platform and its source."""
    parameters = deployment.get("parameters", {})
    kept = {name: value for name, value in parameters.items() if name not in ("platform", "source")}
    rest = {name: value for name, value in deployment.items() if name not in ("work_pool", "parameters")}
    return rest | {"parameters": kept}


@each_variant
def test_file_is_what_is_made_of_prefect_yaml(variant: Variant) -> None:
    assert (ROOT / variant.file).read_text(encoding="utf-8") == variant.text(), "run `make variants`"


@each_variant
def test_deployments_are_those_of_the_process_pool(variant: Variant) -> None:
    original, made = parsed("prefect.yaml"), parsed(variant.file)
    assert list(map(without, made["deployments"])) == list(map(without, original["deployments"]))
    assert made["prefect-version"] == original["prefect-version"]


@each_variant
def test_nothing_needs_what_an_image_lacks(variant: Variant) -> None:
    made = parsed(variant.file)
    assert made["pull"] == [{"prefect.deployments.steps.set_working_directory": {"directory": "/app"}}]
    parameters = [deployment.get("parameters", {}) for deployment in made["deployments"]]
    assert [asked for asked in parameters if asked.get("platform") == "embedded"] == []
    assert [asked for asked in parameters if ".darkroom" in asked.get("source", "")] == []
    assert {deployment["work_pool"]["name"] for deployment in made["deployments"]} == {variant.pool}


@pytest.mark.parametrize("kind", ["docker", "kubernetes"])
def test_job_variables_are_those_of_prefects_pools(kind: str) -> None:
    """Held to the work pools that come with Prefect; the libraries of their workers are not installed here."""
    bundled = files("prefect.server.api.collections_data.views") / "aggregate-worker-metadata.json"
    pool = json.loads(bundled.read_text(encoding="utf-8"))[f"prefect-{kind}"][kind]
    known = pool["default_base_job_configuration"]["variables"]["properties"]
    (variant,) = (variant for variant in VARIANTS if variant.name == kind)
    assert set(variant.job) <= set(known)
