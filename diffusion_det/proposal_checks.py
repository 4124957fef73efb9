"""Contradictions between the origin of the first boxes and the other keys of DiffusionDet, each with its cure."""

from detectron2.config import CfgNode as CN

# What learned boxes cannot be combined with, by key: the value that it must have, and why.
WITHOUT_NOISE: dict[str, tuple[object, str]] = {
    "SAMPLE_STEP": (1, "are not denoised, so that there is one step"),
    "TRANSPORT": ("diffusion", "follow no path to noise"),
    "LEVEL_DENSITY": ((), "are trained at no noise level"),
    "COUPLING": ("independent", "meet no noise in training"),
    "PRIOR": ("normal", "follow no path to noise"),
    "BOX_LOSS": ("set", "are made from no object, towards which they would move"),
    "OFFICIAL_COMPAT": (False, "are not in the published code"),
    "POSE.IN_STATE": (False, "have no diffusion state to carry a pose"),
}


def proposal_problems(node: CN) -> list[str]:
    """What is wrong with MODEL.DiffusionDet.PROPOSALS and beside it."""
    from diffusion_det.proposals import PROPOSALS_REGISTRY

    name, section = node.PROPOSALS, "MODEL.DiffusionDet."
    if name not in PROPOSALS_REGISTRY:
        return [f"{section}PROPOSALS is {name!r}: choose one of {', '.join(PROPOSALS_REGISTRY.names())}"]
    kind = PROPOSALS_REGISTRY.get(name)
    if kind.denoised:
        if kind.drawn or not node.OFFICIAL_COMPAT:
            return []
        return [
            f"{section}PROPOSALS is {name!r}: the published code begins with noise alone; set OFFICIAL_COMPAT False, "
            "or PROPOSALS noise"
        ]
    problems = []
    for key, (needed, reason) in WITHOUT_NOISE.items():
        value = value_of(node, key)
        if value != needed:
            problems.append(f"{section}{key} is {value!r}: PROPOSALS {name} {reason}; set it to {needed!r}")
    if not node.DEEP_SUPERVISION and node.NUM_HEADS > 1:
        problems.append(
            f"{section}DEEP_SUPERVISION is False: the boxes of PROPOSALS {name} learn from the losses of the first "
            "stage alone; set it to True"
        )
    if node.TEST_NUM_PROPOSALS not in (-1, node.NUM_PROPOSALS):
        problems.append(
            f"{section}TEST_NUM_PROPOSALS is {node.TEST_NUM_PROPOSALS!r}: PROPOSALS {name} has as many boxes as were "
            f"learned; set it to -1, or to NUM_PROPOSALS = {node.NUM_PROPOSALS}"
        )
    return problems


def value_of(node: CN, key: str) -> object:
    """The value of a key such as "FLOW.SHIFT" below a node; lists as tuples."""
    value: object = node
    for part in key.split("."):
        value = getattr(value, part)
    return tuple(value) if isinstance(value, list) else value
