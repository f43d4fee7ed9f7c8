"""Puts named arrays into named variables, or says exactly what does not fit."""
import collections
import fnmatch
from typing import Mapping

import numpy as np
import tensorflow as tf

from tfdepth.checks import UserError

LISTED = 20  # names a message shows of each kind


def assign_weights(variables: Mapping[str, object], arrays: Mapping[str, np.ndarray], source: str):
    """Assigns every array to the variable of its name.

    Args:
      variables: {published name: tf.Variable}, all of a network.
      arrays: {published name: array}, all of a checkpoint.
      source: the checkpoint's path, for messages.

    Raises:
      UserError: if a name is missing or extra, or a shape differs; lists them. Then no variable
        was changed.
    """
    problems = [f"missing: {name}" for name in sorted(set(variables) - set(arrays))]
    problems += [f"extra: {name}" for name in sorted(set(arrays) - set(variables))]
    problems += [
        f"misshapen: {name} is {list(arrays[name].shape)}, expected {list(variables[name].shape)}"
        for name in sorted(set(variables) & set(arrays))
        if tuple(arrays[name].shape) != tuple(variables[name].shape)]
    if problems:
        shown = "; ".join(problems[:LISTED])
        rest = f"; and {len(problems) - LISTED} more" if len(problems) > LISTED else ""
        raise UserError(f"{source}: {len(problems)} of its weights do not fit: {shown}{rest}.")
    for name, variable in variables.items():
        variable.assign(arrays[name])


def select(variables: Mapping[str, object], patterns, flag: str):
    """The variables whose names fit one of some patterns.

    Args:
      variables: {name: variable}, as `variables_by_path` gives them.
      patterns: names or their beginnings, up to a "/". "*" stands for any characters and "?" for
        one: "depth_encoder/*bn?" are all those of its layers bn1, bn2, ...
      flag: where the patterns come from, for messages.

    Returns: {name: variable}.
    Raises: UserError: if a pattern fits none.
    """
    chosen = {}
    for pattern in patterns:
        below = pattern.rstrip("/") + "/*"
        fitting = {name: variable for name, variable in variables.items()
                   if fnmatch.fnmatchcase(name, pattern) or fnmatch.fnmatchcase(name, below)}
        if not fitting:
            raise UserError(f"{flag}: expected the beginning of a variable's name, as "
                            f"{next(iter(variables))}; got {pattern}.")
        chosen.update(fitting)
    return chosen


def variables_by_path(root):
    """{"attribute/path": variable} of everything below a trackable object, by shortest path.

    The paths are those by which tf.train.Checkpoint stores the variables.
    """
    view = tf.train.TrackableView(root)
    found, seen, queue = {}, set(), collections.deque([((), root)])
    while queue:
        path, node = queue.popleft()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, tf.Variable):
            found["/".join(path)] = node
            continue
        queue.extend(((*path, name), child) for name, child in view.children(node).items())
    return found
