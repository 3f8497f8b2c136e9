import pytest

from tasks.results.exporters.classes import (
    MAX_FOLDER_BYTES,
    Classes,
    as_folder,
    as_line,
    as_xml,
    as_yaml,
    distinct,
    label_of,
    ordered,
)
from tasks.transfer.unpack import safe_name
from tests.tasks.results.exporters.made_run import HOSTILE, read_yaml


@pytest.mark.parametrize("name", [None, "", " ", "\t\n"])
def test_class_without_a_name_is_called_object(name):
    assert label_of(name) == "object"


@pytest.mark.parametrize(
    ("found", "names"),
    [
        ({"zebra": {0}, "ant": {1}}, ("zebra", "ant")),
        ({"zebra": {90}, "ant": {7}, "cow": {12}}, ("ant", "cow", "zebra")),
        ({"zebra": {0}, "ant": {0}}, ("ant", "zebra")),
        ({"zebra": {0}, "ant": {1, 2}}, ("ant", "zebra")),
        ({"zebra": {0}, "ant": {None}}, ("ant", "zebra")),
        ({"zebra": {0, None}, "ant": {1}}, ("ant", "zebra")),
        ({"zebra": {-1}, "ant": {1}}, ("ant", "zebra")),
        ({}, ()),
    ],
)
def test_classes_keep_the_order_of_ids_that_can_be_trusted(found, names):
    assert ordered(found) == names


def test_index_counts_from_zero():
    classes = Classes(("b", "a"))
    assert [classes.index("b"), classes.index("a")] == [0, 1]
    with pytest.raises(KeyError):
        classes.index("c")


def test_plain_forms_differ_and_plain_names_keep_theirs():
    forms = distinct(["a/b", "a_b", "a:b", "a_b~2"], lambda name: name.replace("/", "_").replace(":", "_"))
    assert forms["a_b"] == "a_b"
    assert forms["a_b~2"] == "a_b~2"
    assert len(set(forms.values())) == 4


def test_plain_forms_may_have_to_differ_in_more_than_case():
    forms = distinct(["Cat", "cat", "CAT"], str, str.casefold)
    assert len({form.casefold() for form in forms.values()}) == 3
    assert forms["Cat"] == "Cat"


@pytest.mark.parametrize("name", HOSTILE)
def test_folder_of_a_class_is_one_plain_name(name):
    folder = as_folder(name)
    assert safe_name(folder) == folder
    assert "/" not in folder
    assert folder[0] not in ".- "
    assert len(folder.encode()) <= MAX_FOLDER_BYTES


@pytest.mark.parametrize("name", ["traffic light", "Käse", "हिन्दी", "v1.2 (new)"])
def test_folder_of_a_usual_class_is_its_name(name):
    assert as_folder(name) == name


@pytest.mark.parametrize("name", [*HOSTILE, *map(chr, (0x7F, 0x85, 0xA0, 0x2028, 0xFEFF, 0xFFFE, 0x1F600, 0xE000))])
def test_yaml_reads_any_name_back(name):
    assert read_yaml(f"names:\n  0: {as_yaml(name)}\n") == {"names": {0: name}}


@pytest.mark.parametrize("name", HOSTILE)
def test_line_is_one_line(name):
    assert len(f"{as_line(name)}x".splitlines()) == 1


def test_xml_form_differs_only_in_what_xml_cannot_hold():
    assert as_xml("a\0b\r<c>&\ud7ff\ufffe\U0001f600\n") == "a\ufffdb\ufffd<c>&\ud7ff\ufffd\U0001f600\n"
