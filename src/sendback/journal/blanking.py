"""Taking the contents of finished records out of segments that are still in use.

A segment is deleted once it was read to its end and its writer is gone; until then what was read
stands in it. Only frames that finishing has committed are touched: nobody reads them again.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from sendback.journal import frames


def ends(directory: Path) -> dict[bytes, int]:
    """How far every segment is written now, by its id."""
    return {
        segment_id: records[-1][0] for _, segment_id, records in _segments(directory) if records
    }


def blank(
    directory: Path,
    positions: Mapping[bytes, int],
    matches: Callable[[bytes], bool],
    *,
    dry_run: bool = False,
) -> int:
    """Overwrite the payload of every finished record that `matches` with zeros; how many.

    `positions`: how far each segment was finished, by its id; the rest stays. On return it is on
    the disk. Frames keep their length and get a right CRC. Also safe while writers append.
    """
    count = 0
    for path, segment_id, records in _segments(directory):
        finished = positions.get(segment_id, 0)
        found = [(end, len(body)) for end, body in records if end <= finished and matches(body)]
        count += len(found)
        if found and not dry_run:
            _overwrite(path, found, frames.seed(segment_id))
    return count


def _overwrite(path: Path, found: list[tuple[int, int]], crc_seed: int) -> None:
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return  # read to its end, and deleted
    try:
        for end, size in found:
            frame = frames.encode([bytes(size)], crc_seed)
            os.pwrite(fd, frame, end - len(frame))
        os.fdatasync(fd)
    finally:
        os.close(fd)


def _segments(directory: Path) -> Iterator[tuple[Path, bytes, list[tuple[int, bytes]]]]:
    """(path, id, [(end of a frame, payload)]) of every segment."""
    for path in sorted(Path(directory).glob("*.seg")):
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            continue
        header = frames.decode_header(data)
        if header is not None:
            start, seed = frames.HEADER.size, frames.seed(header.segment_id)
            yield path, header.segment_id, frames.scan(data[start:], start, seed, len(data)).records
