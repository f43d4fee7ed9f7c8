"""The page of `predict --html` read back, without tfdepth."""
import base64
import html.parser
import json
import zlib

import numpy as np


class Page(html.parser.HTMLParser):
    """The elements of a page as a browser would find them."""

    def __init__(self, path):
        super().__init__()
        self.scripts, self.texts, self._open = [], {}, []
        self.feed(path.read_text(encoding="utf-8"))
        self.facts = next(json.loads(text) for attributes, text in self.scripts
                          if attributes.get("id") == "facts")
        self.frames = [json.loads(text) for attributes, text in self.scripts
                       if attributes.get("class") == "frame"]

    def handle_starttag(self, tag, attrs):
        self._open.append(tag)
        if tag == "script":
            self.scripts.append([dict(attrs), ""])

    def handle_endtag(self, tag):
        while self._open.pop() != tag:
            pass

    def handle_data(self, data):
        if self._open and self._open[-1] == "script":
            self.scripts[-1][1] += data
        elif self._open:
            self.texts[self._open[-1]] = self.texts.get(self._open[-1], "") + data


def read_depth(frame):
    """Depth [R, C] and its pixels (rows, columns), from the words in viewer.py's docstring."""
    packed = zlib.decompress(base64.b64decode(frame["depth"]))
    rows, columns = frame["grid"]
    low, high = np.frombuffer(packed, np.uint8).reshape(2, rows, columns).astype(int)
    numbers = np.zeros([rows + 1, columns + 1], int)
    for row in range(rows):
        for column in range(columns):
            signed_last = low[row, column] + 256 * high[row, column]
            rest = -(signed_last + 1) // 2 if signed_last % 2 else signed_last // 2
            numbers[row + 1, column + 1] = (
                rest + numbers[row + 1, column] + numbers[row, column + 1]
                - numbers[row, column]) % 65536
    depth = frame["nearest"] * np.exp(frame["step"] * numbers[1:, 1:])
    return depth, *(frame["offset"] + frame["stride"] * np.arange(count)
                    for count in (rows, columns))
