"""Pasted defects: good images made defective, for choosing keys and thresholds where nothing defective may be seen."""

from d2road.synthetic.pasted_defects.defect_kinds import DEFECT_KINDS
from d2road.synthetic.pasted_defects.paste import KINDS, Difficulty, PastedDefect, paste_defect, visible_change

__all__ = ["DEFECT_KINDS", "KINDS", "Difficulty", "PastedDefect", "paste_defect", "visible_change"]
