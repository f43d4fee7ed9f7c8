"""The result tables of the five papers, as printed: rows to be read beside our own.

published.csv holds the numbers. Its column `protocol` says under which of our protocols a row was
computed, as far as paper and code tell; rows whose protocol nobody stated have none, and stand
beside nothing. The forms of the Eigen split with median scaling differ in how predictions are
resized alone, so a row stands beside both. Rows quoted by a paper from others are in it too.
"""
import csv
import importlib.resources
from typing import Dict, List, Tuple

PAPERS = {  # as in the column `paper`
    "sfmlearner": "SfMLearner", "attention": "Attention maps", "hma": "HMA-Depth",
    "idce_ham": "IDCE+HAM", "student": "SfMLearner re-implemented",
}
_TEXT = ("paper", "table", "protocol", "method", "train_data", "supervision", "resolution", "note")


def published_rows(protocol: str) -> List[Tuple[str, Dict[str, float]]]:
    """The papers' rows of a protocol, in the order of papers and tables.

    Args:
      protocol: name of a depth or odometry protocol; one without rows gives none.

    Returns:
      [(label, {column: value})], those that a paper quotes from others last; label is "paper, table: method (training data, supervision,
      size)", values are those that are printed: abs_rel ... a3, ate09_mean ... ate10_std (metres),
      and `note`.
    """
    rows = []
    for row in _table():
        if protocol in row["protocol"].split():
            about = ", ".join(filter(None, (row["train_data"], row["supervision"],
                                            row["resolution"].replace("unstated", ""))))
            label = f"{PAPERS[row['paper']]}, {row['table']}: {row['method']}"
            values = {name: float(value) for name, value in row.items()
                      if name not in _TEXT and value}
            if row["note"]:
                values["note"] = row["note"]
            rows.append((f"{label} ({about})" if about else label, values))
    return sorted(rows, key=lambda row: is_quoted(row[0]))  # stable


def is_quoted(label: str) -> bool:
    """Whether a row is one that its paper quotes: it carries the number of a reference."""
    return "[" in label


def _table():
    text = importlib.resources.files("tfdepth.evaluation").joinpath("published.csv")
    with text.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
