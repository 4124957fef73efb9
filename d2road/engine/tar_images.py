"""Images in tar archives, read as a stream: nothing is unpacked to the disk, nothing but regular files is opened."""

import logging
import tarfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from d2road.utils.errors import DataError
from d2road.utils.input_files import open_input

logger = logging.getLogger(__name__)

ENDINGS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
LARGEST_MEMBER = 1 << 28  # bytes of an image in an archive
SHOWN = 5


@dataclass(frozen=True)
class Member:
    """A file in an archive: its name, which number it has among all entries, its size in bytes."""

    name: str
    number: int
    size: int


def is_archive(path: Path) -> bool:
    """Whether a name is that of a tar archive."""
    return path.name.lower().endswith(ENDINGS)


def list_images(path: Path, suffixes: set[str]) -> list[Member]:
    """The images of an archive in its order; what else is in it is counted in the log.

    Args:
        suffixes: of images, in lower case.
    Raises:
        FileNotFoundError, DataError: no such file, no archive, cut off, or an entry whose name leads out of a folder
            that the archive would be unpacked to.
    """
    found, others = [], Counter[str]()
    with _stream(path) as archive:
        for number, entry in enumerate(archive):
            name = PurePosixPath(entry.name)
            if name.is_absolute() or ".." in name.parts or "\\" in entry.name:
                raise DataError(
                    f"has an entry named {entry.name!r}, which leads out of its folder: nothing of it is read; pack it "
                    "anew with plain names"
                )
            if not entry.isreg():
                others.update(() if entry.isdir() else ("links and devices",))
            elif name.suffix.lower() in suffixes and not name.name.startswith("."):
                found.append(Member(entry.name, number, entry.size))
            else:
                others[name.suffix or name.name] += 1
    if others:
        kinds = ", ".join(f"{count} {kind}" for kind, count in others.most_common(SHOWN))
        logger.info("%s: %d entries are no images and are left out (%s)", path, others.total(), kinds)
    return found


def read_members(path: Path, members: Sequence[Member]) -> Iterator[tuple[Member, bytes | DataError]]:
    """The content of members in the order of the archive, or why one cannot be read.

    Args:
        members: as `list_images` gives, in order.
    Raises:
        FileNotFoundError, DataError: as `list_images`; members that were not reached have not been given then.
    """
    wanted = {member.number: member for member in members}
    if not wanted:
        return
    last = max(wanted)
    with _stream(path) as archive:
        for number, entry in enumerate(archive):
            if number in wanted:
                yield wanted[number], _content(archive, entry)
            if number == last:
                return


def _content(archive: tarfile.TarFile, entry: tarfile.TarInfo) -> bytes | DataError:
    if entry.size > LARGEST_MEMBER:
        return DataError(f"has {entry.size} bytes, at most {LARGEST_MEMBER} of an image in an archive are read")
    file = archive.extractfile(entry) if entry.isreg() else None
    if file is None:
        return DataError("is no regular file of the archive any more: has it changed?")
    return file.read()


@contextmanager
def _stream(path: Path) -> Iterator[tarfile.TarFile]:
    """An archive that is read forwards alone, of any compression that Python knows."""
    with open_input(path, "archive") as file:
        try:
            with tarfile.open(fileobj=file, mode="r|*") as archive:
                yield archive
        except (tarfile.TarError, EOFError, OSError, ValueError) as error:
            if isinstance(error, DataError):
                raise
            raise DataError(f"cannot be read as a tar archive: {error}; cut off, or of another format?") from error
