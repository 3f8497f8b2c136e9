"""The contact sheet, and the larger view of each of its pictures.

Each picture is in the page once. Its link leads to the picture itself, and the style sheet shows the target of the
address as a view that fills the window and hides the rest, also from the keyboard and from screen readers. Links to
the picture before, the one after and back to the sheet move the focus along, all without a script.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from tasks.results.report.model import Box, ContactImage, ReportData
from tasks.results.report.overlay import overlay
from tasks.results.report.parts import Section, named, swatch
from tasks.results.report.pictures import Picture
from tasks.results.report.text import plural, safe

CLASSES_NAMED = 6
"""Classes in the words about one picture."""
LEGEND = 12
"""Classes in the legend."""


def gallery(data: ReportData, tones: Mapping[str, int]) -> Section | None:
    """The section; nothing where there are no pictures."""
    images = data.images
    if not images:
        return None
    about = f"{plural(len(images), 'image')} from across the run, with what was predicted. Each opens in a larger view."
    shots = "".join(f"<li>{_shot(images, place, tones)}</li>" for place in range(len(images)))
    body = f'<div class="film">{_legend(images, tones)}<ul class="sheet">{shots}</ul></div>'
    return Section("images", "Contact sheet", about, body)


def words(image: ContactImage) -> str:
    """What was found on an image: ``bicycle, 3 of car``."""
    counts = Counter([box.name for box in image.boxes] + [tag.name for tag in image.tags])
    listed = [name if count == 1 else f"{count} of {name}" for name, count in sorted(counts.items())]
    left = len(listed) - CLASSES_NAMED
    shown = [*listed[:CLASSES_NAMED], *([plural(left, "more class", "more classes")] if left > 0 else [])]
    if image.undrawn:
        shown.append(f"{image.undrawn:,} not drawn")
    return ", ".join(shown) or "nothing detected"


def _legend(images: Iterable[ContactImage], tones: Mapping[str, int]) -> str:
    drawn = {box.name for image in images for box in image.boxes}
    names = [name for name in tones if name in drawn]
    items = "".join(f"<li>{swatch(tones[name])}{named(name)}</li>" for name in names[:LEGEND])
    left = len(names) - LEGEND
    more = f"<li>and {plural(left, 'more class', 'more classes')}</li>" if left > 0 else ""
    return f'<ul class="classes-drawn" aria-label="Colours of the boxes">{items}{more}</ul>' if names else ""


def _shot(images: tuple[ContactImage, ...], place: int, tones: Mapping[str, int]) -> str:
    image, shown = images[place], place + 1
    return (
        f'<article class="shot" id="image-{shown}" tabindex="-1" aria-labelledby="name-{shown}">'
        f"{_turning(shown, len(images))}{_frame(image, tones)}"
        f'<div class="told"><h3 id="name-{shown}"><span class="place">{shown}</span>'
        f"<span>{named(image.caption)}</span></h3>"
        f'<p class="found">{named(words(image))}</p>{_details(image, tones)}</div>'
        f'<a class="open" id="thumb-{shown}" href="#image-{shown}"><span class="unseen">Enlarge '
        f"{named(image.caption)}</span></a></article>"
    )


def _turning(shown: int, count: int) -> str:
    """Links of the larger view; the first and the last picture are neighbours."""
    before, after = (shown - 2) % count + 1, shown % count + 1
    return (
        f'<nav class="turn" aria-label="Larger view"><a href="#thumb-{shown}">Back to the sheet</a>'
        f'<span>{shown} of {count}</span><a href="#image-{before}" rel="prev">Previous</a>'
        f'<a href="#image-{after}" rel="next">Next</a></nav>'
    )


def _frame(image: ContactImage, tones: Mapping[str, int]) -> str:
    picture = image.picture
    shown = ""
    if picture is not None:
        alt = f"{named(image.caption)}: {named(words(image))}"
        shown = f'<img src="{_url(picture)}" alt="{alt}">'
    width = picture.width if picture else image.width
    return (
        f'<div class="frame"><div class="picture" style="--w:{image.width};--h:{image.height};--own:{width}px">'
        f"{shown}{overlay(image, tones)}</div></div>"
    )


def _details(image: ContactImage, tones: Mapping[str, int]) -> str:
    """What only the larger view shows."""
    facts = [("Size", f"{image.width:,} by {image.height:,} pixels"), *image.values]
    listed = "".join(f"<div><dt>{named(name)}</dt><dd>{named(value)}</dd></div>" for name, value in facts)
    return (
        f'<div class="details">{_tags(image)}{_boxes(image.boxes, image.undrawn, tones)}<dl>{listed}</dl>'
        f"{''.join(_output(image, name, picture) for name, picture in image.outputs)}</div>"
    )


def _tags(image: ContactImage) -> str:
    if not image.tags:
        return ""
    items = "".join(f"<li>{named(tag.label)}</li>" for tag in image.tags)
    return f'<h4>The whole image</h4><ul class="predicted">{items}</ul>'


def _boxes(boxes: tuple[Box, ...], undrawn: int, tones: Mapping[str, int]) -> str:
    if not boxes and not undrawn:
        return ""
    items = "".join(
        f"<li>{swatch(tones.get(box.name, 0))}<span>{named(box.label)}{_data(box)}</span></li>" for box in boxes
    )
    more = f"<li>and {undrawn:,} not drawn</li>" if undrawn else ""
    return f'<h4>Detections</h4><ul class="predicted">{items}{more}</ul>'


def _data(box: Box) -> str:
    return f" <code>{named(box.data)}</code>" if box.data else ""


def _output(image: ContactImage, name: str, picture: Picture) -> str:
    alt = f"{named(name)}, made by the workflow of {named(image.caption)}"
    return f'<figure><img src="{_url(picture)}" alt="{alt}"><figcaption>{named(name)}</figcaption></figure>'


def _url(picture: Picture) -> str:
    return safe(picture.data_url, len(picture.data_url))
