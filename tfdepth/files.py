"""Files of results, written whole or not at all, and where the cache is."""
import contextlib
import os
import pathlib
from typing import BinaryIO, Iterator, Union

Path = Union[str, pathlib.Path]


def cache_path(*names: str) -> str:
    """A path below tfdepth's cache, $XDG_CACHE_HOME/tfdepth or ~/.cache/tfdepth; makes nothing."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join("~", ".cache")
    return os.path.join(os.path.expanduser(base), "tfdepth", *names)


@contextlib.contextmanager
def written_atomically(path: Path) -> Iterator[pathlib.Path]:
    """Where to write a file, which takes the name `path` when the block has ended.

    A reader sees the old file or the new one, never half of it. Missing folders are made. When the
    block raises, what it wrote is gone.

    Raises:
      OSError: the folder or the file cannot be made.
    """
    path = pathlib.Path(path).expanduser()
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)  # still there only when something failed


@contextlib.contextmanager
def open_atomically(path: Path) -> Iterator[BinaryIO]:
    """A binary file to write, which takes the name `path` at the end; see `written_atomically`.

    Raises:
      OSError: as `open` does.
    """
    with written_atomically(path) as temporary, open(temporary, "wb") as file:
        yield file


def write_atomically(path: Path, content: Union[str, bytes]):
    """Writes `content` in one go, see `open_atomically`; text as UTF-8 with "\\n" line ends."""
    with open_atomically(path) as file:
        file.write(content.encode("utf-8") if isinstance(content, str) else content)
