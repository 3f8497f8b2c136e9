"""The flow that has a model compiled for devices."""

from __future__ import annotations

from typing import Annotated

from prefect import flow
from pydantic import Field

from tasks.compilation import run_compilation
from tasks.core.records import Compiled
from tasks.named_blocks import flow_settings
from tasks.roboflow_api.models import CompilationDevice
from tasks.roboflow_api.platform import CLOUD, open_platform
from tasks.steps.compiling import DEADLINE_HOURS, Compilation, CompilationOptions, Hours, Label

Text = Annotated[str, Field(min_length=1)]


@flow(name="compile-model", flow_run_name="compile {model}", persist_result=False)
def compile_model(
    model: Text,
    devices: tuple[CompilationDevice, ...] = (),
    platform: Text = CLOUD,
    rerun: Label = "",
    deadline_hours: Hours = DEADLINE_HOURS,
) -> Compiled:
    """Have a platform compile a model with TensorRT, and wait until it has.

    The same request is the same job: it is asked for once, and an earlier, killed run's job is found and waited for.

    Args:
        model: Id of the model. Example: my-project/3
        devices: Devices that it is compiled for. Empty: the platform's choice. Example: ["nvidia-t4", "nvidia-l4"]
        platform: Where it is compiled: roboflow (the cloud, with the worker's ROBOFLOW_API_KEY), the URL of a batch
            server that can, or block:NAME, a Roboflow Platform block. Darkroom's own server has no TensorRT: there,
            the job ends as failed. Never a key.
        rerun: Any text, to have the same model compiled afresh, after a failed try in particular; the same text finds
            that job again.
        deadline_hours: Hours after which the run gives up waiting; the job itself goes on.

    Returns:
        The job's id, the devices, and how long it took.

    Raises:
        BadInput: the platform cannot be used.
        RequestRefused: the platform does not compile, or not this model.
        JobFailed: the platform reports an error, now or from an earlier try.
        JobTimedOut: the deadline has passed.
    """
    options = CompilationOptions(devices=devices, rerun=rerun, deadline_hours=deadline_hours)
    with open_platform(platform, flow_settings()) as opened:
        return run_compilation(Compilation(opened, model, options))
