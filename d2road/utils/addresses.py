"""Addresses in the place of a file: `https://...`, `detectron2://...`, and `zoo:NAME` of the model zoo."""

ZOO = "zoo:"
SHIPPED = "d2road://"  # the form of version 0.1, read as ZOO


def is_address(path: str) -> bool:
    """Whether this is an address, which Detectron2's path manager resolves, and no path of a file."""
    return "://" in path or path.startswith(ZOO)


def zoo_name(path: str) -> str | None:
    """The name of an address of the model zoo; None for all else."""
    for prefix in (ZOO, SHIPPED):
        if path.startswith(prefix):
            return path.removeprefix(prefix)
    return None
