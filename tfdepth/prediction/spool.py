"""What waits until the colour range of a clip is known: bytes in a file without a name."""
import io
import tempfile
from typing import NamedTuple

import numpy as np
from PIL import Image


class Place(NamedTuple):
    """Where something lies in a Spool."""
    start: int
    length: int


class Spool:
    """Bytes on disk, given back in any order; they vanish with the program."""

    def __init__(self, folder):
        """Args: folder: where there is space, that exists."""
        self._file = tempfile.TemporaryFile(dir=folder)
        self._end = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._file.close()

    def put(self, content: bytes) -> Place:
        """Keeps some bytes.

        Raises: OSError: as of a full disk.
        """
        self._file.seek(self._end)
        self._file.write(content)
        place = Place(self._end, len(content))
        self._end += len(content)
        return place

    def get(self, place: Place) -> bytes:
        """What was put there."""
        self._file.seek(place.start)
        return self._file.read(place.length)

    def put_picture(self, pixels: np.ndarray) -> Place:
        """Keeps uint8 [h, w, 3] or [h, w] as PNG, so that nothing is lost."""
        content = io.BytesIO()
        Image.fromarray(pixels).save(content, format="PNG", compress_level=1)  # fast
        return self.put(content.getvalue())

    def get_picture(self, place: Place) -> np.ndarray:
        """The pixels of a picture that was put there."""
        with Image.open(io.BytesIO(self.get(place)), formats=("PNG",)) as image:
            return np.array(image)
