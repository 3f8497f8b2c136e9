"""Peak resident memory of the flow's process at few and at many small images."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from tests.benchmarks.costs import note, print_table
from tests.benchmarks.pipeline import run_pipeline


def measure(work: Path, options: Namespace) -> None:
    """Prints the table."""
    costs = []
    for count in (options.few, options.many):
        images = _small_images(work / f"small-{count}", count)
        costs.append(run_pipeline(images, "minimal", work / f"darkroom-{count}"))
        note(f"{count} images: {costs[-1].seconds:.1f} s, {costs[-1].peak_mb:.0f} MB")
    print_table(
        ("small images, minimal workflow", "seconds", "peak memory of the flow's process"),
        (options.few, f"{costs[0].seconds:.1f}", f"{costs[0].peak_mb:.0f} MB"),
        (options.many, f"{costs[1].seconds:.1f}", f"{costs[1].peak_mb:.0f} MB"),
        ("growth", "", f"{costs[1].peak_mb - costs[0].peak_mb:.0f} MB"),
    )


def _small_images(folder: Path, count: int) -> Path:
    from PIL import Image

    folder.mkdir()
    for number in range(count):
        colour = (number % 251, number // 251 % 251, 128)
        Image.new("RGB", (64, 48), colour).save(folder / f"{number:06d}.jpg")
    return folder
