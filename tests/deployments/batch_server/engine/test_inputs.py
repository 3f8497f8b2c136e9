from typing import Any

import pytest

from deployments.batch_server.engine.inputs import InputsInvalid, check_parameters, find_image_input

IMAGE = {"type": "WorkflowImage", "name": "photo"}
OLD_IMAGE = {"type": "InferenceImage", "name": "image"}
BATCH_IMAGE = {"type": "WorkflowBatchInput", "name": "frames", "kind": ["image"]}
BATCH = {"type": "WorkflowBatchInput", "name": "boxes", "kind": ["object_detection_prediction"]}
PARAMETER = {"type": "WorkflowParameter", "name": "limit"}


@pytest.mark.parametrize("entry", [IMAGE, OLD_IMAGE, BATCH_IMAGE])
def test_the_only_image_input_is_found(entry: dict[str, Any]):
    assert find_image_input({"inputs": [PARAMETER, BATCH, entry]}) == entry["name"]


def test_the_only_image_input_may_be_asked_for_by_its_name():
    assert find_image_input({"inputs": [IMAGE]}, "photo") == "photo"


@pytest.mark.parametrize(
    ("definition", "wanted", "message"),
    [
        ({"inputs": [IMAGE, OLD_IMAGE]}, None, "this one has 'photo', 'image'"),
        ({"inputs": [IMAGE, OLD_IMAGE]}, "image", "this one has 'photo', 'image'"),
        ({"inputs": [IMAGE]}, "image", "no image input 'image'; it has 'photo'"),
        ({"inputs": [PARAMETER]}, None, "this one has none"),
        ({"inputs": "photo"}, None, "this one has none"),
        ({"inputs": [None, {"type": "WorkflowImage"}]}, None, "this one has none"),
        ({}, None, "this one has none"),
    ],
)
def test_image_inputs_that_do_not_fit_are_named(definition: dict[str, Any], wanted: str | None, message: str):
    with pytest.raises(InputsInvalid, match=message):
        find_image_input(definition, wanted)


def test_declared_parameters_pass():
    check_parameters({"inputs": [IMAGE, PARAMETER]}, {"limit": 3})


def test_a_parameter_that_is_not_declared_is_named_with_the_known_ones():
    with pytest.raises(InputsInvalid, match="no parameter 'photo'; it has 'limit'"):
        check_parameters({"inputs": [IMAGE, PARAMETER]}, {"photo": 3})
