"""Finding a config file by its path or by its name below `configs/`, from any folder."""

import os
from pathlib import Path

from d2road.utils.registry import nearest

PACKAGE = Path(__file__).resolve().parent.parent


def configs_dir() -> Path:
    """The folder of the configs: package data of `d2road.configs` in a wheel, `configs/` of a checkout."""
    packaged = PACKAGE / "configs"
    return packaged if packaged.is_dir() else PACKAGE.parent / "configs"


def find_config(name: str | os.PathLike) -> str:
    """The path of a config file.

    Args:
        name: a path; or one below `configs/` of this project, with or without that first part, such as
            `diffusion_det/toy_roadside/demo.yaml`.
    Raises:
        FileNotFoundError: there is none; names the nearest ones.
    """
    if os.path.isfile(name):
        return os.fspath(name)
    root = configs_dir()
    below = Path(name).as_posix().removeprefix("./").removeprefix("configs/")
    if (root / below).is_file():
        return str(root / below)
    known = [path.relative_to(root).as_posix() for path in root.rglob("*.yaml")]
    near = nearest(below, known) or nearest_file_name(below, known)
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    raise FileNotFoundError(
        f"config file {os.fspath(name)} does not exist (looked from {os.getcwd()} and below {root}){hint}"
    )


def find_base(path: str) -> str:
    """The path of a `_BASE_` file: `path`, or the file below `configs/` that it ends with the name of.

    Detectron2 takes bases as relative to the file that names them, so a name below `configs/` comes behind its folder.
    """
    parts = path.split("/")
    named = [configs_dir().joinpath(*parts[start:]) for start in range(len(parts) - 1) if parts[start]]
    found = [str(file) for file in named if file.is_file()]
    return found[0] if found and not os.path.isfile(path) else path


def nearest_file_name(name: str, known: list[str]) -> list[str]:
    """Those of `known`, up to three, whose last part looks most like that of `name`, whatever their folders."""
    names = nearest(Path(name).name, {Path(path).name for path in known})
    return [path for wanted in names for path in sorted(known) if Path(path).name == wanted][:3]
