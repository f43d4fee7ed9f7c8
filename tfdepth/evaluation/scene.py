"""What runs are scored on: their drives by role, and which of them they were trained on."""
import dataclasses
import functools
from typing import Dict, List, Sequence, Set, Tuple

from tfdepth.checks import UserError
from tfdepth.data.config import DataConfig
from tfdepth.data.datasets import Split, load_drives, named_drives, split_drives
from tfdepth.data.drives import Drive
from tfdepth.data.kitti_splits import EIGEN_TEST_DRIVES, NAMED_DRIVES, ODOMETRY_FRAMES
from tfdepth.evaluation.odometry_report import Motion, TruePath, motion_of_run, true_paths
from tfdepth.inference import Predictor

KITTI_RAW = ("kitti_raw", "kitti_depth")
KITTI = (*KITTI_RAW, "kitti_odometry")


@dataclasses.dataclass
class Scene:
    """Runs on the same data, what they are scored on, and what the user chose. Data are read when
    asked for."""
    predictors: Dict[str, Predictor]  # by their names in tables, one or more
    config: DataConfig           # of what is scored; the runs' own, but for what the user changed
    drives: Tuple[str, ...]      # to score; () = the runs' test drives, or else training drives
    flip: bool                   # blend depth with that of the mirrored image
    alignment: str               # of trajectories; "" = the protocol's
    others_data: bool = False    # data that the user named: their drives had no role in training
    _motions: Dict[Tuple[str, str], Motion] = dataclasses.field(default_factory=dict)

    @property
    def predictor(self) -> Predictor:
        """The first run's."""
        return next(iter(self.predictors.values()))

    def config_of(self, predictor: Predictor) -> DataConfig:
        """What is scored, prepared as a run's networks see it."""
        own = predictor.config.data
        return dataclasses.replace(self.config, size=own.size, offsets=own.offsets,
                                   frame_gap=own.frame_gap, stereo=own.stereo,
                                   stereo_baseline=own.stereo_baseline)

    def file_name(self, title: str, name: str) -> str:
        """Of a picture of one run: with the run's name where there are several."""
        name = f"-{name.replace('/', '-')}" if len(self.predictors) > 1 else ""
        return f"{title}{name}.png"

    @functools.cached_property
    def _loaded(self) -> Tuple[Drive, ...]:
        return load_drives(self.config)

    @functools.cached_property
    def split(self) -> Split:
        """The roles that the drives had in training."""
        return split_drives(self.config, self._loaded)

    @functools.cached_property
    def scored(self) -> Tuple[Drive, ...]:
        """The drives to score."""
        if not self.drives:
            return self.split.test or self.split.train
        names = named_drives("--drives", self.drives, self._loaded)
        return tuple(drive for drive in self._loaded if drive.name in names)

    @functools.cached_property
    def train(self) -> Tuple[Drive, ...]:
        """What baselines are fitted on: the training drives that are not scored, or all of them
        when only such are scored; never scored drives of others' data."""
        scored = {drive.name for drive in self.scored}
        others = tuple(drive for drive in self.split.train if drive.name not in scored)
        return others if self.others_data else others or self.split.train

    @property
    def role(self) -> str:
        """What the scored drives were in training: "test", "validation", "training" or several;
        "" of others' data."""
        if self.others_data:
            return ""
        scored = {drive.name for drive in self.scored}
        roles = zip(("training", "validation", "test"), self.split)
        return " and ".join(role for role, drives in roles
                            if scored & {drive.name for drive in drives})

    @property
    def about(self) -> str:
        """The role and the names of the scored drives."""
        names = ", ".join(drive.name for drive in self.scored)
        if self.others_data:
            return f"drives {names} of {self.config.dataset}, whatever runs saw of them in training"
        return f"{self.role} drives {names}"

    def motion(self, name: str, path: TruePath, length: int) -> Motion:
        """What a run predicts along a path, once."""
        if (name, path.name) not in self._motions:
            self._motions[name, path.name] = motion_of_run(self.predictors[name], path, length)
        return self._motions[name, path.name]

    def paths(self) -> List[TruePath]:
        """The scored paths with poses.

        Raises: UserError: there is none.
        """
        paths = true_paths(self.scored)
        if not paths:
            raise UserError(f"{self.scored[0].name} has no world_from_camera")
        return paths

    def eigen_drives(self) -> Tuple[str, ...]:
        """Which of the Eigen test set's drives to score: those of --drives, or of the runs' test
        drives; () = all."""
        if self.drives or self.config.dataset not in KITTI_RAW:
            return self.drives
        names = [each for name in self.config.test_drives
                 for each in NAMED_DRIVES.get(name, (name.split("/")[0],))]
        chosen = tuple(name for name in EIGEN_TEST_DRIVES if name in names)
        return () if len(chosen) == len(EIGEN_TEST_DRIVES) else chosen

    def trained_on(self, raw_drives: Sequence[str]) -> Set[str]:
        """Which of these drives of KITTI raw the runs were trained on, as far as configs tell."""
        return set().union(*(_trained_on(predictor.config.data, raw_drives)
                             for predictor in self.predictors.values()))


def _trained_on(data: DataConfig, raw_drives: Sequence[str]) -> Set[str]:
    """Which of these drives of KITTI raw a run with such data was trained on."""
    expand = lambda names: {each for name in names
                            for each in NAMED_DRIVES.get(name, (name.split("/")[0],))}
    held_out = expand(data.validation_drives) | expand(data.test_drives)
    if data.dataset == "kitti_odometry":
        seen = {drive for sequence, (drive, _, _) in ODOMETRY_FRAMES.items()
                if sequence in (expand(data.train_drives) or set(ODOMETRY_FRAMES) - held_out)}
        return seen & set(raw_drives)
    if data.dataset not in KITTI_RAW:
        return set()
    return set(raw_drives) & expand(data.train_drives) if data.train_drives else (
        set(raw_drives) - held_out)
