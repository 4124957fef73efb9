"""One frame in Rope3D's layout with a prediction that is right."""

from pathlib import Path

ROW = "car 0 0 0.1 100 300 200 360 1.5 1.8 4.4 2 3 30 0.2"


def write_rope_folder(root: Path) -> None:
    """label_2, pred, calib and denorm below `root`."""
    texts = {
        "label_2": f"{ROW}\n",
        "pred": f"{ROW} 0.9\n",
        "calib": "P2: 2000 0 960 0 0 2000 540 0 0 0 1 0\n",
        "denorm": "0 -0.98 -0.2 6\n",
    }
    for name, text in texts.items():
        (root / name).mkdir()
        (root / name / "000000.txt").write_text(text)


def rope_arguments(root: Path, *more: str) -> list[str]:
    """The command line of `d2road eval-rope` for it."""
    names = {"--gt": "label_2", "--pred": "pred", "--calib": "calib", "--denorm": "denorm"}
    return [str(word) for option, name in names.items() for word in (option, root / name)] + list(more)
