"""Tables of results: aligned text for the terminal, JSON and CSV files.

Rows are (name, {column: value}). A value that is missing, None or NaN is "n/a": not available,
which is never the same as 0.
"""
import csv
import dataclasses
import io
import json
import math
from typing import Any, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from tfdepth.files import Path, write_atomically

Row = Tuple[str, Mapping[str, Any]]
NOT_AVAILABLE = "n/a"
LOWER, HIGHER = "lower", "higher"
_ARROWS = {LOWER: " \u2193", HIGHER: " \u2191", None: ""}
_BEST = {LOWER: min, HIGHER: max}


@dataclasses.dataclass(frozen=True)
class Column:
    """One column of a table."""
    name: str                       # its key in the rows
    better: Optional[str] = None    # LOWER, HIGHER or None: nothing is marked
    decimals: int = 3               # of numbers that are not whole by type


def metric_columns(names: Sequence[str], higher_is_better: Sequence[str] = (),
                   decimals: int = 3) -> List[Column]:
    """Columns of metrics; those not in `higher_is_better` are better when lower."""
    return [Column(name, HIGHER if name in higher_is_better else LOWER, decimals)
            for name in names]


def format_table(rows: Sequence[Row], columns: Sequence[Column], title: str = "") -> str:
    """Aligned plain text; the best value of a column, as printed, carries a "*".

    Args:
      rows: in the order of printing. Keys that no column names are not printed.
      columns: in the order of printing; an arrow beside a name tells which way is better.
      title: a line above, or nothing.

    Returns:
      Lines joined by "\\n", without a line end after the last.
    """
    texts = [[_format(values.get(column.name), column.decimals) for column in columns]
             for _, values in rows]
    marks = [_best_rows(rows, column) for column in columns]
    table = [["", *(column.name + _ARROWS[column.better] for column in columns)]]
    for number, ((name, _), cells) in enumerate(zip(rows, texts)):
        table.append([name, *(cell + ("*" if number in best else " " if best else "")
                              for cell, best in zip(cells, marks))])
    widths = [max(len(line[place]) for line in table) for place in range(len(table[0]))]
    lines = ["  ".join([line[0].ljust(widths[0]),
                        *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:]))])
             for line in table]
    lines.insert(1, "-" * max(map(len, lines)))
    return "\n".join(line.rstrip() for line in ([title] if title else []) + lines)


def write_json(path: Path, content: Any):
    """Writes results as JSON: NamedTuples and dataclasses as objects, arrays as lists.

    NaN and infinities become null. The file is replaced in one go.

    Raises:
      TypeError: something in `content` has no place in JSON.
    """
    text = json.dumps(plain(content), indent=1, allow_nan=False)
    write_atomically(path, text + "\n")


def write_csv(path: Path, rows: Sequence[Row], columns: Optional[Sequence[str]] = None):
    """Writes rows as CSV with full precision, the row's name first; replaced in one go.

    Args:
      path: the file.
      rows: (name, {column: value}).
      columns: which, in order; None: all keys in the order in which they first appear.
    """
    if columns is None:
        columns = list(dict.fromkeys(key for _, values in rows for key in values))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["name", *columns])
    for name, values in rows:
        cells = (plain(values.get(column)) for column in columns)
        writer.writerow([name, *(NOT_AVAILABLE if cell is None else cell for cell in cells)])
    write_atomically(path, text.getvalue())


def plain(value: Any) -> Any:
    """`value` made of dicts, lists, strings, numbers and None; not finite numbers are None."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    elif hasattr(value, "_asdict"):
        value = value._asdict()
    elif isinstance(value, (np.ndarray, np.generic)):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _format(value: Any, decimals: int) -> str:
    value = plain(value)
    if value is None:
        return NOT_AVAILABLE
    return f"{value:.{decimals}f}" if isinstance(value, float) else str(value)


def _best_rows(rows: Sequence[Row], column: Column) -> set:
    """Numbers of the rows that print the best value; none when there is nothing to compare."""
    if column.better is None:
        return set()
    values = {number: plain(row[1].get(column.name)) for number, row in enumerate(rows)}
    printed = {number: round(value, column.decimals) for number, value in values.items()
               if isinstance(value, (int, float)) and not isinstance(value, bool)}
    if len(printed) < 2:
        return set()
    best = _BEST[column.better](printed.values())
    return {number for number, value in printed.items() if value == best}
