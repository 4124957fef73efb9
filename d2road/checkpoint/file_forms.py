"""Forms of weights files, told by their content, and damage that their checksums show.

A file of `torch.save` is a zip archive that keeps a CRC-32 of each entry, which torch's own reader does not compare.
"""

import tarfile
import zipfile
from pathlib import Path
from typing import IO

from d2road.utils.errors import CheckpointError
from d2road.utils.input_files import open_input

ZIP_MARK = b"PK\x03\x04"
LEGACY_MARK = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."  # torch.save before 1.6: its magic number, pickled
LFS_MARK = b"version https://git-lfs.github.com/spec"
TORCHSCRIPT_ENTRIES = ("constants.pkl", "bytecode.pkl")
CHUNK = 1 << 20
LONGEST_HEADER = 100_000_000  # bytes, of safetensors' own reader

ZIP, LEGACY, SAFETENSORS, PICKLE = "zip", "legacy", "safetensors", "pickle"


def form_of(path: Path, name: str) -> str:
    """What kind of weights file this is: ZIP (torch.save), LEGACY (torch.save before 1.6), SAFETENSORS or PICKLE.

    Raises:
        FileNotFoundError, DataError: no regular file.
        CheckpointError: TorchScript, the tar form of torch's first versions, a pointer of Git LFS, another archive.
    """
    with open_input(path, "weights file") as file:
        head = file.read(512)
        if head.startswith(ZIP_MARK):
            _check_entries(file, name)
            return ZIP
        if head.startswith(LFS_MARK):
            raise CheckpointError(f"{name}: a pointer of Git LFS, not the file itself: fetch it with `git lfs pull`")
        if head.strip(b"\0") and _is_tar(file):
            raise CheckpointError(
                f"{name}: refused, because it is a tar archive, the form that torch.save had in its first versions, "
                "whose reader cannot be kept from running what is inside. Load it with the torch it is from and save "
                "its state dict anew"
            )
    if head.startswith(LEGACY_MARK):
        return LEGACY
    # The first byte is the lowest of the header's length, and in one file of 32 that of a pickle.
    is_pickle = head[:1] == b"\x80" and int.from_bytes(head[:8], "little") > LONGEST_HEADER
    return SAFETENSORS if head[8:9] == b"{" and not is_pickle else PICKLE


def _is_tar(file: IO[bytes]) -> bool:
    file.seek(0)
    try:
        with tarfile.open(fileobj=file, mode="r:"):
            return True
    except tarfile.TarError:
        return False


def _check_entries(file: IO[bytes], name: str) -> None:
    """Refuse zip archives that are no files of `torch.save`, by the names of their entries."""
    try:
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
    except Exception:  # damaged; told by the caller's check
        return
    inner = [entry.partition("/")[2] for entry in names]
    if any(entry in TORCHSCRIPT_ENTRIES or entry.startswith("code/") for entry in inner):
        raise CheckpointError(
            f"{name}: refused, because it is a TorchScript archive: a program, not weights alone. Load it where it was "
            "made with torch.jit.load and save its state_dict() with torch.save"
        )
    if "data.pkl" not in inner:
        held = ", ".join(names[:5]) or "nothing"
        raise CheckpointError(f"{name}: a zip archive of another kind than torch.save writes, it holds {held}")


def find_damage(path: Path) -> str | None:
    """What is wrong with a file of `torch.save`, or None if it is complete and its checksums are right.

    Files that were written without checksums (torch.serialization.set_crc32_options) have zeros in their place, and
    only their directory is checked.
    """
    entry = None
    # Whatever a damaged directory of the archive leads to: names in no encoding, unknown methods, places outside.
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            checked = any(entry.CRC for entry in entries)
            for entry in entries:
                with archive.open(entry) as content:
                    while checked and content.read(CHUNK):
                        pass
    except Exception as error:
        where = f" in {entry.filename}" if entry is not None else ""
        return f"{type(error).__name__}{where}: {error}"
    return None


def require_undamaged(path: Path, name: str) -> None:
    """Raise CheckpointError, with the entry's name, unless the checksums of a file of `torch.save` are right."""
    damage = find_damage(path)
    if damage is not None:
        raise CheckpointError(f"{name}: damaged, truncated or not a weights file ({damage}); fetch or save it anew")
