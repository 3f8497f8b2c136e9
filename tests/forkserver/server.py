"""The process that modules are started from: what takes seconds to import is imported once, and forked.

``python -m tests.forkserver.server FD`` takes requests from the socket of that number: a JSON object each, with the
descriptors of its standard streams and of the pipe that its end is told on. A process of its own waits for each, tells
its id and then its status, so that whoever asked can treat it as a child. It ends when the socket is closed.

Prefect reads its settings when it is imported, so its modules, and those that import it, are kept aside and put back
at the first ``import prefect``, with the settings read anew.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import random
import runpy
import socket
import struct
import sys
import threading
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from pydantic import BaseModel

from tests.known_services import know_services_once
from tests.one_authority import trust_one_authority

STREAMS = 3
MOST_BYTES = 1 << 20
NUMBER = struct.Struct("i")
WITHOUT_PREFECT = (
    *("tasks.sources.s3", "tasks.sources.gcs", "tasks.sources.azure", "tasks.sources.sftp"),
    "flows.command_line.commands",
    "flows.cli",
    "tests.chaos.launch",
    "deployments.batch_server.__main__",
    "deployments.batch_server.app",
    "deployments.webhooks.__main__",
)
WITH_PREFECT = (
    *("prefect", "flows.batch", "flows.staging", "flows.replay", "flows.reaping", "flows.compilation"),
    *("prefect.cli.server", "prefect.cli._server_utils", "prefect.server.api.server"),
)
LOGS_TO_API = "PREFECT_LOGGING_TO_API_ENABLED"
"""Read at each line that is logged."""
ABOUT_LOGS = ("PREFECT_LOGGING_", "PREFECT_DEBUG_MODE")


class Aside(MetaPathFinder, Loader):
    """Finds the modules that were kept aside, all at once, when ``prefect`` is imported."""

    def __init__(self, modules: dict[str, ModuleType]) -> None:
        self._modules = modules
        self._specs = {name: module.__spec__ for name, module in modules.items()}

    def find_spec(self, name: str, path: object, target: ModuleType | None = None) -> ModuleSpec | None:
        """Called for each module that is not there yet."""
        module = self._modules.get(name)
        return None if module is None else ModuleSpec(name, self, origin=module.__file__)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """The module itself, with all others put back as well."""
        first, sys.meta_path = self._modules, [finder for finder in sys.meta_path if finder is not self]
        sys.modules.update(first)
        _read_settings()
        return first[spec.name]

    def exec_module(self, module: ModuleType) -> None:
        """It was carried out before, as a package perhaps, which the import has made it forget."""
        module.__spec__ = self._specs[module.__name__]


def _read_settings() -> None:
    """Has Prefect read its settings anew, as its import does; its logs are as they were unless somebody says so."""
    from prefect.context import refresh_global_settings_context
    from prefect.logging import configuration

    refresh_global_settings_context()
    if any(name.startswith(ABOUT_LOGS) and name != LOGS_TO_API for name in os.environ):
        configuration.PROCESS_LOGGING_CONFIG.clear()
        configuration.setup_logging()


def prepare() -> None:
    """Imports everything, and keeps aside what depends on Prefect's settings."""
    trust_one_authority()
    for name in WITHOUT_PREFECT:
        importlib.import_module(name)
    know_services_once()
    before = set(sys.modules)
    assert "prefect" not in before, "what must be there without Prefect imports it"
    for name in WITH_PREFECT:
        importlib.import_module(name)
    own = ("prefect", "flows", "tasks", "deployments")
    dependent = [name for name in sys.modules if name not in before and name.partition(".")[0] in own]
    sys.meta_path.insert(0, Aside({name: sys.modules.pop(name) for name in dependent}))
    _complete_models()
    assert threading.active_count() == 1, f"a fork would lose threads: {threading.enumerate()}"
    gc.collect()
    gc.freeze()


def _complete_models() -> None:
    """Has pydantic build now what it would build at a model's first use, in each fork anew."""
    waiting = BaseModel.__subclasses__()
    while waiting:
        model = waiting.pop()
        waiting += model.__subclasses__()
        if not vars(model).get("__pydantic_complete__", True):
            model.model_rebuild(raise_errors=False)


def serve(control: socket.socket) -> dict[str, Any] | None:
    """Forks for each request; comes back in the forked process, with its request, or at the end with ``None``."""
    while True:
        _reap()
        asked, descriptors, _, _ = socket.recv_fds(control, MOST_BYTES, STREAMS + 1)
        if not asked:
            return None
        if os.fork():
            for descriptor in descriptors:
                os.close(descriptor)
            continue
        control.close()
        *streams, told = descriptors
        if child := os.fork():
            for descriptor in streams:
                os.close(descriptor)
            _tell_end(child, told)
        os.close(told)
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        request: dict[str, Any] = json.loads(asked)
        return request


def _reap() -> None:
    """Forgets what has waited for its child to the end."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def _tell_end(child: int, told: int) -> None:
    """Waits for the child, as its parent, and ends."""
    try:
        os.write(told, NUMBER.pack(child))
        while True:
            try:
                os.write(told, NUMBER.pack(os.waitpid(child, 0)[1]))
                break
            except KeyboardInterrupt:
                continue
    finally:
        os._exit(0)


def become(request: dict[str, Any]) -> None:
    """Makes this process what ``python -m MODULE ARGUMENTS`` would be, but for the module itself."""
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    sys.path[0] = request["folder"]
    sys.argv = [request["module"], *request["arguments"]]
    random.seed()
    for name in (request["module"], f"{request['module']}.__main__"):
        sys.modules.pop(name, None)  # it is carried out anew


if __name__ == "__main__":
    prepare()
    asked_for = serve(socket.socket(fileno=int(sys.argv[1])))
    if asked_for is not None:
        become(asked_for)
        runpy.run_module(asked_for["module"], run_name="__main__", alter_sys=True)
