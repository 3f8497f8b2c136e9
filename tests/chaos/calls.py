"""The calls of a run that are worth being killed at, in the order in which they come."""

from __future__ import annotations

from collections.abc import Callable

API = ("/data-staging/", "/batch-processing/")


def reads_workflow(method: str, path: str) -> bool:
    return method == "GET" and "/workflows/" in path


def asks_for_shard_url(method: str, path: str) -> bool:
    return method == "POST" and path.endswith("/bulk-upload/image-files")


def sends_shard(method: str, path: str) -> bool:
    return method == "PUT"


def counts_batch(method: str, path: str) -> bool:
    return method == "GET" and path.endswith("/count")


def creates_job(method: str, path: str) -> bool:
    return method == "POST" and "/jobs/" in path


def polls_job(method: str, path: str) -> bool:
    return method == "GET" and path.endswith("/stages")


def lists_results(method: str, path: str) -> bool:
    return method == "GET" and path.endswith("/list")


def downloads(method: str, path: str) -> bool:
    return method == "GET" and path != "/" and not path.startswith(API) and "/workflows/" not in path


def sends_references(method: str, path: str) -> bool:
    return method == "POST" and path.endswith("/bulk-upload/image-references")


def fetches_photo(method: str, path: str) -> bool:
    """At the storage."""
    return method == "GET" and path.startswith("/photos/in/")


def stores(name: str) -> Callable[[str, str], bool]:
    """At the storage: the file of this name is written, in whatever folder."""

    def matching(method: str, path: str) -> bool:
        return method == "PUT" and path.endswith(name)

    return matching
