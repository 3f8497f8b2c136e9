"""What may be asked of a run beyond its inputs: what is exported, in which formats, and what is expected of it.

None of it is part of a run's identity: the same work is never done, or paid, twice because its results are wanted in
another form or judged by another measure.
"""

from __future__ import annotations

import json
from types import UnionType
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError

AskedImages = Literal["none", "link", "copy"]
PREVIOUS = "previous"
"""Stands for the latest finished run of the same request."""


class Options(BaseModel):
    """Base of what may be asked for; an unknown name is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ExportChoice(Options):
    """Which of a job's output is fetched."""

    stage: str = Field(
        default="",
        title="Stage",
        description="Stage of the job whose output is taken. Empty: the export stage. Example: processing",
    )
    parts: list[str] = Field(
        default_factory=list,
        title="Parts",
        description="Parts of the output batch to fetch, by name; empty fetches all. Example: aggregated-results",
    )


class DatasetOptions(Options):
    """Which dataset formats are made of the predictions."""

    formats: list[str] = Field(
        default_factory=list,
        title="Formats",
        description="Dataset formats to write: coco, yolo, voc, csv, jsonl, classification-folders, or one of an "
        "installed package. Example: coco",
    )
    outputs: list[str] = Field(
        default_factory=list,
        title="Outputs",
        description="Outputs of the workflow whose predictions are taken; empty takes all. Example: codes",
    )
    images: AskedImages = Field(
        default="none",
        title="Images",
        description="Whether the source images are put beside the annotations: none, link (local sources), or copy.",
    )
    validation: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        title="Validation share",
        description="Share of the images in the validation split, by a stable hash of their names. 0: no split.",
    )
    zipped: bool = Field(default=False, title="Zip", description="Pack each format into one archive.")


class Expectations(Options):
    """What a run's results must look like; a missed one fails the run before anything is published."""

    max_failures: int | None = Field(
        default=None, ge=0, title="Most failures", description="Most files without a result, rejected ones included."
    )
    max_failure_rate: float | None = Field(
        default=None,
        ge=0,
        le=1,
        title="Highest failure rate",
        description="Highest share of files without a result, rejected ones included, from 0 to 1.",
    )
    max_empty_rate: float | None = Field(
        default=None,
        ge=0,
        le=1,
        title="Highest share of empty results",
        description="Highest share of processed images without one prediction, from 0 to 1.",
    )
    min_mean_confidence: float | None = Field(
        default=None,
        ge=0,
        le=1,
        title="Least mean confidence",
        description="Least mean confidence of all predictions that have one, from 0 to 1; missed where none has.",
    )
    min_confidence: float | None = Field(
        default=None,
        ge=0,
        le=1,
        title="Least confidence",
        description="Confidence that no prediction may be below, from 0 to 1; met where nothing is predicted.",
    )
    required_classes: list[str] = Field(
        default_factory=list, title="Required classes", description="Classes that must be predicted at least once."
    )
    forbidden_classes: list[str] = Field(
        default_factory=list, title="Forbidden classes", description="Classes that must not be predicted."
    )


class ComparisonOptions(Options):
    """Which run a run is compared with, and how much of a change is told."""

    against: str = Field(
        default="",
        title="Compare with",
        description="Key of a run, or previous for the latest finished run of the same request. Empty: no comparison.",
    )
    class_shift: float = Field(
        default=0.2,
        gt=0,
        title="Class shift",
        description="Population stability index of the class mix from which a change is told; above 0.2 it is large.",
    )
    confidence_shift: float = Field(
        default=0.2,
        gt=0,
        title="Confidence shift",
        description="Population stability index of the confidences from which a change is told; a few hundred "
        "predictions are needed, as chance alone changes fewer by as much.",
    )
    failure_rise: float = Field(
        default=0.05,
        gt=0,
        le=1,
        title="Failure rise",
        description="Rise of the failure rate, as a share of all files, from which it is told.",
    )
    throughput_drop: float = Field(
        default=0.5,
        gt=0,
        le=1,
        title="Throughput drop",
        description="Drop of images a second, as a share of what they were, from which it is told.",
    )


def parse_option(model: type[BaseModel], text: str) -> tuple[str, Any]:
    """``NAME=VALUE`` as the command line takes it: a field of ``model`` and its checked value.

    A list is a JSON list, or its items with commas between them; a mapping is a JSON object.

    Raises:
        ValueError: there is no such field, or it cannot have that value; the message is one line.
    """
    name, equals, value = text.partition("=")
    if not equals or name not in model.model_fields:
        raise ValueError(f"{text!r} is not NAME=VALUE with one of the names {', '.join(model.model_fields)}")
    try:
        given = _read(model.model_fields[name].annotation, value)
        return name, getattr(model.model_validate({name: given}), name)
    except json.JSONDecodeError:
        raise ValueError(f"{name}={value}: not the JSON that it begins as") from None
    except ValidationError as error:
        raise ValueError(f"{name}={value}: {error.errors()[0]['msg']}") from None


def _read(annotation: Any, text: str) -> Any:
    kinds = get_args(annotation) if get_origin(annotation) is UnionType else (annotation,)
    origins = {get_origin(kind) for kind in kinds}
    if list in origins:
        return json.loads(text) if text.startswith("[") else [item for item in text.split(",") if item]
    if dict in origins:
        return json.loads(text) if text.startswith("{") else text
    return text
