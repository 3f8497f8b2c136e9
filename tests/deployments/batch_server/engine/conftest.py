import io
import json
import os
import select
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from deployments.batch_server.engine.interface import Chunk, ImageSlice
from deployments.batch_server.engine.pool import EnginePool

ROOT = Path(__file__).resolve().parents[4]
ENGINE_PYTHON = ROOT / ".venv-engine" / "bin" / "python"
WORKFLOWS = ROOT / "deployments" / "batch_server" / "workflows"

MISBEHAVE = """
def run(self, image) -> BlockResult:
    import os, signal, time
    width = image.numpy_image.shape[1]
    if width == 13:
        os.kill(os.getpid(), signal.SIGKILL)
    if width == 17:
        time.sleep(600)
    if width == 19:
        raise MemoryError()
    if width == 23:
        raise ValueError("bad\\nluck in /srv/models/weights.bin")
    values = {29: float("nan"), 31: b"raw", 37: np.arange(3), 41: {"a": [np.float32(0.5), image]}}
    return {"value": values.get(width, width)}
"""
"""A custom block whose conduct is chosen by the width of the image."""


def misbehaving() -> dict[str, Any]:
    """Give a definition with the block above, whose output `value` is of any kind."""
    return {
        "version": "1.0",
        "inputs": [{"type": "WorkflowImage", "name": "image"}],
        "dynamic_blocks_definitions": [
            {
                "type": "DynamicBlockDefinition",
                "manifest": {
                    "type": "ManifestDescription",
                    "block_type": "Misbehave",
                    "inputs": {
                        "image": {
                            "type": "DynamicInputDefinition",
                            "selector_types": ["input_image", "step_output_image"],
                        }
                    },
                    "outputs": {"value": {"type": "DynamicOutputDefinition", "kind": []}},
                },
                "code": {"type": "PythonCode", "run_function_code": MISBEHAVE},
            }
        ],
        "steps": [{"type": "Misbehave", "name": "step", "image": "$inputs.image"}],
        "outputs": [{"type": "JsonField", "name": "value", "selector": "$steps.step.value"}],
    }


def workflow(name: str) -> dict[str, Any]:
    """Read a workflow of the registry."""
    definition: dict[str, Any] = json.loads((WORKFLOWS / f"{name}.json").read_text())
    return definition


def jpeg(width: int = 64, height: int = 48, mode: str = "RGB", format: str = "JPEG") -> bytes:
    """Draw an image that is not all one colour."""
    gradient = Image.linear_gradient("L").resize((width, height))
    buffer = io.BytesIO()
    gradient.convert(mode).save(buffer, format)
    return buffer.getvalue()


def read_lines(path: Path) -> list[Any]:
    """Read a file of JSON lines."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def processes_below(pid: int) -> list[int]:
    """Find the children of a process, then theirs."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if fields[0] != "Z":
            children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found = children.get(pid, [])
    for child in found:  # which grows
        found += children.get(child, [])
    return found


def command_of(pid: int) -> str:
    """Give a process's command line."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def parent_of(pid: int) -> int:
    """Give a process's parent."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def engine_processes(pid: int | None = None) -> tuple[int, list[int]]:
    """Find the newest engine's process of a process (this one by default), and its workers."""
    mine, deadline = pid or os.getpid(), time.monotonic() + 10
    while time.monotonic() < deadline:  # it may be about to be started
        engines = [child for child in processes_below(mine) if "worker.py" in command_of(child)]
        for newest in sorted(engines, reverse=True):
            if parent_of(newest) == mine:
                return newest, processes_below(newest)
    raise LookupError("no engine process")


def ends_within(pid: int, seconds: float) -> bool:
    """Wait for a process, child or not, to end."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], seconds)[0])
    finally:
        os.close(descriptor)


MakeChunk = Callable[..., Chunk]


@pytest.fixture
def make_chunk(tmp_path: Path) -> MakeChunk:
    """Make chunks of images that lie one behind the other in one file."""

    def make(images: Sequence[tuple[str, bytes]], definition: dict[str, Any], **options: Any) -> Chunk:
        number = len(list(tmp_path.glob("out-*")))
        blob, output_dir = tmp_path / f"blob-{number}", tmp_path / f"out-{number}"
        output_dir.mkdir()
        slices, offset = [], 7
        for name, data in images:
            slices.append(ImageSlice(name, blob, offset, len(data)))
            offset += len(data)
        blob.write_bytes(b"padding" + b"".join(data for _, data in images))
        settings: dict[str, Any] = {"parameters": {}, "image_input": None, "keep_images": False, "image_outputs": None}
        return Chunk(f"chunk-{number:05d}", tuple(slices), definition, **settings | options, output_dir=output_dir)

    return make


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EnginePool]:
    """Run one real worker."""
    pool = EnginePool(ENGINE_PYTHON, 1, tmp_path_factory.mktemp("engine") / "engine.log", image_timeout=20)
    pool.start()
    yield pool
    pool.stop()
