"""Errors of the engine, told in one line to someone who has neither its source nor this machine."""

import re
from collections.abc import Iterator
from typing import Any

LONGEST_REASON = 400
_FOLDERS = re.compile(r"(?<![\w.:/])/(?:[^\s/:'\"]+/)+")
_SELECTOR_BRANCH = "constrained-str"


def one_line(text: str, limit: int = LONGEST_REASON) -> str:
    """Fold white space, drop the folders of absolute paths, cut at `limit` characters."""
    folded = _FOLDERS.sub("", " ".join(text.split()))
    return folded if len(folded) <= limit else folded[: limit - 1].rstrip() + "…"


def why_image_failed(error: BaseException) -> str:
    """Name the step, where known, and the innermost cause."""
    step = next((cause.block_id for cause in _causes(error) if hasattr(cause, "block_id")), None)
    *_, innermost = _causes(error)
    text = one_line(str(innermost)) or type(innermost).__name__
    if isinstance(innermost, MemoryError):
        text = "not enough memory for this image"
    return f"step {step!r}: {text}" if step else text


def why_workflow_invalid(error: BaseException) -> str:
    """Name the part of the definition or the parameter, and what is wrong with it."""
    text = str(error)
    if "init parameter model_manager" in text:
        return one_line(f"the workflow needs model weights, which this engine runs without: {text}")
    blocks = [_block_problem(block) for block in getattr(error, "blocks_errors", None) or ()]
    problems = blocks or list(_validation_problems(getattr(error, "inner_error", None)))
    return one_line(": ".join([_opening(text, bool(problems)), "; ".join(problems[:3])]).rstrip(": "))


def _causes(error: BaseException) -> Iterator[Any]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__


def _opening(text: str, detailed: bool) -> str:
    """The engine's sentence, without its pointers to details that follow here anyway."""
    return re.split(r" Details (?:available|provided) in", text)[0].rstrip(".") if detailed else text


def _block_problem(block: Any) -> str:
    where = " ".join(repr(part) for part in (block.block_id, block.property_name) if part)
    return one_line(f"{where}: {block.property_details or block.block_details or 'invalid'}", 160)


def _validation_problems(inner: Any) -> Iterator[str]:
    """Pydantic's errors; the branch "or a selector" of a union says nothing to a reader."""
    found = inner.errors() if callable(getattr(inner, "errors", None)) else []
    useful = [entry for entry in found if _SELECTOR_BRANCH not in entry["loc"]] or found
    for entry in useful:
        where = ".".join(str(part) for part in entry["loc"])
        got = entry.get("input")
        value = f" (got {got!r:.40})" if isinstance(got, (str, int, float, bool, type(None))) else ""
        yield one_line(f"{where}: {entry['msg']}{value}", 160)
