"""What images are called in a dataset, and which split they belong to."""

from __future__ import annotations

import hashlib

from tasks.results.exporters.base import TRAIN, VALIDATION, stem

_APART = "~x"
"""What no staged name contains, as ``x`` is no hexadecimal digit: see :mod:`tasks.media.names`."""
_FRAME = "~frame-"


class Names:
    """Gives each image a name of which also the stem is unique, as many formats keep ``a.jpg`` in ``a.txt``.

    The names must come sorted. Then all that begin with one stem follow each other, and it is enough to remember
    the stems that the present name begins with.
    """

    def __init__(self) -> None:
        self._stems: list[str] = []

    def name(self, file: str, frame: int | None) -> str:
        """The name in the dataset: the staged one, but ``a~xpng.png`` where ``a.jpg`` came before ``a.png``.

        Args:
            file: name as staged.
            frame: number of a video's frame, which is called like ``a.mp4~frame-000012.jpg``.
        """
        if frame is not None:
            return f"{file}{_FRAME}{frame:06d}.jpg"
        self._stems = [known for known in self._stems if file.startswith(known)]
        own = stem(file)
        if own in self._stems:
            extension = file[len(own) :]
            return f"{own}{_APART}{extension[1:]}{extension}"
        self._stems.append(own)
        return file


def split_of(source_key: str, validation: float) -> str:
    """The split that an image belongs to, whatever other images there are; all frames of a video share one.

    Args:
        source_key: the image's name in the source.
        validation: share of the images in the validation split.
    """
    digest = hashlib.sha256(source_key.encode("utf-8", "surrogateescape")).digest()
    return VALIDATION if int.from_bytes(digest[:8], "big") < validation * 2**64 else TRAIN
