"""The engine's side of the batch server: one parent that imports the engine, and the workers it forks.

Runs in the engine's environment as a script, `python -I worker.py FD PID`: a socket to the server, its pid.
Importing the engine takes seconds and forking takes milliseconds, so the parent does the first once and
does nothing else but fork, kill and bury workers when told to. Each worker has a socket of its own to the
server; both ends speak JSON, a line a message (see `process.py` and `supervise.py`). Standard output and
error belong to the engine, whose libraries write what they like, and go to its log.
"""

import contextlib
import ctypes
import gc
import json
import os
import random
import signal
import socket
import sys
import threading
import traceback
import types
import zlib
from collections.abc import Iterator
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

# An isolated interpreter does not look beside the script; nothing but these four comes from there.
sys.path.insert(0, str(Path(__file__).resolve().parent))
from image_bytes import ImageUnreadable, is_cut_jpeg, read_slice
from inputs import InputsInvalid, check_parameters, find_image_input
from outputs import CannotWrite, ChunkFiles, to_plain
from reasons import one_line, why_image_failed, why_workflow_invalid

del sys.path[0]

JPEG_QUALITY = 90
_PR_SET_PDEATHSIG = 1


class WorkflowRefused(Exception):
    """The definition or its parameters cannot be used at all."""


class Channel:
    """A socket that carries JSON, one message a line."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._lines = sock.makefile("rb")

    def send(self, message: dict[str, Any], *sockets: socket.socket) -> None:
        """Send one message, and hand over sockets with it."""
        data = json.dumps(message).encode("ascii") + b"\n"
        if sockets:
            socket.send_fds(self._sock, [data], [each.fileno() for each in sockets])
        else:
            self._sock.sendall(data)

    def receive(self) -> Iterator[dict[str, Any]]:
        """Give message after message until the other side is gone."""
        for line in self._lines:
            yield json.loads(line)

    def close(self) -> None:
        """Close this end."""
        self._lines.close()
        self._sock.close()


# --- the parent -------------------------------------------------------------------------------------------


def die_with(parent: int) -> None:
    """Ask the kernel to kill this process when its parent ends, and end now if it already has."""
    with contextlib.suppress(OSError, AttributeError):  # Linux only; elsewhere closed sockets tell
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


@contextlib.contextmanager
def threads_held_back() -> Iterator[list[threading.Thread]]:
    """Collect the threads that imports start: a process with threads cannot be forked safely.

    The engine's usage reporting is left out for good: it has no switch, and nothing here may call out.
    """
    held: list[threading.Thread] = []
    start = threading.Thread.start

    def hold(thread: threading.Thread) -> None:
        if not sys._getframe(1).f_globals["__name__"].startswith("inference.usage_tracking"):
            held.append(thread)

    threading.Thread.start = hold
    try:
        yield held
    finally:
        threading.Thread.start = start


def import_engine() -> list[threading.Thread]:
    """Import what workers need, as fast as it goes, and give the threads that they have to start."""
    if not os.environ.get("LOAD_ENTERPRISE_BLOCKS"):
        # The engine imports these blocks and their heavy clients even when it then leaves them out.
        enterprise = types.ModuleType("inference.enterprise.workflows.enterprise_blocks.loader")
        enterprise.load_enterprise_blocks = list
        sys.modules[enterprise.__name__] = enterprise
    gc.disable()  # thousands of modules, next to no garbage: a quarter of the time would go there
    with threads_held_back() as held:
        import cv2
        from inference.core.workflows.core_steps import loader
        from inference.core.workflows.execution_engine import core  # noqa: F401

        cv2.setNumThreads(1)
        leave_images_alone(loader.KINDS_SERIALIZERS)
    gc.freeze()  # keeps the collector from touching, and so copying, memory that workers share
    gc.enable()
    return held


def leave_images_alone(serializers: dict[str, Any]) -> None:
    """Let images through as they are, where the engine would make PNGs in base64 of them.

    All other kinds keep the engine's own serialisers, so that their JSON is the engine's.
    """
    from inference.core.workflows.execution_engine.entities import types as kinds
    from inference.core.workflows.execution_engine.entities.base import WorkflowImageData

    engines_own = serializers[kinds.WILDCARD_KIND.name]

    def wildcard(value: Any) -> Any:
        if isinstance(value, WorkflowImageData):
            return value
        if isinstance(value, dict):
            return {key: wildcard(item) for key, item in value.items()}
        return [wildcard(item) for item in value] if isinstance(value, list) else engines_own(value)

    serializers[kinds.IMAGE_KIND.name] = lambda image: image
    serializers[kinds.WILDCARD_KIND.name] = wildcard


def fork_worker(control: Channel, held: list[threading.Thread]) -> int:
    """Fork one worker, hand the server its socket and give its process id."""
    parent = os.getpid()
    servers_end, workers_end = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        try:
            die_with(parent)
            control.close()
            servers_end.close()
            for thread in held:
                thread.start()
            with contextlib.suppress(ConnectionError):  # the server let go in mid-chunk
                serve_chunks(Channel(workers_end))
        except BaseException:  # noqa: BLE001 - whatever it is, it must not go on in a copy of the parent
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    workers_end.close()
    control.send({"forked": pid}, servers_end)
    servers_end.close()
    return pid


def bury(pid: int) -> str:
    """Kill a worker if it still lives and tell how it ended; it keeps its id until then."""
    os.kill(pid, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"


def main(descriptor: int, server: int) -> None:
    """Import the engine, then fork and bury until the server is gone."""
    die_with(server)
    control = Channel(socket.socket(fileno=descriptor))
    try:
        held = import_engine()
    except Exception as error:
        control.send({"failed": one_line(f"{type(error).__name__}: {error}")})
        raise
    control.send({"ready": True})
    workers = set()
    for request in control.receive():
        if request["do"] == "fork":
            workers.add(fork_worker(control, held))
        elif (pid := request["pid"]) in workers:
            workers.remove(pid)
            control.send({"ended": bury(pid)})
        else:
            control.send({"ended": "with the process it came from"})
    os.killpg(0, signal.SIGKILL)


# --- a worker ---------------------------------------------------------------------------------------------


class StepByStep(Executor):
    """Runs a workflow's steps in the thread that asks: one core, so threads would only cost."""

    def map(self, function: Any, *iterables: Any, **_options: Any) -> Iterator[Any]:
        """Call the function on each, one after the other."""
        return map(function, *iterables)


class Workflow:
    """One chunk's workflow, compiled anew: steps may keep state, and none of it may leak between chunks.

    The costly part, the graph, is cached by the engine itself.
    """

    def __init__(self, chunk: dict[str, Any]) -> None:
        from inference.core.workflows.core_steps.common.entities import StepExecutionMode
        from inference.core.workflows.execution_engine.core import ExecutionEngine

        self._parameters = chunk["parameters"]
        try:
            self._image_input = find_image_input(chunk["definition"], chunk["image_input"])
            check_parameters(chunk["definition"], self._parameters)
            self._engine = ExecutionEngine.init(
                workflow_definition=chunk["definition"],
                init_parameters={
                    # No model manager: a step that needs one is refused here, not once an image.
                    "workflows_core.api_key": None,
                    "workflows_core.step_execution_mode": StepExecutionMode.LOCAL,
                    "workflows_core.thread_pool_executor": None,
                    "workflows_core.background_tasks": None,
                },
                executor=StepByStep(),
            )
        except InputsInvalid as error:
            raise WorkflowRefused(str(error)) from error
        except Exception as error:
            raise WorkflowRefused(why_workflow_invalid(error)) from error

    def run(self, name: str, image: Any) -> dict[str, Any]:
        """Give the outputs for one image, serialised by the engine except for images."""
        import numpy
        from inference.core.workflows.errors import RuntimeInputError

        # Some blocks draw random numbers; seeded, an image gives the same on every run and in every worker.
        seed = zlib.crc32(name.encode("utf-8", "surrogatepass"))
        random.seed(seed)
        numpy.random.seed(seed)
        runtime_parameters = {self._image_input: [image], **self._parameters}
        try:
            results = self._engine.run(runtime_parameters=runtime_parameters, serialize_results=True)
        except RuntimeInputError as error:  # about parameters: the image is an array in any case
            raise WorkflowRefused(why_workflow_invalid(error)) from error
        return results[0] if results else {}


class ChunkRun:
    """Takes the images of one chunk through its workflow."""

    def __init__(self, chunk: dict[str, Any]) -> None:
        from inference.core.workflows.execution_engine.entities.base import WorkflowImageData

        self._chunk = chunk
        self._image_type = WorkflowImageData
        self._workflow = Workflow(chunk)
        state = chunk["state"]
        self._files = ChunkFiles(Path(chunk["output_dir"]), state["results_bytes"], state["failures_bytes"])
        self._done, self._failed = state["done"], state["failed"]

    def __iter__(self) -> Iterator[dict[str, int]]:
        """Process image after image, and give what is done after each."""
        blame = self._chunk["blame"]
        for name, path, offset, size in self._chunk["images"][self._done :]:
            reason, blame = blame or self._process(name, Path(path), offset, size), None
            if reason is not None:
                self._files.add_failure(name, reason)
                self._failed += 1
            self._done += 1
            yield {"done": self._done, "failed": self._failed, **self._files.sizes()}
        self._files.close()

    def _process(self, name: str, path: Path, offset: int, size: int) -> str | None:
        """Run the workflow on one image; give the reason if that failed."""
        try:
            outputs = self._workflow.run(name, decode(read_slice(path, offset, size)))
            record = {"image": name}
            for output, value in outputs.items():
                record[output] = to_plain(value, self._image_type, self._on_image(name), (output,))
            self._files.add_result(record)
        except (WorkflowRefused, CannotWrite):
            raise
        except Exception as error:  # noqa: BLE001 - whatever a step raises costs one image
            return why_image_failed(error)
        return None

    def _on_image(self, name: str) -> Any:
        wanted = self._chunk["image_outputs"]

        def store(image: Any, place: tuple[str, ...]) -> dict[str, str]:
            if not self._chunk["keep_images"] or (wanted is not None and place[0] not in wanted):
                return {"type": "image"}
            data = encode(image.numpy_image, place[0])
            return {"type": "image", "file": self._files.add_image(name, place, data)}

        return store


def decode(data: bytes) -> Any:
    """Decode an image to an array of shape (height, width, 3), 8 bits, blue first."""
    import cv2
    import numpy

    if is_cut_jpeg(data):
        raise ImageUnreadable("the JPEG is cut off before its end")
    image = cv2.imdecode(numpy.frombuffer(data, numpy.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise ImageUnreadable("not a decodable image")
    return image


def encode(image: Any, output: str) -> bytes:
    """Encode an image output as JPEG."""
    import cv2
    import numpy

    if image.dtype != numpy.uint8:
        image = numpy.clip(numpy.nan_to_num(image), 0, 255).astype(numpy.uint8)
    if image.ndim == 3 and image.shape[2] == 4:
        image = cv2.cvtColor(image, cv2.COLOR_BGRA2BGR)
    encoded, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if not encoded:
        raise ValueError(f"the image output {output!r} cannot be encoded as JPEG")
    return data.tobytes()


def serve_chunks(channel: Channel) -> None:
    """Run the chunks that the server sends until it is gone."""
    with contextlib.suppress(OSError):  # out of memory, the kernel should take a worker, not the server
        Path("/proc/self/oom_score_adj").write_text("500")
    for chunk in channel.receive():
        try:
            run = ChunkRun(chunk)
            channel.send({"prepared": True})
            for progress in run:
                channel.send(progress)
            channel.send({"finished": True})
        except WorkflowRefused as error:
            channel.send({"invalid": str(error)})
        except CannotWrite as error:
            channel.send({"broken": str(error)})


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
