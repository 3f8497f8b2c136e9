"""The automations: what Prefect does by itself when a flow run fails, goes silent, or leaves a job behind."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState, RunDeployment, SendNotification
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification

from flows.notifications import JOB_ENDED
from tasks.compare import DRIFTED
from tasks.steps.reaping import Outcome

REAP = "reap-runs/reap"
"""The deployment that looks after unfinished runs."""
SILENCE = timedelta(seconds=90)
"""After so long without a sign of life a flow run counts as crashed; workers send one every 30 seconds."""
RESPITE = timedelta(seconds=10)
"""A flow run's process is given so long to be gone before its run is looked after: until then it holds the run."""
REAP_LOST = "darkroom reaps after a crash or cancellation"
REAP_UNHEARD = "darkroom reaps when a notification found nobody"
CRASH_SILENT = "darkroom crashes flow runs without heartbeats"
TELL_FAILED = "darkroom notifies of failed runs"
TELL_DRIFTED = "darkroom notifies of drift"
REAPING = (REAP_LOST, REAP_UNHEARD)
TELLING = (TELL_FAILED, TELL_DRIFTED)
NAMES = (*REAPING, CRASH_SILENT, *TELLING)
"""Every automation that is made, by its name."""

_FLOW_RUNS = ResourceSpecification({"prefect.resource.id": "prefect.flow-run.*"})
_TAGGED = ResourceSpecification({"prefect.resource.role": "tag", "prefect.resource.id": "prefect.tag.darkroom"})
_OF_FLOWS = ResourceSpecification(
    {"prefect.resource.role": "flow", "prefect.resource.name": ["process-*", "replay-run"]}
)


def reaping(deployment: UUID) -> list[AutomationCore]:
    """Those that run the flow ``reap-runs`` when there is something to look after.

    Args:
        deployment: of that flow.
    """
    lost = EventTrigger(
        expect={"prefect.flow-run.Crashed", "prefect.flow-run.Cancelled"},
        match=_FLOW_RUNS,
        match_related=_OF_FLOWS,
        posture=Posture.Reactive,
    )
    unheard = EventTrigger(
        expect={JOB_ENDED},
        match=ResourceSpecification(
            {"prefect.resource.id": "darkroom.run.*", "darkroom.outcome": Outcome.NOTHING.value}
        ),
        posture=Posture.Reactive,
    )
    same_place: dict[str, Any] = {name: _parameter(name) for name in ("runs", "credentials")}
    return [
        AutomationCore(
            name=REAP_LOST,
            description="Has the job of a flow run that has crashed or was cancelled aborted, where its hook did not.",
            trigger=lost,
            actions=[RunDeployment(deployment_id=deployment, parameters=same_place, schedule_after=RESPITE)],
        ),
        AutomationCore(
            name=REAP_UNHEARD,
            description="Looks after all suspended flow runs when the receiver found none for a job that has ended.",
            trigger=unheard,
            actions=[RunDeployment(deployment_id=deployment, parameters={})],
        ),
    ]


def crashing(silence: timedelta = SILENCE) -> AutomationCore:
    """The one that has flow runs end as Crashed whose process does not give signs of life any more.

    Args:
        silence: after so long without one.
    """
    silent = EventTrigger(
        after={"prefect.flow-run.heartbeat"},
        # Whatever state it comes to is a sign of life, too: one that suspends itself is silent from then on.
        expect={"prefect.flow-run.*"},
        match=_FLOW_RUNS,
        match_related=_TAGGED,
        for_each={"prefect.resource.id"},
        posture=Posture.Proactive,
        within=silence,
    )
    message = f"no heartbeat for {silence.seconds} seconds: its process or its machine is gone"
    return AutomationCore(
        name=CRASH_SILENT,
        description="Workers need PREFECT_FLOWS_HEARTBEAT_FREQUENCY=30 for this; without heartbeats nothing happens.",
        trigger=silent,
        actions=[ChangeFlowRunState(state=StateType.CRASHED, name="Crashed", message=message)],
    )


def telling(block: UUID) -> list[AutomationCore]:
    """Those that notify a person.

    Args:
        block: the notification block.
    """
    failed = EventTrigger(
        expect={"prefect.flow-run.Failed", "prefect.flow-run.TimedOut", "prefect.flow-run.Crashed"},
        match=_FLOW_RUNS,
        match_related=_TAGGED,
        posture=Posture.Reactive,
    )
    drifted = EventTrigger(
        expect={DRIFTED},
        match=ResourceSpecification({"prefect.resource.id": "darkroom.run.*"}),
        posture=Posture.Reactive,
    )
    return [
        AutomationCore(
            name=TELL_FAILED,
            description="Notifies when a flow run of a Darkroom deployment has failed or crashed.",
            trigger=failed,
            actions=[
                SendNotification(
                    block_document_id=block,
                    subject="Darkroom: {{ flow.name }} {{ flow_run.state.name }}",
                    body="{{ flow_run.name }}: {{ flow_run.state.message }}\n{{ flow_run | ui_url }}",
                )
            ],
        ),
        AutomationCore(
            name=TELL_DRIFTED,
            description="Notifies when a run has changed by more than its limits against the one it is compared with.",
            trigger=drifted,
            actions=[
                SendNotification(
                    block_document_id=block,
                    subject="Darkroom: run {{ event.resource.name }} has drifted",
                    body="Run {{ event.resource.name }} differs from run {{ event.payload.against }} by more than its "
                    "limits in: {{ event.payload.beyond | join(', ') }}",
                )
            ],
        ),
    ]


def _parameter(name: str) -> dict[str, str]:
    """A parameter of the flow run that the event is about; empty where it has none."""
    return {"__prefect_kind": "jinja", "template": f"{{{{ flow_run.parameters['{name}'] | default('', true) }}}}"}
