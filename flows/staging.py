"""The flow that only stages: it lists and checks a source, and sends nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from prefect import flow
from pydantic import Field

from flows.secrets_by_name import storage_credentials
from tasks.core.records import Surveyed
from tasks.core.settings import load_settings
from tasks.steps.runs import runs_folder
from tasks.steps.stage import answering_source
from tasks.steps.survey import Signing
from tasks.survey import survey_source

MANIFESTS = "manifests"


@flow(name="stage-source", flow_run_name="stage {source}", persist_result=False)
def stage_source(
    source: Annotated[str, Field(min_length=1)], references: str = "", runs: str = "", credentials: str = ""
) -> Surveyed:
    """List a source, check its files and write its manifest; nothing is sent anywhere.

    Args:
        source: Folder, bucket, pattern or file of references. Example: s3://bucket/photos/**/*.jpg
        references: File for signed references, a JSON line each; whoever has it can read the media until the URLs end.
            Empty: none are made. Example: references.jsonl
        runs: Folder that holds the runs; the manifest goes into its folder manifests, for runs in a bucket into the one
            that they are worked on in. Empty: DARKROOM_RUNS, or ./runs
        credentials: Prefect block with the credentials for buckets. Empty: the worker's own. Example:
            aws-credentials/mine

    Returns:
        What was found: counts, sizes, why files were rejected, and the manifest's path.

    Raises:
        BadInput: the source cannot be used, or its files cannot be referred to.
    """
    settings = load_settings()
    folder = runs_folder(runs or settings.runs, settings)
    signing = Signing(Path(references), settings.url_hours) if references else None
    with storage_credentials(credentials):
        opened = answering_source(source, (str(folder), str(settings.home)))
        return survey_source(opened, folder / MANIFESTS, signing)
