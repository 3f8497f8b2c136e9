import re
from typing import Any

import pytest

from tasks.core.identity import ResultOptions, RunIdentity, digest_json, remote_id
from tasks.roboflow_api.models import BATCH_ID_PATTERN, JOB_ID_PATTERN

GIVEN: dict[str, Any] = {
    "manifest_digest": "m",
    "workflow_id": "w",
    "workflow_digest": "d",
    "parameters": {"b": 1, "a": [1, {"y": 2, "x": 1}]},
    "options": ResultOptions(),
    "workspace": "s",
}


def key(**changes: Any) -> str:
    return RunIdentity(**(GIVEN | changes)).key()


def test_key_is_16_hex_digits_and_stable() -> None:
    assert re.fullmatch(r"[0-9a-f]{16}", key())
    assert key() == key()
    assert key() == key(parameters={"a": [1, {"x": 1, "y": 2}], "b": 1})


@pytest.mark.parametrize(
    "change",
    [
        {"manifest_digest": "n"},
        {"workflow_id": "v"},
        {"workflow_digest": None},
        {"workflow_digest": "e"},
        {"parameters": {}},
        {"parameters": {"b": "1", "a": [1, {"y": 2, "x": 1}]}},
        {"parameters": {"b": 1, "a": [{"y": 2, "x": 1}, 1]}},
        {"options": ResultOptions(keep_images=False)},
        {"options": ResultOptions(image_outputs=["a"])},
        {"options": ResultOptions(image_input="i")},
        {"options": ResultOptions(aggregation_format="csv")},
        {"options": ResultOptions(inference_backend="inference-models")},
        {"options": ResultOptions(images_metadata_part="about")},
        {"options": ResultOptions(images_metadata_mapping={"camera": "id"})},
        {"workspace": "t"},
        {"rerun": "again"},
    ],
    ids=str,
)
def test_key_changes_with_everything_that_it_is_made_of(change: dict[str, Any]) -> None:
    assert key(**change) != key()


def test_key_stays_the_same_from_version_to_version() -> None:
    assert key() == "d3e085bbcfb914f4"


def test_remote_id_is_one_that_the_contract_takes() -> None:
    made = remote_id(key())
    assert len(made) == 19
    assert re.match(BATCH_ID_PATTERN, made)
    assert re.match(JOB_ID_PATTERN, made)


def test_digest_ignores_order_and_keeps_unicode_apart() -> None:
    assert digest_json({"a": 1, "b": 2}) == digest_json({"b": 2, "a": 1})
    assert digest_json("é") != digest_json("e\u0301")
    assert digest_json([1, 2]) != digest_json([2, 1])


def test_options_out_of_range_are_refused() -> None:
    for wrong in ({"aggregation_format": "xml"}, {"inference_backend": "newest"}, {"no_such": 1}):
        with pytest.raises(ValueError, match=r"aggregation_format|inference_backend|no_such"):
            ResultOptions.model_validate(wrong)
