"""Images a second of whole runs on photographs of about 40 kB, everything included but the set-up.

Servers are started within the time. The peer is ``inference workflows process-images-directory`` on the same
photographs with the same workflow and the same outputs.
"""

from __future__ import annotations

import os
import statistics
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

from tests.benchmarks.costs import ROOT, Cost, note, print_table, run, spread
from tests.benchmarks.pipeline import ENGINE, run_pipeline, run_served

WORKFLOWS = (
    ROOT / "deployments" / "batch_server" / "workflows" / "photo-audit.json",
    Path(__file__).with_name("four-light-blocks.json"),
)


def measure(work: Path, options: Namespace) -> None:
    """Prints a table a workflow."""
    photographs = _photographs(work / "photographs", options.images, size_kb=40)
    for workflow in WORKFLOWS:
        _compare(work / workflow.stem, photographs, workflow, options)


def _compare(work: Path, photographs: Path, workflow: Path, options: Namespace) -> None:
    contenders: dict[str, Callable[[Path], Cost]] = {
        "`inference workflows process-images-directory`": lambda out: _run_engine(photographs, workflow, out),
        "`darkroom run`, with all its servers to start": lambda out: run_pipeline(photographs, str(workflow), out),
        "`darkroom run`, with a Prefect server that is up": lambda out: run_served(photographs, str(workflow), out),
    }
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(options.rounds):
        for number, (name, contender) in enumerate(contenders.items()):
            seconds[name].append(contender(work / f"{number}-{turn}").seconds)
        times = ", ".join(f"{taken[-1]:.1f} s" for taken in seconds.values())
        note(f"{workflow.stem}, round {turn + 1}: {times}")
    what = f"{options.images} photographs of 40 kB, {workflow.stem}, {os.cpu_count()} cores"
    peer = next(iter(seconds.values()))
    rows = []
    for name, taken in seconds.items():
        ratios = [theirs / ours for theirs, ours in zip(peer, taken, strict=True)]
        middle = statistics.median(taken)
        rows.append((name, f"{middle:.1f}", f"{options.images / middle:.1f}", spread(ratios)))
    print_table((what, f"seconds (median of {options.rounds})", "images/s", "times as fast"), *rows)


def _photographs(folder: Path, count: int, size_kb: int) -> Path:
    samples = (ENGINE / "python", ROOT / "deployments" / "samples.py", folder)
    run((*samples, "--count", str(count), "--size-kb", str(size_kb)))
    return folder


def _run_engine(photographs: Path, workflow: Path, output: Path) -> Cost:
    command = (ENGINE / "inference", "workflows", "process-images-directory", "--input_directory", photographs)
    asked = ("--output_dir", output, "--processing_target", "inference_package", "--workflow_spec", workflow)
    return run((*command, *asked), os.environ | {"TELEMETRY_OPT_OUT": "True"})
