"""KITTI's text rows: labels with 15 fields, predictions with a score as 16th. Reading them is data's part."""

from collections.abc import Sequence

from d2road.utils.errors import DataError


def format_kitti_row(
    kind: str,
    box_xyxy: Sequence[float],
    row: Sequence[float],
    alpha: float,
    truncated: float | None = -1,
    occluded: int = -1,
    score: float | None = None,
    decimals: int = 2,
) -> str:
    """One line of a KITTI text file, without line end:

        type truncated occluded alpha x1 y1 x2 y2 h w l x y z ry [score]

    Args:
        kind: type, one word.
        box_xyxy: in pixels.
        row: x, y, z (bottom centre, m), h, w, l (m), ry (rad).
        alpha: rad.
        truncated, occluded: -1 in predictions, which do not tell; None is written as -1 without decimals.
        score: None for labels.
        decimals: of all but occluded; KITTI's own labels have 2. Scores get 4 more, so that few are equal.
    Raises:
        ValueError: a type that is not one word, or a wrong count of numbers.
    """
    if len(kind.split()) != 1 or len(box_xyxy) != 4 or len(row) != 7:
        raise DataError(f"a row needs a type of one word, 4 and 7 numbers; got {kind!r}, {list(box_xyxy)}, {list(row)}")
    x, y, z, h, w, l, ry = row  # noqa: E741
    numbers = " ".join(f"{float(v):.{decimals}f}" for v in (alpha, *box_xyxy, h, w, l, x, y, z, ry))
    cut = "-1" if truncated is None else f"{float(truncated):.{decimals}f}"
    text = f"{kind} {cut} {int(occluded)} {numbers}"
    return text if score is None else f"{text} {float(score):.{decimals + 4}f}"
