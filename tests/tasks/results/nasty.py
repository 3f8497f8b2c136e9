"""Random lines of results: most of one mould, some that break it in every way that was thought of."""

import json
import random
from collections.abc import Callable
from typing import Any

from tests.tasks.results.run_on_disk import detections

Make = Callable[[random.Random], Any]

SCALARS: list[Any] = [None, True, 0, 7, -(1 << 63), 1 << 63, 1 << 70, 2.5, 1e300, -0.0, float("nan"), float("inf")]
TEXTS = ["", "text", "2024-01-01", "2024-01-01T10:00:00Z", "<deducted_image>", "<b>é\u2028\n", "\ud800", "1", "😀"]


def box(choice: random.Random, **fields: Any) -> dict[str, Any]:
    found = {name: choice.choice([1, 2.5, 100.25]) for name in ("x", "y", "width", "height")}
    return (
        found | {"confidence": choice.random(), "class": choice.choice("ab"), "class_id": choice.randrange(3)} | fields
    )


def boxes(choice: random.Random, **fields: Any) -> dict[str, Any]:
    size = choice.choice([{"width": 100, "height": 80}, {"width": None, "height": None}])
    return {"image": size, "predictions": [box(choice, **fields) for _ in range(choice.randrange(4))]}


def tracked(choice: random.Random) -> dict[str, Any]:
    extra = {"speed": choice.choice([1.0, 1.5, None]), "tags": choice.choice([["a"], [], [1.0, 2.0][:0], None])}
    return boxes(choice, tracker_id=choice.choice([1, None, 1 << 60]), detection_id="d", parent_id="image", **extra)


def outlined(choice: random.Random) -> dict[str, Any]:
    points = [{"x": choice.random(), "y": n} for n in range(choice.randrange(3))]
    keypoints = [{"x": 1, "y": 2.5, "confidence": 0.5, "class": "nose", "class_id": 0}][: choice.randrange(2)]
    return boxes(choice, points=points, keypoints=keypoints)


def one_label(choice: random.Random) -> dict[str, Any]:
    classes = [{"class": name, "class_id": n, "confidence": choice.random()} for n, name in enumerate("abc")]
    top = choice.choice(["a", "b", "", "z"])
    return {"image": {"width": 9, "height": 8}, "predictions": classes, "top": top, "confidence": 0.5, "parent_id": "p"}


def many_labels(choice: random.Random) -> dict[str, Any]:
    names = choice.sample("abcd", 3)
    found = {name: {"confidence": choice.random(), "class_id": n} for n, name in enumerate(names)}
    return {"image": {"width": 9, "height": 8}, "predictions": found, "predicted_classes": names[: choice.randrange(3)]}


def model(make: Make) -> Make:
    return lambda choice: {"inference_id": "i", "predictions": make(choice), "model_id": "m/1"}


def image(choice: random.Random) -> Any:
    return choice.choice([{"type": "image", "file": "0.jpg/out.jpg"}, {"type": "image"}, None])


def nested(choice: random.Random) -> dict[str, Any]:
    return {"size": {"w": choice.randrange(5), "h": choice.choice([1.5, None])}, "tags": ["x"] * choice.randrange(3)}


def spoiled(choice: random.Random, **fields: Any) -> dict[str, Any]:
    """Boxes of which one has odd fields; an ellipsis stands for a field that is not there."""
    found = {name: value for name, value in (box(choice) | fields).items() if value is not ...}
    return {"image": {"width": 100, "height": 80}, "predictions": [box(choice), found]}


def one_of(*values: Any) -> Make:
    return lambda choice: choice.choice(values)


# What an output usually is, and what nearly is: the same to Arrow's reader, and not the same.
NUMBER = (one_of(1.5, 2, None), one_of(float("nan"), 1 << 63, 1 << 70, 1e300, float("inf")))
TEXT = (one_of(*TEXTS[:4]), one_of("<deducted_image>", None, ""))
BOXES: list[Make] = [
    lambda choice: spoiled(choice, x=None),
    lambda choice: spoiled(choice, x=...),
    lambda choice: spoiled(choice, y=float("nan")),
    lambda choice: spoiled(choice, class_id=1 << 53),
    lambda choice: spoiled(choice, confidence=1 << 63, **{"class": None}),
    lambda choice: {"image": None, "predictions": [box(choice)]},
    lambda choice: {"predictions": [box(choice)]},
    lambda choice: {"image": {"width": 1, "height": 2}, "predictions": None},
    lambda choice: {"image": {"width": 1, "height": 2}, "predictions": [None]},
    lambda choice: {"image": {"width": 1 << 53, "height": 2}, "predictions": [box(choice)]},
]
OUTLINES: list[Make] = [
    lambda choice: spoiled(choice, points=[None, {"x": 1.5}], keypoints=None),
    lambda choice: spoiled(choice, points=None, keypoints=[{"x": 1, "class_id": 1 << 53}]),
]
LABELS: list[Make] = [
    lambda choice: {"image": {"width": 9, "height": 8}, "predictions": []},
    lambda choice: {"image": {"width": 9, "height": None}, "top": None, "predictions": []},
    lambda choice: {"image": None, "top": "a", "predictions": None},
    lambda choice: {"top": "a", "predictions": [None, {"class": "a", "class_id": 1 << 53}], "confidence": float("nan")},
]


MOULDS: list[tuple[Make, Make | list[Make]]] = [
    (lambda choice: choice.randrange(9), one_of(1.0, 1 << 63, None)),
    NUMBER,
    TEXT,
    (one_of(True, False, None), one_of(0, "True")),
    (lambda choice: [NUMBER[0](choice) for _ in range(choice.randrange(3))], lambda choice: [NUMBER[1](choice)]),
    (lambda choice: [[1]] * choice.randrange(3), one_of([[None], None], [[1 << 70]])),
    (one_of({}), one_of(None, {"a": None})),
    (one_of(None), one_of([], {})),
    (lambda choice: [image(choice)] * choice.randrange(3), one_of([{"type": "other"}, {"type": None}])),
    (lambda choice: {str(choice.randrange(4)): 1}, one_of({"4": None})),
    (one_of("<deducted_image>"), one_of("text", {"type": "image"})),
    (boxes, BOXES),
    (boxes, BOXES),
    (tracked, BOXES),
    (outlined, OUTLINES),
    (one_label, LABELS),
    (many_labels, one_of({"image": {"width": 9, "height": 8}, "predictions": {}, "predicted_classes": ["a", None]})),
    (model(boxes), [model(make) for make in BOXES]),
    (model(one_label), [model(make) for make in LABELS]),
    (model(many_labels), one_of({"inference_id": None, "predictions": None})),
    (image, [one_of({"type": "other"}), one_of({"file": "a"}), one_of({"type": "base64", "file": None})]),
    (lambda choice: {"type": "circle", "file": "a"}, one_of({"type": "image", "file": "0.jpg/out.jpg"})),
    (nested, one_of({"size": None, "tags": [None]}, {"size": {"w": 1, "h": float("nan")}, "tags": None})),
]

DEEP = "[" * 40 + "]" * 40
ODD: list[Make] = [
    lambda choice: choice.choice(SCALARS),
    lambda choice: choice.choice(TEXTS),
    lambda choice: {"image": None, "predictions": []},
    lambda choice: {"image": {}, "predictions": [{"x": 1, "y": 1, "width": 1}]},
    lambda choice: {"image": {}, "predictions": [box(choice, x=None)]},
    lambda choice: {"image": {}, "predictions": [box(choice, **{"class": 7})]},
    lambda choice: {"image": {}, "predictions": [box(choice, points=[[1, 2]], extra={"a": {"b": 1}})]},
    lambda choice: {"image": {"width": 5.0, "height": 1 << 60}, "predictions": [box(choice, confidence="high")]},
    lambda choice: {"image": {}, "predictions": [], "top": ""},
    lambda choice: {"image": {"width": 9}, "predictions": [{"class": 5}, "a"], "top": "a", "parent_id": 3},
    lambda choice: {"image": "odd", "predictions": {"a": None, "b": 1}, "predicted_classes": ["a", "b", 3, "c"]},
    lambda choice: {"type": "image", "score": 1},
    lambda choice: {"type": "base64", "value": "x"},
    lambda choice: {"type": 1},
    lambda choice: [1, "a"],
    lambda choice: [boxes(choice)],
    lambda choice: {"deeper": {"found": detections("car")}},
    lambda choice: {str(n): n for n in range(70)},
    lambda choice: json.loads(DEEP),
]

BROKEN: list[bytes | str] = [
    b'{"image": "1.jpg", "a": "\xff"}',
    b'{"image": "1.jpg", "a": "\xed\xa0\x80"}',
    "",
    "   ",
    "not json",
    "[1]",
    '"text"',
    "{}",
    '{"image": ""}',
    '{"image": 7}',
    '{"image": "0.jpg"} {"image": "1.jpg"}',
    '{"image":\n"0.jpg"}',
    '{"image": "0.jpg"} {"image": "1.jpg"}\n{"image":\n"2.jpg"}',
    '{"image": "3.jpg"}\n\n{"image": "4.jpg"}{"image": "5.jpg"}',
    '{"image": "3.jpg", "a": 01}',
    '{"image": "3.jpg", "a": "tab\there"}',
    '{"image": "3.jpg",}',
    '{"image": "2.jpg", "a": 1, "a": "twice"}',
    '{"image": "4.jpg", "image": "5.jpg"}',
    '{"image": "6.jpg", "a": Inf}',
    '{"image": "unknown.jpg", "a": [{"b": 1}]}',
    '{"image": "7.jpg", "a": 1e999, "b": -Infinity}',
    '{"image": "8.jpg", "\\u0061": 1, "z": "\\ud83d\\ude00 \\udc00"}',
    '  {"image": "9.jpg"}  ',
    '{"image": "10.jpg", "a": ' + DEEP * 500 + "}",
    '{"image": "10.jpg", "a": ' + "[" * 50_000 + "]" * 50_000 + "}",
    '{"image": "11.jpg", "a": ' + "1" * 5_000 + "}",
    '{"image": "12.jpg", ' + ", ".join(f'"k{n}": {n}' for n in range(600)) + "}",
]


def broken_lines() -> list[bytes]:
    return [line if isinstance(line, bytes) else line.encode() for line in BROKEN]


def lines(seed: int, count: int) -> list[bytes]:
    """About ``count`` lines; how nasty they are depends on the seed."""
    choice = random.Random(seed)
    moulds = {name: choice.choice(MOULDS) for name in "abcd"[: choice.choice([1, 1, 2, 4])]}
    # One kind of near miss for each output: where there are many, one hides another.
    near = {
        name: choice.choice(misses if isinstance(misses, list) else [misses]) for name, (_, misses) in moulds.items()
    }
    wild = choice.choice([0, 0, 0.2])
    oddness, breaks = 0.0, 0.0
    found: list[bytes] = []
    for number in range(count):
        if number == count // 3:
            # What is odd comes late, so that much was read in bulk by then.
            oddness, breaks = choice.choice([0, 0.02, 0.05]), choice.choice([0, 0, 0.02, 0.1])
        outputs = {}
        for name, (usual, _) in moulds.items():
            make = usual if choice.random() >= oddness else choice.choice(ODD) if choice.random() < wild else near[name]
            outputs[name] = make(choice)
        if choice.random() < oddness * wild:
            outputs.pop(choice.choice(list(outputs)))
        file = number if choice.random() > breaks else choice.randrange(count)
        result = {"image": f"{file}.jpg"} | outputs
        found.append(json.dumps(result, ensure_ascii=choice.random() < 0.5).encode("utf-8", "surrogatepass"))
        if choice.random() < breaks:
            found.append(choice.choice(broken_lines()))
    if choice.random() < 0.3:
        choice.shuffle(found)
    return found
