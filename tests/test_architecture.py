"""The house rules, held by reading the imports: what may know of what, and where code may lie."""

import ast
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HOUSE = ("deployments", "flows", "tasks", "tests")
SERVER = "deployments.batch_server"
MOST_LINES = 400


def is_ours(path: Path) -> bool:
    """Whether a file belongs to the project: not to an environment, a cache or the output of runs."""
    inside = path.relative_to(ROOT)
    above = [ROOT.joinpath(*inside.parts[:depth]) for depth in range(1, len(inside.parts))]
    hidden = any(part.startswith(".") for part in inside.parts)
    return not hidden and not any((folder / "pyvenv.cfg").exists() for folder in above)


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports_of(path: Path) -> Iterator[str]:
    """The modules that a file names in import statements, wherever they stand."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(path.relative_to(ROOT).parts[: -node.level]) if node.level else ""
            source = ".".join(filter(None, (base, node.module)))
            for alias in node.names:
                named = f"{source}.{alias.name}"
                yield named if named in MODULES else source


def within(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


FILES = sorted(path for folder in HOUSE for path in (ROOT / folder).rglob("*.py") if is_ours(path))
MODULES = {module_of(path): path for path in FILES}
IMPORTS = {module: sorted(set(imports_of(path))) for module, path in MODULES.items()}
TASK_FILES = {module for module, path in MODULES.items() if path.parent == ROOT / "tasks" and path.stem != "__init__"}


def offences(importing: str, imported: str, excepted: frozenset[str] = frozenset()) -> list[str]:
    """Imports of a package from inside another, as ``who -> whom``."""
    return [
        f"{module} -> {found}"
        for module, names in IMPORTS.items()
        if within(module, importing) and module not in excepted
        for found in names
        if within(found, imported)
    ]


def test_code_lies_in_the_four_folders_only() -> None:
    strays = [
        path.relative_to(ROOT)
        for entry in ROOT.iterdir()
        if entry.name not in (*HOUSE, "build", "runs") and not entry.name.startswith(".")
        for path in ([entry] if entry.is_file() else entry.rglob("*.py"))
        if path.suffix == ".py" and is_ours(path)
    ]
    assert strays == []
    assert len(FILES) > 50


def test_every_folder_of_code_is_a_package() -> None:
    assert [path.parent for path in FILES if not (path.parent / "__init__.py").exists()] == []


def test_prefect_is_known_on_the_surface_only() -> None:
    below = offences("tasks", "prefect", frozenset(TASK_FILES)) + offences(SERVER, "prefect")
    assert below == []
    assert offences("flows", "prefect")


def test_tasks_know_neither_flows_nor_deployments() -> None:
    assert offences("tasks", "flows") + offences("tasks", "deployments") == []


def test_flows_do_not_know_deployments() -> None:
    assert offences("flows", "deployments") == []


def test_flows_are_imported_by_deployments_outside_the_server_only() -> None:
    assert offences(SERVER, "flows") == []


def test_folders_of_tasks_do_not_know_the_task_files() -> None:
    upward = [
        f"{module} -> {found}"
        for module, names in IMPORTS.items()
        if within(module, "tasks") and module not in TASK_FILES
        for found in names
        if found in TASK_FILES
    ]
    assert upward == []


def test_server_knows_the_wire_models_of_the_tasks_only() -> None:
    found = offences(SERVER, "tasks")
    assert found
    assert [line for line in found if not line.endswith("-> tasks.roboflow_api.models")] == []


def test_code_does_not_know_its_tests() -> None:
    assert [line for folder in ("flows", "tasks", "deployments") for line in offences(folder, "tests")] == []


def test_folders_of_tasks_form_no_circle() -> None:
    graph: dict[str, set[str]] = {}
    for module, names in IMPORTS.items():
        parts = module.split(".")
        if parts[0] == "tasks" and module not in TASK_FILES and len(parts) > 1:
            others = {name.split(".")[1] for name in names if within(name, "tasks") and name.count(".") > 1}
            graph.setdefault(parts[1], set()).update(others - {parts[1]})
    order = list(TopologicalSorter(graph).static_order())
    assert set(order) == {path.name for path in (ROOT / "tasks").iterdir() if (path / "__init__.py").exists()}


@pytest.mark.parametrize("folder", ["flows", "tasks", "deployments"])
def test_no_module_bears_a_name_of_the_standard_library(folder: str) -> None:
    """Prefect puts a flow's folder on ``sys.path``, where such a module would take the library's place."""
    names = {path.stem for path in (ROOT / folder).iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert names & sys.stdlib_module_names == set()


def test_no_file_is_long() -> None:
    lengths = {module: len(path.read_text(encoding="utf-8").splitlines()) for module, path in MODULES.items()}
    assert {module: length for module, length in lengths.items() if length > MOST_LINES} == {}


@pytest.mark.parametrize("lock", sorted(ROOT.glob("*.lock")), ids=lambda path: path.name)
def test_lock_holds_hashes_and_no_address(lock: Path) -> None:
    text = lock.read_text(encoding="utf-8")
    assert [word for word in ("http://", "https://", "--index-url", "--find-links") if word in text] == []
    pinned = [line for line in text.splitlines() if line[:1].isalnum()]
    assert pinned
    assert [line for line in pinned if "==" not in line or not line.endswith("\\")] == []
