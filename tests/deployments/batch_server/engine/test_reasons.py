from types import SimpleNamespace

from deployments.batch_server.engine.reasons import one_line, why_image_failed, why_workflow_invalid


class StepError(Exception):
    def __init__(self, block_id: str, message: str) -> None:
        super().__init__(message)
        self.block_id = block_id


class CompileError(Exception):
    def __init__(self, message: str, **details: object) -> None:
        super().__init__(message)
        self.__dict__.update(details)


def test_lines_are_folded_and_cut():
    assert one_line("  a\n\tb  ") == "a b"
    assert one_line("x" * 500) == "x" * 399 + "…"


def test_folders_of_this_machine_are_dropped_and_addresses_kept():
    assert one_line("no /opt/venv/lib/model.bin here") == "no model.bin here"
    assert one_line("OpenCV(4.10.0) /io/src/color.cpp:196: error") == "OpenCV(4.10.0) color.cpp:196: error"
    assert one_line("see https://example.org/a/b and 1/2/3") == "see https://example.org/a/b and 1/2/3"


def test_an_images_reason_is_the_innermost_cause_with_its_step():
    try:
        try:
            raise ValueError("no codes")
        except ValueError as error:
            raise StepError("codes", "wrapped: no codes") from error
    except StepError as error:
        assert why_image_failed(error) == "step 'codes': no codes"


def test_an_error_without_text_is_told_by_its_name():
    assert why_image_failed(KeyError()) == "KeyError"


def test_a_compile_error_names_block_and_property():
    block = SimpleNamespace(
        block_id="count", property_name="color", property_details="Field required", block_details=None
    )
    error = CompileError("Could not parse. Details provided in inner error.", blocks_errors=[block])
    assert why_workflow_invalid(error) == "Could not parse: 'count' 'color': Field required"


def test_a_validation_error_is_told_without_the_selector_branch():
    problems = [
        {"loc": ("limit", "constrained-str"), "msg": "String should match", "input": "abc"},
        {"loc": ("limit", "int"), "msg": "Input should be an integer", "input": "abc"},
    ]
    inner = SimpleNamespace(errors=lambda: problems)
    error = CompileError("Bad input.", inner_error=inner)
    assert why_workflow_invalid(error) == "Bad input: limit.int: Input should be an integer (got 'abc')"


def test_an_error_without_details_is_its_own_text():
    assert why_workflow_invalid(CompileError("Two steps share a name.")) == "Two steps share a name."
