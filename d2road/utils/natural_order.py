"""Natural order of names: "2" before "10"."""

import re


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Sort key that takes digits in a name as numbers."""
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", name) if part]
