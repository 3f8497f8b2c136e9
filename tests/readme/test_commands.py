"""Every command and every piece of Python in the README is run, in a place that has what they speak of."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.commands import ROOT
from tests.readme.document import Block, blocks
from tests.readme.place import ELSEWHERE, PHOTOGRAPHS, ReadmePlace, readme_place

pytestmark = [pytest.mark.engine, pytest.mark.prefect_server]

OTHER_ENDS = {
    "darkroom compare": ({0, 3}, ""),  # how fast two runs were is by chance
    "darkroom compile": ({1}, "TensorRT"),  # which only the cloud has
}
"""Commands that need not end with status 0: their statuses, and what they say."""
SHELL = blocks("sh")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReadmePlace]:
    with readme_place(tmp_path_factory.mktemp("readme")) as there:
        yield there


def test_what_is_not_run_here_is_seen_to_elsewhere() -> None:
    told = {command.text for block in SHELL for command in block.commands}
    assert set(ELSEWHERE) - told == set()
    assert {text.partition(" ")[0] for text in told - set(ELSEWHERE)} == {"", "darkroom", "prefect", "python"}
    for file, said in ELSEWHERE.values():
        assert said in (ROOT / file).read_text(encoding="utf-8")


@pytest.mark.parametrize("block", SHELL, ids=lambda block: block.commands[-1].text[:40] or block.section)
def test_every_command_is_run(place: ReadmePlace, block: Block) -> None:
    for command, outcome in place.ran(block):
        statuses, said = OTHER_ENDS.get(" ".join(command.words[:2]), ({0}, ""))
        assert outcome.status in statuses, f"{command.text}\n{outcome.output}\n{outcome.errors}"
        assert said in outcome.errors


def test_format_of_ones_own_is_written(place: ReadmePlace) -> None:
    (package,), (block,) = blocks("toml"), in_section("Get COCO")
    ((group, points),) = tomllib.loads(package.text)["project"]["entry-points"].items()
    ((name, value),) = points.items()
    module, _, _ = value.partition(":")
    write(place.folder / f"{module.replace('.', '/')}.py", block.text)
    write(place.folder / "my_package-1.dist-info" / "entry_points.txt", f"[{group}]\n{name} = {value}\n")
    write(place.folder / "my_package-1.dist-info" / "METADATA", "Metadata-Version: 2.1\nName: my-package\nVersion: 1\n")
    done = place.darkroom(f"run /data/photos --workflow photo-audit --format {name}")
    assert done.status == 0, done.errors
    written = place.folder / "runs" / done.last_line[1] / "datasets" / name
    assert (written / "classes.txt").read_text() == "barcode"
    assert sorted(path.read_text() for path in written.glob("*.txt") if path.name != "classes.txt") == [
        "",
        "",
        "barcode 1.0",
    ]


def test_results_are_read(place: ReadmePlace, monkeypatch: pytest.MonkeyPatch) -> None:
    (block,) = in_section("What came out")
    text = place.text(block)
    monkeypatch.chdir(place.folder)
    known: dict[str, Any] = {}
    exec(text, known)
    assert known["results"].num_rows == len(PHOTOGRAPHS)


def test_every_piece_of_python_is_run() -> None:
    run = {words[1] for block in SHELL for command in block.commands if (words := command.words)[:1] == ("python",)}
    files = {block.title.removeprefix("# ") for block in in_section("In a flow of my own")}
    assert files == run
    assert len(blocks("python")) == len(files) + len(in_section("Get COCO")) + len(in_section("What came out"))


def in_section(title: str) -> list[Block]:
    """The pieces of Python in a section."""
    return [block for block in blocks("python") if block.section == title]


def write(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
