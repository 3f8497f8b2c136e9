"""Prefect's flow runs, as far as runs are looked after: their state, and resuming them."""

from __future__ import annotations

from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import State
from prefect.client.schemas.responses import SetStateStatus
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError

from tasks.core.errors import ConnectionFailed
from tasks.steps.reaping import FlowState


class PrefectFlowRuns:
    """The flow runs of a Prefect server.

    Args:
        client: speaks to the server.
    """

    def __init__(self, client: SyncPrefectClient) -> None:
        self._client = client

    def state(self, flow_run: str) -> FlowState:
        """What has become of a flow run.

        Raises:
            ConnectionFailed: Prefect's server does not answer.
        """
        try:
            return state_of(self._client.read_flow_run(UUID(flow_run)).state)
        except ObjectNotFound:
            return FlowState.UNKNOWN
        except (httpx.HTTPError, PrefectHTTPStatusError) as error:
            raise _unreachable(error) from None

    def resume(self, flow_run: str) -> bool:
        """Resumes a suspended flow run; the server says whether it was one.

        Raises:
            ConnectionFailed: Prefect's server does not answer.
        """
        try:
            return self._client.resume_flow_run(UUID(flow_run)).status is SetStateStatus.ACCEPT
        except ObjectNotFound:
            return False
        except (httpx.HTTPError, PrefectHTTPStatusError) as error:
            raise _unreachable(error) from None


def state_of(state: State | None) -> FlowState:
    """What a state of Prefect's means here."""
    if state is None:
        return FlowState.WAITING
    if state.is_running():
        return FlowState.RUNNING
    if state.is_cancelled() or state.is_cancelling() or state.is_crashed():
        return FlowState.STOPPED
    if state.is_paused():
        return FlowState.SUSPENDED
    return FlowState.OVER if state.is_final() else FlowState.WAITING


def _unreachable(error: Exception) -> ConnectionFailed:
    return ConnectionFailed(f"Prefect's server does not answer ({type(error).__name__})")
