"""Who a run is: the same request always gets the same key, and so meets its own batch and job again."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from tasks.core.options import Options

KEY_DIGITS = 16
MediaKind = Literal["images"]
AggregationFormat = Literal["jsonl", "csv"]
InferenceBackend = Literal["auto", "old-inference", "inference-models"]


class ResultOptions(Options):
    """Options of a run that change what comes out, and so are part of its identity."""

    keep_images: bool = Field(
        default=True,
        title="Keep image outputs",
        description="Whether images that the workflow makes (annotated pictures) are part of the results.",
    )
    image_outputs: list[str] = Field(
        default_factory=list,
        title="Image outputs",
        description="Which image outputs to keep, by name; empty keeps all. Example: annotated",
    )
    image_input: str = Field(
        default="",
        title="Image input",
        description="Name of the workflow's image input; empty where it is the only one. Example: image",
    )
    aggregation_format: AggregationFormat = Field(
        default="jsonl",
        title="Aggregation format",
        description="How the platform writes the results of all images into one file: jsonl, which keeps the types of "
        "values, or csv, in which nested values are JSON text.",
    )
    inference_backend: InferenceBackend = Field(
        default="auto",
        title="Inference backend",
        description="Which of the platform's two runtimes serves models: old-inference, inference-models, or auto.",
    )
    images_metadata_part: str = Field(
        default="",
        title="Metadata part",
        description="Part of the batch that holds metadata of the images, in batches that a platform has made. Empty: "
        "none.",
    )
    images_metadata_mapping: dict[str, str] = Field(
        default_factory=dict,
        title="Metadata mapping",
        description='Which metadata goes to which input of the workflow, by name. Example: {"camera": "camera_id"}',
    )


class RunIdentity(BaseModel):
    """Everything that a run's key is derived from."""

    model_config = ConfigDict(frozen=True)

    manifest_digest: str
    workflow_id: str
    workflow_digest: str | None
    """SHA-256 of the definition, or ``None`` where the platform does not show it."""
    parameters: dict[str, Any]
    options: ResultOptions
    workspace: str
    media: MediaKind = "images"
    rerun: str = ""

    def key(self) -> str:
        """16 hex digits of the SHA-256 of the canonical description."""
        return digest_json(self.model_dump(mode="json"))[:KEY_DIGITS]


def remote_id(key: str) -> str:
    """Batch id and job id of the run: 19 characters, where the contract allows a job 20."""
    return f"dr-{key}"


def digest_json(value: Any) -> str:
    """SHA-256 of the canonical JSON of ``value``: sorted keys, no white space, ASCII."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()
