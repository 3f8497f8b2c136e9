import io
import json
import subprocess
from typing import Any

import pytest
from PIL import Image

from deployments.batch_server.engine.interface import EngineFailure, WorkflowInvalid

from .conftest import ENGINE_PYTHON, ROOT, jpeg, misbehaving, read_lines, workflow

pytestmark = pytest.mark.engine

REFERENCE = """
import json, os, random, sys, warnings, zlib
import cv2, numpy
from inference.core.workflows.core_steps.common.entities import StepExecutionMode
from inference.core.workflows.execution_engine.core import ExecutionEngine
engine = ExecutionEngine.init(workflow_definition=json.load(open(sys.argv[1])), init_parameters={
    "workflows_core.model_manager": None, "workflows_core.api_key": None,
    "workflows_core.step_execution_mode": StepExecutionMode.LOCAL,
    "workflows_core.thread_pool_executor": None, "workflows_core.background_tasks": None})
for path in sys.argv[2:]:
    seed = zlib.crc32(os.path.basename(path).encode())
    random.seed(seed), numpy.random.seed(seed)
    outputs = engine.run(runtime_parameters={"image": [cv2.imread(path)]}, serialize_results=True)[0]
    print("LINE", json.dumps(outputs, default=lambda value: value.tolist() if hasattr(value, 'tolist') else str(value)))
sys.stdout.flush()
os._exit(0)
"""
"""The engine as anyone would call it."""


def without_ids(codes: dict[str, Any]) -> dict[str, Any]:
    return codes | {"predictions": [entry | {"detection_id": None} for entry in codes["predictions"]]}


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    folder = tmp_path_factory.mktemp("samples")
    subprocess.run([ENGINE_PYTHON, ROOT / "deployments" / "samples.py", folder], check=True, timeout=60)
    return sorted(folder.rglob("*.jpg"))


def test_photo_audit_gives_what_the_engine_itself_serialises(pool, make_chunk, samples):
    definition = ROOT / "deployments" / "batch_server" / "workflows" / "photo-audit.json"
    command = [ENGINE_PYTHON, "-I", "-c", REFERENCE, definition, *samples]
    printed = subprocess.run(command, check=True, timeout=120, capture_output=True, text=True).stdout
    expected = [json.loads(line[5:]) for line in printed.splitlines() if line.startswith("LINE ")]

    chunk = make_chunk([(path.name, path.read_bytes()) for path in samples], workflow("photo-audit"))
    result = pool.submit(chunk, lambda done: None).result(60)

    assert (result.processed, result.failed) == (len(samples), 0)
    for path, own, engines in zip(samples, read_lines(chunk.output_dir / "results.jsonl"), expected, strict=True):
        assert own.pop("image") == path.name
        assert own.pop("annotated") == {"type": "image"}
        assert engines.pop("annotated")["type"] == "base64"
        assert own | {"codes": without_ids(own["codes"])} == engines | {"codes": without_ids(engines["codes"])}


def test_photo_audit_reads_the_codes_on_the_samples(pool, make_chunk, samples):
    chunk = make_chunk([(path.name, path.read_bytes()) for path in samples], workflow("photo-audit"))
    pool.submit(chunk, lambda done: None).result(60)
    lines = read_lines(chunk.output_dir / "results.jsonl")
    found = {line["image"]: [each["data"] for each in line["codes"]["predictions"]] for line in lines}
    assert {name: codes for name, codes in found.items() if codes} == {
        "coffee.jpg": ["4006381333931"],
        "coins.jpg": ["lot 7: 24 coins"],
        "motorcycle_left.jpg": ["FRAME-0042"],
        "rocket.jpg": ["https://example.org/launch/39A"],
    }


def test_equal_images_give_equal_lines_in_every_run(pool, make_chunk, samples):
    lines = []
    for _ in range(2):
        chunk = make_chunk([("moon.jpg", samples[4].read_bytes())], workflow("photo-audit"))
        pool.submit(chunk, lambda done: None).result(60)
        lines.append((chunk.output_dir / "results.jsonl").read_text())
    assert lines[0] == lines[1]


def test_photo_audit_takes_every_ordinary_image(pool, make_chunk):
    images = [
        ("grey.jpg", jpeg(mode="L")),
        ("rgba.png", jpeg(mode="RGBA", format="PNG")),
        ("palette.png", jpeg(mode="P", format="PNG")),
        ("deep.png", jpeg(mode="I;16", format="PNG")),
        ("cmyk.jpg", jpeg(mode="CMYK")),
        ("dot.jpg", jpeg(1, 1)),
        ("line.png", jpeg(1, 300, format="PNG")),
        ("large.jpg", jpeg(4000, 3000)),
        ("web.webp", jpeg(format="WEBP")),
        ("scan.tif", jpeg(format="TIFF")),
    ]
    chunk = make_chunk(images, workflow("photo-audit"), keep_images=True)
    result = pool.submit(chunk, lambda done: None).result(60)
    assert read_lines(chunk.output_dir / "failures.jsonl") == []
    assert result.processed == len(images)
    with Image.open(chunk.output_dir / "images" / "large.jpg" / "annotated.jpg") as annotated:
        assert (annotated.format, annotated.size) == ("JPEG", (4000, 3000))


def test_unusable_images_fail_one_by_one_with_reasons(pool, make_chunk):
    whole = jpeg(200, 200)
    images = [
        ("good.jpg", whole),
        ("text.jpg", b"this is no picture"),
        ("cut.jpg", whole[: len(whole) // 2]),
        ("cut.png", jpeg(200, 200, format="PNG")[:-40]),
        ("empty.jpg", b""),
        ("good-too.jpg", whole + b"trailing bytes, as some cameras write"),
    ]
    chunk = make_chunk(images, workflow("minimal"))
    result = pool.submit(chunk, lambda done: None).result(60)
    assert (result.processed, result.failed) == (2, 4)
    assert [line["image"] for line in read_lines(chunk.output_dir / "results.jsonl")] == [
        "good.jpg",
        "good-too.jpg",
    ]
    assert read_lines(chunk.output_dir / "failures.jsonl") == [
        {"image": "text.jpg", "reason": "not a decodable image"},
        {"image": "cut.jpg", "reason": "the JPEG is cut off before its end"},
        {"image": "cut.png", "reason": "not a decodable image"},
        {"image": "empty.jpg", "reason": "the file is empty"},
    ]


def test_a_step_that_raises_costs_its_image_and_names_the_innermost_cause(pool, make_chunk):
    chunk = make_chunk([("a", jpeg(19)), ("b", jpeg(23)), ("c", jpeg(50))], misbehaving())
    result = pool.submit(chunk, lambda done: None).result(60)
    assert (result.processed, result.failed) == (1, 2)
    memory, luck = read_lines(chunk.output_dir / "failures.jsonl")
    assert memory["reason"] == "step 'step': not enough memory for this image"
    assert luck["reason"] == "step 'step': bad luck in weights.bin"


def test_values_that_json_does_not_know_become_plain(pool, make_chunk):
    images = [(str(width), jpeg(width)) for width in (29, 31, 37, 41)]
    chunk = make_chunk(images, misbehaving(), keep_images=True)
    pool.submit(chunk, lambda done: None).result(60)
    values = [line["value"] for line in read_lines(chunk.output_dir / "results.jsonl")]
    image = {"type": "image", "file": "41/value/a/1.jpg"}
    assert values == [None, "b'raw'", [0, 1, 2], {"a": [0.5, image]}]
    with Image.open(chunk.output_dir / "images" / "41" / "value" / "a" / "1.jpg") as stored:
        assert stored.size == (41, 48)


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("two words 'and' \"quotes\".jpg", "two words 'and' \"quotes\".jpg"),
        ("line\nbreak\u2028 ünï 写真.jpg", "line\nbreak\u2028 ünï 写真.jpg"),
        ("n" * 255, "n" * 255),
        ("../../escape.jpg", None),
        ("/etc/passwd", None),
        ("..", None),
        ("nul\0.jpg", None),
        ("写" * 120, None),
        ("half \udcff.jpg", None),
    ],
)
def test_images_of_any_name_are_stored_inside_the_output_folder(pool, make_chunk, name, folder):
    chunk = make_chunk([(name, jpeg())], workflow("photo-audit"), keep_images=True)
    pool.submit(chunk, lambda done: None).result(60)
    (line,) = read_lines(chunk.output_dir / "results.jsonl")
    assert line["image"] == name
    stored, _, file = line["annotated"]["file"].rpartition("/")
    assert file == "annotated.jpg"
    assert stored == folder or (folder is None and len(stored) == 32)
    images = chunk.output_dir / "images"
    assert [path for path in images.rglob("*") if path.is_file()] == [images / stored / file]


def test_only_the_image_outputs_asked_for_are_kept(pool, make_chunk):
    chunk = make_chunk([("a.jpg", jpeg())], workflow("photo-audit"), keep_images=True, image_outputs=())
    pool.submit(chunk, lambda done: None).result(60)
    (line,) = read_lines(chunk.output_dir / "results.jsonl")
    assert line["annotated"] == {"type": "image"}
    assert not (chunk.output_dir / "images").exists()


def test_kept_images_show_what_the_step_drew(pool, make_chunk):
    buffer = io.BytesIO()
    square = Image.new("RGB", (100, 100), "black")
    square.paste("white", (30, 30, 70, 70))
    square.save(buffer, "PNG")
    chunk = make_chunk([("square.png", buffer.getvalue())], workflow("photo-audit"), keep_images=True)
    pool.submit(chunk, lambda done: None).result(60)
    (line,) = read_lines(chunk.output_dir / "results.jsonl")
    assert line["contours"] == 1
    with Image.open(chunk.output_dir / "images" / line["annotated"]["file"]) as annotated:
        on_the_edge = annotated.convert("RGB").crop((30, 50, 31, 51)).tobytes()
    assert [value > 127 for value in on_the_edge] == [True, False, True]


def test_parameters_reach_the_workflow(pool, make_chunk):
    counts = []
    for tolerance in (0, 255):
        chunk = make_chunk([("a.png", jpeg(10, 10, format="PNG"))], workflow("minimal"))
        chunk.parameters["tolerance"] = tolerance
        pool.submit(chunk, lambda done: None).result(60)
        counts.append(read_lines(chunk.output_dir / "results.jsonl")[0]["matching_pixels"])
    assert counts[0] < counts[1] == 100


def needs_a_model() -> dict[str, Any]:
    step = {"type": "roboflow_core/roboflow_object_detection_model@v2", "name": "m", "model_id": "a/1"}
    return workflow("minimal") | {"steps": [step | {"images": "$inputs.image"}], "outputs": []}


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({"steps": [{"type": "nope@v1", "name": "s"}]}, {}, "nope@v1"),
        ({"steps": "x"}, {}, "steps: Input should be a valid list"),
        ({"version": "99.0"}, {}, "99.0"),
        ({"inputs": []}, {}, "exactly one image input; this one has none"),
        (needs_a_model(), {}, "needs model weights"),
        ({}, {"image_input": "photo"}, "no image input 'photo'; it has 'image'"),
        ({}, {"parameters": {"tolerance": "abc"}}, "tolerance"),
        ({}, {"parameters": {"tolerance": None}}, "(got None)"),
        ({}, {"parameters": {"tolerence": 3}}, "no parameter 'tolerence'; it has 'color', 'tolerance'"),
    ],
)
def test_a_workflow_that_cannot_be_used_is_refused_in_one_line(pool, make_chunk, change, options, message):
    chunk = make_chunk([("a.jpg", jpeg())], workflow("minimal") | change, **options)
    with pytest.raises(WorkflowInvalid) as refusal:
        pool.submit(chunk, lambda done: None).result(60)
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) <= 400


def test_a_full_disk_is_the_engines_failure(pool, make_chunk):
    chunk = make_chunk([("a.jpg", jpeg())], workflow("minimal"))
    (chunk.output_dir / "results.jsonl").symlink_to("/dev/full")
    with pytest.raises(EngineFailure, match="cannot store results: No space left on device"):
        pool.submit(chunk, lambda done: None).result(60)
