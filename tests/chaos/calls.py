"""The calls of a run that are worth being killed at, in the order in which they come."""

from __future__ import annotations

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
