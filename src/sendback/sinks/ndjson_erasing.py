"""Taking an address out of files that an ndjson destination wrote, also while it writes.

The file in use loses its name first, as by a rotation: the sink goes on in a new one, and what it
was writing ends before the lock is ours. Readers find the rest under a rotated name.
"""

import fcntl
import gzip
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, cast

import msgspec

from sendback.model.mention import Mention


class _Identity(msgspec.Struct):
    email: str = ""


def written_files(path: Path) -> list[Path]:
    """The file of a destination and its rotated ones, those that exist."""
    rotated = sorted(path.parent.glob(f"{path.name}.*T*")) if path.parent.is_dir() else []
    return [one for one in (*rotated, path) if one.is_file()]


def lines_naming(path: Path, mention: Mention) -> int:
    """How many lines of this file name the address."""
    with _opened(path) as file:
        return sum(mention.is_in(line) for line in file)


def erase_from(path: Path, mention: Mention, *, is_in_use: bool) -> tuple[int, int]:
    """Rewrite the file without the address: (lines dropped, lines of others without it now).

    A file that does not name it stays untouched. `is_in_use`: the sink may be writing to it; what
    is kept then stands under a rotated name.
    """
    if not lines_naming(path, mention):
        return 0, 0
    target = _rotated_name(path) if is_in_use else path
    if is_in_use:
        path.rename(target)
    counts = [0, 0]
    hidden = target.with_name(f".{target.name}.tmp")
    with target.open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with _opened(target) as lines, _opened(hidden, "wb", like=target) as kept:
            kept.writelines(_kept_lines(lines, mention, counts))
        with hidden.open("rb") as written:
            os.fsync(written.fileno())
        hidden.chmod(target.stat().st_mode & 0o777)
        hidden.replace(target)
    return counts[0], counts[1]


def _kept_lines(lines: Iterable[bytes], mention: Mention, counts: list[int]) -> Iterator[bytes]:
    for line in lines:
        if not mention.is_in(line):
            yield line
        elif _is_of(line, mention):
            counts[0] += 1
        else:
            counts[1] += 1
            yield mention.redact(line)


def _is_of(line: bytes, mention: Mention) -> bool:
    try:
        return mention.is_this(msgspec.json.decode(line, type=_Identity).email)
    except msgspec.MsgspecError:
        return False


def _opened(path: Path, mode: str = "rb", *, like: Path | None = None) -> IO[bytes]:
    is_packed = (like or path).suffix == ".gz"
    return cast("IO[bytes]", gzip.open(path, mode)) if is_packed else path.open(mode)


def _rotated_name(path: Path) -> Path:
    for ahead in range(3600):  # one name for a second: take the next free one
        stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(time.time() + ahead))
        target = path.with_name(f"{path.name}.{stamp}")
        if not target.exists() and not target.with_name(f"{target.name}.gz").exists():
            return target
    raise FileExistsError(f"no free rotated name for {path}")
