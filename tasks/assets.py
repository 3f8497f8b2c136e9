"""Lineage: where media comes from, the batch it is in, and where results are, as Prefect's assets.

They are events that a person can follow in Prefect, never the record of what exists.
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

from prefect.assets import Asset, AssetProperties
from prefect.context import AssetContext

from tasks.core.redaction import redact
from tasks.roboflow_api.platform import CLOUD, Platform
from tasks.sources.registry import split_scheme

MADE_BY = "darkroom"
MOST_CHARACTERS = 512
_NOT_IN_KEYS = re.compile(r"[^\w/:@~=.,+-]")
"""Prefect takes no spaces, quotes, percents and the like."""


def place_asset(url: str, name: str = "", description: str = "") -> Asset:
    """A folder, bucket or file of references.

    Args:
        url: as the user names it: a path, or a URL that holds no secret.
        name: for people.
        description: for people, in markdown.
    """
    scheme, rest = split_scheme(redact(url))
    return _asset(f"{scheme}://{rest}" if scheme else f"file://{Path(url).absolute()}", name, description)


def batch_asset(platform: Platform, batch_id: str) -> Asset:
    """A batch on a platform, by the host that it is on."""
    host = CLOUD if platform.name == CLOUD else urlsplit(platform.url).netloc
    return _asset(f"roboflow://{host}/{platform.workspace}/batches/{batch_id}", batch_id)


def materialized(asset: Asset, *sources: Asset) -> None:
    """Has the task run that is under way say at its end that it has made ``asset`` of ``sources``."""
    context = AssetContext.get()
    assert context is not None, "called outside of a task"
    context.materialized_by = MADE_BY
    context.downstream_assets.add(asset)
    context.direct_asset_dependencies.update(sources)
    context.update_tracked_assets()


def _asset(key: str, name: str = "", description: str = "") -> Asset:
    given = {what: text for what, text in (("name", name), ("description", description)) if text}
    properties = AssetProperties.model_validate(given) if given else None
    return Asset(key=_NOT_IN_KEYS.sub("_", key)[:MOST_CHARACTERS], properties=properties)
