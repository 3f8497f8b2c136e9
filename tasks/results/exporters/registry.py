"""From a format's name to its exporter.

Every exporter is an entry point. Packages bring theirs in the group ``darkroom.exporters``::

    [project.entry-points."darkroom.exporters"]
    my-format = "my_package.my_module:MyExporter"

The ones here are entry points too, which need no installation. Only the one that is asked for is loaded.
"""

from __future__ import annotations

import re
from importlib.metadata import EntryPoint, entry_points

from tasks.core.errors import BadInput
from tasks.results.exporters.base import Exporter

GROUP = "darkroom.exporters"
_HERE = "tasks.results.exporters"
_OWN = tuple(
    EntryPoint(name, f"{_HERE}.{place}", GROUP)
    for name, place in (
        ("coco", "coco:CocoExporter"),
        ("yolo", "yolo:YoloExporter"),
        ("voc", "voc:VocExporter"),
        ("csv", "csv_tables:CsvExporter"),
        ("jsonl", "json_lines:JsonLinesExporter"),
        ("classification-folders", "class_folders:ClassFoldersExporter"),
    )
)
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


def formats() -> tuple[str, ...]:
    """Names of all formats there are, sorted."""
    return tuple(sorted({point.name for point in _all()}))


def load_exporter(name: str) -> type[Exporter]:
    """The exporter of a format.

    Raises:
        BadInput: no package has the format, several do, or it cannot be loaded.
    """
    found = [point for point in _all() if point.name == name]
    if not found:
        known = ", ".join(formats())
        raise BadInput(f"unknown dataset format {name!r}: use one of {known}, or install a package with it in {GROUP}")
    if len(found) > 1:
        owners = " and ".join(sorted(_owner(point) for point in found))
        raise BadInput(f"the dataset format {name!r} is in {owners}: uninstall the package that you do not mean")
    return _load(found[0])


def _all() -> tuple[EntryPoint, ...]:
    return (*_OWN, *entry_points(group=GROUP))


def _owner(point: EntryPoint) -> str:
    return "darkroom" if point.dist is None else f"the package {point.dist.name}"


def _load(point: EntryPoint) -> type[Exporter]:
    if not _NAME.fullmatch(point.name):
        raise BadInput(f"{_owner(point)} has a dataset format {point.name!r}, which cannot be the name of a folder")
    try:
        exporter = point.load()
    except Exception as error:
        what = f"{type(error).__name__}: {error}".splitlines()[0]
        raise BadInput(f"the dataset format {point.name!r} of {_owner(point)} cannot be loaded: {what}") from error
    if not (isinstance(exporter, type) and issubclass(exporter, Exporter)):
        raise BadInput(f"the dataset format {point.name!r} of {_owner(point)} is no Exporter: {point.value}")
    return exporter
