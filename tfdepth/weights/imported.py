"""What the reader of a published format gives."""
from typing import NamedTuple, Tuple

from tfdepth.data.config import DataConfig
from tfdepth.systems.base import System


class Imported(NamedTuple):
    """A published model."""
    system: System
    data: DataConfig              # how the published program prepared its images
    parts: Tuple[str, ...] = ()   # attributes of the system that have weights; () = all
