import inspect
from pathlib import Path

import pytest
from pydantic import ValidationError

from tasks.core import records
from tasks.core.records import Launched, Record, Staged
from tests.tasks.core.summaries import summary

KINDS = [kind for kind in vars(records).values() if inspect.isclass(kind) and issubclass(kind, Record)]
STAGED = Staged(key="k", folder=Path("runs/k"), files=5, rejected=2, ignored=1, bytes=10, seconds=0.5)


@pytest.mark.parametrize(
    "record", [STAGED, Launched(job_id="j", attached=True, seconds=1), summary("0" * 16)], ids=repr
)
def test_record_survives_the_journal(record: Record) -> None:
    assert type(record).model_validate(record.model_dump(mode="json")) == record
    assert len(record.model_dump_json()) < 2000


def test_records_are_frozen() -> None:
    assert all(kind.model_config.get("frozen") for kind in KINDS)
    with pytest.raises(ValidationError):
        STAGED.files = 3  # type: ignore[misc]


def test_staged_knows_what_is_left_to_send() -> None:
    assert STAGED.to_send == 3


def test_summary_has_a_line_of_its_own() -> None:
    made = summary("0123456789abcdef", folder=Path("/data/my runs/0123456789abcdef"))
    assert made.line() == (
        "run 0123456789abcdef: 7 processed, 2 failed, 1 rejected, 12.3 s -> /data/my runs/0123456789abcdef/report.html"
    )
