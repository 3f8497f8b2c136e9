"""``make bench``: what the pipeline costs, measured side by side with the engine's own directory command.

Two questions, each answered by whole commands in processes of their own:

- *throughput*: images a second of ``darkroom run`` on photographs of about 40 kB, everything included but the set-up
  (servers are started within the time), against ``inference workflows process-images-directory`` on the same
  photographs with the same workflow and the same outputs. The two take turns, so that a noisy machine disturbs both.
- *memory*: peak resident memory of the flow's process at few and at many small images.

Nothing here asserts: the table is to be read, and goes into the README as it was measured.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from flows.prefect_server import prefect_service, prepare

ROOT = Path(__file__).parents[2]
ENGINE = ROOT / ".venv-engine" / "bin"
DARKROOM = ROOT / ".venv" / "bin" / "darkroom"
WORKFLOWS = (
    ROOT / "deployments" / "batch_server" / "workflows" / "photo-audit.json",
    Path(__file__).with_name("four-light-blocks.json"),
)


@dataclass(frozen=True)
class Cost:
    """What one command took: wall seconds, and peak resident memory of its own process in MB."""

    seconds: float
    peak_mb: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the asked-for measurements and prints them as markdown."""
    options = _options(arguments)
    with tempfile.TemporaryDirectory(prefix="darkroom-bench-") as name:
        work = Path(name)
        if "throughput" in options.what:
            photographs = _photographs(work / "photographs", options.images, size_kb=40)
            for workflow in WORKFLOWS:
                _throughput(work / workflow.stem, photographs, workflow, options)
        if "memory" in options.what:
            _memory(work, options.few, options.many)
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench BENCH=...", description=__doc__)
    parser.add_argument("what", nargs="*", default=["throughput", "memory"], help="throughput, memory (default: both)")
    parser.add_argument("--images", type=int, default=500, help="photographs of 40 kB for throughput")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each command")
    parser.add_argument("--few", type=int, default=500, help="small images, the lower number")
    parser.add_argument("--many", type=int, default=10_000, help="small images, the higher number")
    return parser.parse_args(arguments)


def _throughput(work: Path, photographs: Path, workflow: Path, options: argparse.Namespace) -> None:
    contenders: dict[str, Callable[[Path], Cost]] = {
        "`inference workflows process-images-directory`": lambda out: _run_engine(photographs, workflow, out),
        "`darkroom run`, with all its servers to start": lambda out: _run_pipeline(photographs, str(workflow), out),
        "`darkroom run`, with a Prefect server that is up": lambda out: _run_served(photographs, str(workflow), out),
    }
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(options.rounds):
        for number, (name, contender) in enumerate(contenders.items()):
            seconds[name].append(contender(work / f"{number}-{turn}").seconds)
        times = ", ".join(f"{taken[-1]:.1f} s" for taken in seconds.values())
        print(f"{workflow.stem}, round {turn + 1}: {times}", file=sys.stderr)
    what = f"{options.images} photographs of 40 kB, {workflow.stem}, {os.cpu_count()} cores"
    print(f"\n| {what} | seconds (median of {options.rounds}) | images/s | times as fast |")
    print("|---|---|---|---|")
    peer = next(iter(seconds.values()))
    for name, taken in seconds.items():
        ratios = [theirs / ours for theirs, ours in zip(peer, taken, strict=True)]
        middle = statistics.median(taken)
        spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        print(f"| {name} | {middle:.1f} | {options.images / middle:.1f} | {spread} |")


def _memory(work: Path, few: int, many: int) -> None:
    costs = []
    for count in (few, many):
        images = _small_images(work / f"small-{count}", count)
        costs.append(_run_pipeline(images, "minimal", work / f"darkroom-{count}"))
        print(f"{count} images: {costs[-1].seconds:.1f} s, {costs[-1].peak_mb:.0f} MB", file=sys.stderr)
    print("\n| small images, minimal workflow | seconds | peak memory of the flow's process |")
    print("|---|---|---|")
    for count, cost in zip((few, many), costs, strict=True):
        print(f"| {count} | {cost.seconds:.1f} | {cost.peak_mb:.0f} MB |")
    print(f"| growth | | {costs[1].peak_mb - costs[0].peak_mb:.0f} MB |")


def _photographs(folder: Path, count: int, size_kb: int) -> Path:
    samples = [str(ENGINE / "python"), str(ROOT / "deployments" / "samples.py"), str(folder)]
    _run([*samples, "--count", str(count), "--size-kb", str(size_kb)])
    return folder


def _small_images(folder: Path, count: int) -> Path:
    from PIL import Image

    folder.mkdir()
    for number in range(count):
        colour = (number % 251, number // 251 % 251, 128)
        Image.new("RGB", (64, 48), colour).save(folder / f"{number:06d}.jpg")
    return folder


def _run_pipeline(images: Path, workflow: str, folder: Path, **settings: str) -> Cost:
    """The pipeline as a user without a Prefect server or a cloud account has it, on a machine that was set up."""
    home = folder / "home"
    if not settings:
        prepare(home)  # part of `make setup`
        assert prefect_service(home).wait_until_gone()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "ROBOFLOW_"))}
    environment |= {"DARKROOM_HOME": str(home), "DARKROOM_ENGINE_PYTHON": str(ENGINE / "python")} | settings
    command = [str(DARKROOM), "run", str(images), "--workflow", workflow, "--runs", str(folder / "runs")]
    return _run(command, environment)


def _run_served(images: Path, workflow: str, folder: Path) -> Cost:
    """The pipeline as a user with a Prefect server has it; that server is not part of the time."""
    with prefect_service(folder / "served").use() as url:
        return _run_pipeline(images, workflow, folder, PREFECT_API_URL=f"{url}/api")


def _run_engine(images: Path, workflow: Path, output: Path) -> Cost:
    command = [str(ENGINE / "inference"), "workflows", "process-images-directory", "--input_directory", str(images)]
    command += ["--output_dir", str(output), "--processing_target", "inference_package"]
    return _run([*command, "--workflow_spec", str(workflow)], os.environ | {"TELEMETRY_OPT_OUT": "True"})


def _run(command: list[str], environment: dict[str, str] | None = None) -> Cost:
    """Runs a command to its end; its output is shown when it fails."""
    # Both sides may keep the bytecode that Python makes at their first start, as on any user's machine.
    environment = {**(environment or os.environ)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    with tempfile.TemporaryFile() as output:
        begun = time.monotonic()
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT, cwd=ROOT)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - begun
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            output.seek(0)
            sys.stderr.write(output.read().decode(errors="replace"))
            raise SystemExit(f"{command[0]} ended with status {process.returncode}")
    return Cost(seconds, usage.ru_maxrss / 1024)


if __name__ == "__main__":
    sys.exit(main())
