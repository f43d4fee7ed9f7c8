"""What the data check found, and its text."""
import dataclasses
from typing import Dict, List, NamedTuple, Optional, Tuple

from tfdepth.data.samples import SampleCounts


class Finding(NamedTuple):
    """Something wrong, and how to mend it."""
    what: str
    mend: str

    def __str__(self):
        return f"{self.what.rstrip('.')} -> {self.mend}"


@dataclasses.dataclass
class DriveReport:
    """One drive, measured."""
    name: str
    frames: int
    size: Tuple[int, int]                 # (height, width), pixels
    field_of_view: Tuple[float, float]    # (horizontal, vertical), degrees
    gaps: Dict[int, int]                  # difference of frame numbers -> pairs; 1 = neighbours
    has_poses: bool
    in_metres: bool                       # motion is measured by poses or speed, not by images
    has_depth: bool
    has_moving: bool
    static_share: Optional[float] = None  # of the neighbouring pairs; None = not measured
    median_motion: Optional[float] = None  # metres a frame, by poses; else mean |difference|
    files_decoded: int = 0                # images, depth maps and masks
    bad_files: List[str] = dataclasses.field(default_factory=list)  # what is wrong, one line each

    @property
    def holes(self) -> int:
        """Places where at least one frame is missing."""
        return sum(count for gap, count in self.gaps.items() if gap > 1)


@dataclasses.dataclass
class Report:
    """Everything the data check found; `problems` stop a training, `warnings` may spoil it."""
    dataset: str
    root: str
    drives: List[DriveReport] = dataclasses.field(default_factory=list)
    roles: Dict[str, Tuple[str, ...]] = dataclasses.field(default_factory=dict)  # names of drives
    samples: Optional[SampleCounts] = None                                       # of the train role
    validation_samples: Optional[SampleCounts] = None
    notes: List[str] = dataclasses.field(default_factory=list)                   # printed as it is
    problems: List[Finding] = dataclasses.field(default_factory=list)
    warnings: List[Finding] = dataclasses.field(default_factory=list)

    @property
    def ok(self) -> bool:
        """True when training can start."""
        return not self.problems

    def text(self) -> str:
        """The report for people; the last line is the verdict."""
        lines = [f"data set  {self.dataset}   root  {self.root or '(the cache)'}"]
        if self.drives:
            lines += ["", *_drive_table(self.drives), "", *_gap_table(self.drives)]
        for role, names in self.roles.items():
            lines.append(f"{role:<10} {', '.join(names) or '(none)'}")
        if self.samples:
            counts = self.samples
            lines.append(f"{'samples':<10} {counts.kept} of {counts.total} train frames; without "
                         f"neighbours {counts.without_neighbours}, static {counts.static}")
        lines += [*self.notes, "", *(f"warning: {finding}" for finding in self.warnings),
                  *(f"problem: {finding}" for finding in self.problems)]
        lines.append("verdict: ready to train" + (", mind the warnings" if self.warnings else "")
                     if self.ok else
                     f"verdict: {len(self.problems)} to mend before training")
        return "\n".join(lines)


def _drive_table(drives: List[DriveReport]) -> List[str]:
    rows = [("drive", "frames", "width x height", "field of view", "holes", "static", "motion",
             "known", "decoded", "bad")]
    for drive in drives:
        known = [name for name, there in (("poses", drive.has_poses), ("depth", drive.has_depth),
                                          ("moving", drive.has_moving)) if there]
        unit = "m" if drive.in_metres else "change"
        rows.append((
            drive.name, str(drive.frames), f"{drive.size[1]} x {drive.size[0]}",
            "{:.0f} x {:.0f} deg".format(*drive.field_of_view), str(drive.holes),
            "-" if drive.static_share is None else f"{drive.static_share:.0%}",
            "-" if drive.median_motion is None else f"{drive.median_motion:.3f} {unit}",
            "+".join(known) or "-", str(drive.files_decoded), str(len(drive.bad_files))))
    widths = [max(map(len, column)) for column in zip(*rows)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip()
            for row in rows]


def _gap_table(drives: List[DriveReport]) -> List[str]:
    """Pairs of successive frames by the difference of their numbers, over all drives."""
    total: Dict[int, int] = {}
    for drive in drives:
        for gap, count in drive.gaps.items():
            total[gap] = total.get(gap, 0) + count
    lines = ["frame numbers differ by   pairs"]
    for gap in sorted(total)[:5]:
        note = "   neighbours" if gap == 1 else "   holes"
        lines.append(f"{gap:>21}   {total[gap]:>7}{note}")
    rest = sum(total[gap] for gap in sorted(total)[5:])
    return lines + ([f"{'more':>21}   {rest:>7}   holes"] if rest else []) + [""]
