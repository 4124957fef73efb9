"""Several errors of one file told together."""

SHOWN = 5  # errors listed in a message


def raise_defects(defects: list[str], source: str) -> None:
    """Raise a ValueError that lists the first several of these structural errors, if there are any."""
    if defects:
        more = f"\n  ... and {len(defects) - SHOWN} more" if len(defects) > SHOWN else ""
        listed = "\n".join(f"  {text}" for text in defects[:SHOWN])
        raise ValueError(f"{source}: {len(defects)} error{'s' * (len(defects) > 1)}:\n{listed}{more}")
