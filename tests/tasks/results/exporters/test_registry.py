import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.core.errors import BadInput
from tasks.results.exporters.base import Exporter
from tasks.results.exporters.registry import formats, load_exporter
from tests.commands import ROOT, clean_environment
from tests.tasks.results.exporters.made_run import detection

OWN = ("classification-folders", "coco", "csv", "jsonl", "voc", "yolo")
LONGEST = 60.0
COUNTS = """
from tasks.results.exporters.base import Converted, Exporter


class CountsExporter(Exporter):
    name = "counts"

    def before(self, dataset, target, tally):
        super().before(dataset, target, tally)
        self.lines = []

    def convert(self, item):
        return Converted(item.predictions, files={f"each/{item.stem}.txt": f"{len(item.predictions)}\\n"})

    def after(self, item, present):
        self.lines.append(f"{item.name} {present} {self.tally.images}\\n")

    def finish(self):
        self.target.write("counts.txt", "".join(self.lines) + f"{self.tally.predictions} of {self.dataset.images}\\n")
"""
ESCAPING = COUNTS.replace("each/", "../../each/")
WRITE = """
import json, sys
from pathlib import Path
from tasks.core.errors import DarkroomError
from tasks.core.options import DatasetOptions
from tasks.results.exporters.datasets import write_datasets

try:
    (written,) = write_datasets(Path(sys.argv[1]), Path(sys.argv[2]), DatasetOptions(formats=[sys.argv[3]]), None)
except DarkroomError as error:
    print(json.dumps({"error": type(error).__name__, "text": str(error)}))
else:
    print(json.dumps({"files": written.files, "predictions": written.predictions}))
"""


def install(place: Path, package: str, code: str, points: str) -> None:
    """What pip leaves of a package that is one module."""
    (place / f"{package}.py").write_text(code)
    about = place / f"{package}-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(f"[darkroom.exporters]\n{points}\n")


def write(made, site: Path, form: str) -> dict[str, object]:
    """Writes a dataset in a process that has the packages of ``site``."""
    done = subprocess.run(
        [sys.executable, "-c", WRITE, made.root, made.out, form],
        env=clean_environment(PYTHONPATH=f"{ROOT}:{site}"),
        capture_output=True,
        text=True,
        timeout=LONGEST,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


@pytest.fixture
def site(tmp_path):
    place = tmp_path / "site"
    place.mkdir()
    return place


@pytest.fixture
def filled(made):
    made.tables({"a.jpg": [detection("car")] * 2, "b.jpg": []})
    return made


def test_own_formats_are_there():
    assert set(formats()) >= set(OWN)
    for name in OWN:
        exporter = load_exporter(name)
        assert issubclass(exporter, Exporter)
        assert exporter.name == name


def test_unknown_format_is_told_with_the_known_ones():
    with pytest.raises(BadInput, match=r"unknown dataset format 'cocoo': use one of .*coco, .*darkroom\.exporters"):
        load_exporter("cocoo")


def test_exporter_of_the_readme_writes_a_dataset(filled, site):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(from tasks\.results\.exporters\.base.*?)```", readme, re.DOTALL)
    (line,) = re.findall(r"^my-format = .*$", readme, re.MULTILINE)
    install(site, "my_package", code, line.replace('"', "").replace("my_package.my_module", "my_package"))
    assert write(filled, site, "my-format") == {"files": 3, "predictions": 2}
    assert (filled.out / "my-format" / "a.txt").read_text() == "car 0.5\ncar 0.5"


def test_package_brings_a_format_of_its_own(filled, site):
    install(site, "counting", COUNTS, "counts = counting:CountsExporter")
    assert write(filled, site, "counts") == {"files": 3, "predictions": 2}
    dataset = filled.out / "counts"
    assert (dataset / "counts.txt").read_text() == "a.jpg False 0\nb.jpg False 1\n2 of 2\n"
    assert (dataset / "each" / "a.txt").read_text() == "2\n"
    assert json.loads((dataset / "dataset.json").read_text())["classes"] == {"car": 2}


@pytest.mark.parametrize(
    ("code", "points", "form", "told"),
    [
        ("import no_such_library", "counts = counting:CountsExporter", "counts", "No module named 'no_such_library'"),
        ("raise RuntimeError('one\\ntwo')", "counts = counting:CountsExporter", "counts", "RuntimeError: one"),
        (COUNTS, "counts = counting:NoSuchClass", "counts", "NoSuchClass"),
        ("CountsExporter = dict", "counts = counting:CountsExporter", "counts", "is no Exporter"),
        (COUNTS, "coco = counting:CountsExporter", "coco", "is in darkroom and the package counting"),
        (COUNTS, "../counts = counting:CountsExporter", "../counts", "cannot be the name of a folder"),
    ],
)
def test_package_that_cannot_be_used_is_named(filled, site, code, points, form, told):
    install(site, "counting", code, points)
    found = write(filled, site, form)
    assert found["error"] == "BadInput"
    text = str(found["text"])
    assert told in text
    assert "package counting" in text
    assert "\n" not in text
    assert not filled.out.exists()


def test_package_that_is_broken_does_not_stand_in_the_way_of_other_formats(filled, site):
    install(site, "counting", "import no_such_library", "counts = counting:CountsExporter")
    assert write(filled, site, "coco")["predictions"] == 2


def test_package_cannot_write_outside_its_dataset(filled, site, tmp_path):
    install(site, "counting", ESCAPING, "counts = counting:CountsExporter")
    found = write(filled, site, "counts")
    assert "climbs out of the folder" in str(found["text"])
    assert list(filled.out.iterdir()) == []
    assert list(tmp_path.rglob("each")) == []
