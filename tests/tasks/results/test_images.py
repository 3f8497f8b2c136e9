import pytest

from tasks.results.images import ImageFinder


def test_named_file_is_found(run):
    run.write("images-archives/a.jpg/annotated.jpg", b"")
    finder = ImageFinder(run.export)
    value = {"type": "image", "file": "a.jpg/annotated.jpg"}
    assert finder.find(value, "a.jpg", "annotated") == "export/images-archives/a.jpg/annotated.jpg"


def test_unnamed_file_is_found_by_its_place(run):
    run.write("part/a.jpg/crops/0.png", b"")
    finder = ImageFinder(run.export)
    assert finder.find({"type": "image"}, "a.jpg", "crops/0") == "export/part/a.jpg/crops/0.png"
    assert finder.find("<deducted_image>", "a.jpg", "crops/0") == "export/part/a.jpg/crops/0.png"
    assert finder.find({"type": "image"}, "a.jpg", "crops/1") is None


@pytest.mark.parametrize("name", ["../secret.jpg", "/etc/passwd", "a/../../secret.jpg", "", "a\0b"])
def test_names_that_lead_out_are_refused(run, tmp_path, name):
    (tmp_path / "secret.jpg").write_bytes(b"")
    (run.export / "part").mkdir()
    assert ImageFinder(run.export).find({"type": "image", "file": name}, "..", "secret") is None
