"""Frames that come one by one, as of a stream, put together with their neighbours.

Shape letters: T targets, S sources, H rows, W columns.
"""
from typing import Iterator, List, NamedTuple, Sequence

import numpy as np


class Neighbours(NamedTuple):
    """Targets that have all their sources."""
    indices: np.ndarray    # [T] int, of the targets, counted from the first frame that came
    targets: np.ndarray    # [T, H, W, 3]
    sources: np.ndarray    # [T, S, H, W, 3], in the order of the offsets


class NeighbourWindow:
    """Holds no more frames than the offsets span, and a batch."""

    def __init__(self, offsets: Sequence[int], batch_size: int):
        """Args: offsets: S frames from the target to its sources, ascending. batch_size: targets
        that are given out together, at most."""
        self._offsets, self._batch_size = tuple(offsets), batch_size
        self._before = max(0, -min(offsets, default=0))
        self._after = max(0, max(offsets, default=0))
        self._frames: List[np.ndarray] = []  # from index `_first` on, all neighbours in time
        self._first = 0
        self._next_target = self._before

    def add(self, frame: np.ndarray, follows: bool = True) -> Iterator[Neighbours]:
        """Takes a frame [H, W, 3] and yields what is complete by it, not always at once.

        Args: follows: whether it is the neighbour of the frame before; else that one has no
          neighbour after it, and this one none before.
        """
        if not follows:
            yield from self.rest()
            self._first += len(self._frames)
            self._frames = []
            self._next_target = self._first + self._before
        self._frames.append(frame)
        if self._num_complete() >= self._batch_size:
            yield from self.rest()

    def rest(self) -> Iterator[Neighbours]:
        """Yields the targets that are complete."""
        count = self._num_complete()
        if count <= 0:
            return
        indices = np.arange(self._next_target, self._next_target + count)
        places = indices - self._first
        targets = np.stack([self._frames[place] for place in places])
        sources = np.stack([self._frames[place + offset] for place in places
                            for offset in self._offsets] or [targets[0]])[:count * len(self._offsets)]
        yield Neighbours(indices, targets,
                         sources.reshape(count, len(self._offsets), *targets.shape[1:]))
        self._next_target += count
        gone = self._next_target - self._before - self._first
        self._frames, self._first = self._frames[gone:], self._first + gone

    def _num_complete(self) -> int:
        return self._first + len(self._frames) - self._after - self._next_target
