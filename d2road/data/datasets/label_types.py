"""Mapping of the types of label files to classes, crowds and ignored objects."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from d2road.utils.errors import DataError
from d2road.utils.input_files import text_lines

DONT_CARE = "DontCare"


@dataclass(frozen=True)
class LabelTypes:
    """The types that a label file may hold and what becomes of them.

    Args:
        members: class -> its types, in the order of the classes.
        crowds: type -> classes of which it is a crowd: not trained on, and detections on it count neither way.
        others: types of no class; `unknown*` stands for all that begin so.
    """

    members: Mapping[str, tuple[str, ...]]
    crowds: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    others: tuple[str, ...] = ()

    @property
    def classes(self) -> list[str]:
        """Class names by class index."""
        return list(self.members)

    @property
    def known(self) -> list[str]:
        """Every type, for messages."""
        return [*(kind for kinds in self.members.values() for kind in kinds), *self.crowds, *self.others]

    def knows(self, kind: str) -> bool:
        """Whether a label file may hold this type."""
        return any(kind == t or (t.endswith("*") and kind.startswith(t[:-1])) for t in self.known)

    def sort_rows(
        self, rows: list[dict], is_crowd: Callable[[dict], bool] | None = None
    ) -> tuple[list[dict], list[dict]]:
        """Divide label rows into annotations (with `category_id` and `iscrowd`) and those of no class.

        Args:
            rows: each with its `type`.
            is_crowd: tells which rows of a class are crowds besides those that their type makes crowds.
        """
        category_of = {kind: i for i, kinds in enumerate(self.members.values()) for kind in kinds}
        annotations, ignored = [], []
        for row in rows:
            kind = row["type"]
            if kind in category_of:
                crowd = is_crowd is not None and is_crowd(row)
                annotations.append({**row, "category_id": category_of[kind], "iscrowd": int(crowd)})
            elif kind in self.crowds:
                ids = [self.classes.index(name) for name in self.crowds[kind]]
                annotations += [{**row, "category_id": i, "iscrowd": 1} for i in ids]
            else:
                ignored.append(row)
        return annotations, ignored


def read_classes(path: Path) -> LabelTypes:
    """The classes of own data: a line each, with the types that belong to it if they are not just its name.

        car car van        the class car, made of the types car and van
        forklift           the class forklift, of the type of that name
        - trailer pole     types that are of no class
        # a comment

    DontCare rows are crowds of every class, as in KITTI.

    Raises:
        ValueError: no class, or a class or type that comes twice; names file and line.
    """
    members: dict[str, tuple[str, ...]] = {}
    others: list[str] = []
    seen: dict[str, int] = {DONT_CARE: 0}
    for number, line in enumerate(text_lines(path, "list of classes"), 1):
        words = line.split("#")[0].split()
        if not words:
            continue
        name, kinds = words[0], words[1:] or words[:1]
        if name in members:
            raise DataError(f"{path} line {number}: class {name!r} comes twice; list all its types on one line")
        for kind in kinds:
            if kind in seen and kind == DONT_CARE:
                raise DataError(f"{path} line {number}: {DONT_CARE} regions belong to every class; leave them out")
            if kind in seen:
                raise DataError(f"{path} line {number}: type {kind!r} is on line {seen[kind]} already")
            seen[kind] = number
        if name == "-":
            others += words[1:]
        else:
            members[name] = tuple(kinds)
    if not members:
        raise DataError(f"{path} names no class, expected lines such as 'car' or 'car car van'")
    return LabelTypes(members, {DONT_CARE: tuple(members)}, tuple(others))
