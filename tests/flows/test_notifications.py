from pathlib import Path

import pytest
from pydantic import SecretStr

from flows.notifications import JOB_ENDED, NotConfigured, NotifiedRuns, Outcome, TryAgain
from tasks.core.settings import Settings
from tasks.core.tokens import RunTokens
from tests.scripted import Reply, scripted_server

SECRET = "a secret for the tests of webhooks"
RUN = "0123456789abcdef"
NOWHERE = "http://127.0.0.1:9/api"


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for field in Settings.model_fields.values():
        monkeypatch.delenv(str(field.validation_alias), raising=False)
    monkeypatch.setenv("DARKROOM_WEBHOOK_SECRET", SECRET)
    monkeypatch.setenv("PREFECT_API_URL", NOWHERE)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "prefect"))


def test_token_of_a_run_is_allowed_for_that_run_only() -> None:
    runs = NotifiedRuns()
    token = RunTokens(SecretStr(SECRET)).url("", RUN).rpartition("/")[2]
    assert runs.allows(RUN, token)
    assert not runs.allows("fedcba9876543210", token)
    assert not runs.allows(RUN, token[:-1])
    assert runs.job_of(RUN) == f"dr-{RUN}"


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("DARKROOM_WEBHOOK_SECRET", "", "DARKROOM_WEBHOOK_SECRET is not set"),
        ("DARKROOM_WEBHOOK_SECRET", "hunter2", "DARKROOM_WEBHOOK_SECRET is too short"),
        ("PREFECT_API_URL", "", "no Prefect API is configured"),
        ("ROBOFLOW_REGION", "mars", "environment variable ROBOFLOW_REGION"),
        ("DARKROOM_RUNS", "ftp://host/runs", "ftp"),
    ],
)
def test_receiver_that_lacks_something_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, said: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(NotConfigured, match=said) as caught:
        NotifiedRuns()
    assert len(str(caught.value).splitlines()) == 1
    assert "hunter2" not in str(caught.value)


def test_run_that_is_not_here_waits_for_nothing(tmp_path: Path) -> None:
    assert NotifiedRuns().follow_up(RUN) is Outcome.NOTHING
    assert NotifiedRuns(str(tmp_path / "elsewhere")).follow_up(RUN) is Outcome.NOTHING


def test_place_that_cannot_be_read_is_tried_again(tmp_path: Path) -> None:
    runs = NotifiedRuns("runs")
    (tmp_path / "runs").write_text("no folder")
    with pytest.raises(TryAgain):
        runs.follow_up(RUN)


def test_event_is_not_sent_to_a_prefect_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TryAgain, match=r"the Prefect API at http://127\.0\.0\.1:9/api cannot be reached"):
        NotifiedRuns().tell(JOB_ENDED, RUN, {})
    with scripted_server() as prefect:
        prefect.replies([Reply(503)])
        monkeypatch.setenv("PREFECT_API_URL", f"{prefect.url}/api")
        with pytest.raises(TryAgain, match="HTTP 503"):
            NotifiedRuns().tell(JOB_ENDED, RUN, {})
        assert [seen.path for seen in prefect.seen] == ["/api/health"]
