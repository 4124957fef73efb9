"""State of a PatchCore model: its memory bank, its thresholds, and what they belong to and promise."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from d2road.utils.errors import CheckpointError
from d2road.utils.text_tensors import decode, encode
from efficientad.conformal import Guarantee, guarantee_from_json
from efficientad.good_scores import StateWithGoodScores
from efficientad.modeling.memory_bank import MemoryBank

TRAIN = "d2road train --config-file CONFIG"
# On good images of the user's choice; in the other precision.
RECALIBRATE = "d2road export --precision {precision} --config-file CONFIG --weights IN --calibrate-on FOLDER OUT.pth"
EXPORT = "d2road export --precision {precision} --config-file CONFIG --weights IN OUT.pth"
# Names and empty values of the tensors of a bank, see `MemoryBank.state`.
BUFFERS: dict[str, dict[str, Tensor]] = {
    "fp32": {"vectors": torch.zeros(0, 0)},
    "int8": {"codes": torch.zeros(0, 0, dtype=torch.int8), "scales": torch.zeros(0), "offsets": torch.zeros(0)},
}
IMAGES = {"images": torch.zeros(0, dtype=torch.int64)}
NO_DIGESTS = torch.zeros(0, 8, dtype=torch.uint8)
GUARANTEE_LENGTH = 512


def describe_setting(image_size: tuple[int, int], neighbours: int, blur: float) -> str:
    """What scores and maps depend on beside the bank and its extractor, as checkpoints say it."""
    size = f"{image_size[0]} x {image_size[1]} pixels" if all(image_size) else "their own size"
    return f"images of {size}, {neighbours} neighbours, a blur of {blur:g} pixels"


class BankState(StateWithGoodScores):
    """Buffers that are saved in every checkpoint. Letters: M vectors of C channels.

    vectors (M, C) in fp32, or codes (M, C), scales and offsets (C,) in int8: of the bank; images (M,): number of the
    training image that each vector comes from, of an accepted image its id with a minus; digests (I, 8): of the pixels
    of the training images, see `bank_fit.image_digest`; by_image: whether the vectors
    of an image were chosen without a look at the others, or are all; threshold: score that good images rarely exceed;
    map_threshold: likewise of the values of a map; map_start: value that nine in ten of those of good images are below;
    audit: the audit trail. As text features: what the extractor is; calibrated_for: the setting of the thresholds;
    promise: their guarantee as JSON; architecture: what a vector means. M is 0, and the first three texts are empty,
    until the model is fitted.

    Args:
        architecture: by key of the config. A state dict of another one is refused.
        setting: see `describe_setting`.
        precision: of the bank, fp32 or int8.
        search: how neighbours are found, see `NeighbourSearch`; not saved, since the results are the same.
    """

    images: Tensor
    digests: Tensor
    audit: Tensor
    by_image: Tensor
    threshold: Tensor
    map_threshold: Tensor
    map_start: Tensor

    def __init__(self, architecture: Mapping[str, object], setting: str, precision: str = "fp32", search: str = "auto"):
        super().__init__()
        self.setting, self.precision, self.search = setting, precision, search
        for name, empty in (BUFFERS[precision] | IMAGES).items():
            self.register_sized_by_data(name, empty.clone())
        self.register_sized_by_data("digests", NO_DIGESTS.clone())
        self.register_buffer("by_image", torch.tensor(False))
        for name in ("threshold", "map_threshold", "map_start"):
            self.register_buffer(name, torch.tensor(math.inf))
        self.register_text("features", "")
        self.register_text("calibrated_for", "")
        self.register_text("promise", "", GUARANTEE_LENGTH)
        self.register_sized_by_data("audit", torch.zeros(0, dtype=torch.uint8))
        described = {**architecture, "PRECISION": precision}
        self.register_text("architecture", ";".join(f"{key}={value}" for key, value in described.items()))
        self._bank: MemoryBank | None = None
        self._has_threshold: bool | None = None

    @property
    def bank(self) -> MemoryBank:
        """The memory bank.

        Raises:
            CheckpointError: there is none, or a damaged one.
        """
        if self._bank is None:
            if not len(self.images):
                raise CheckpointError(f"this model has no memory bank yet: fit it with {TRAIN}")
            tensors = {name: self.get_buffer(name) for name in BUFFERS[self.precision] | IMAGES}
            *rows, images = (tensors[name] for name in ("vectors", "codes", "images") if name in tensors)
            sizes = {value.shape[-1] for name, value in tensors.items() if name != "images"}
            finite = all(bool(torch.isfinite(value).all()) for value in tensors.values())
            if len(rows[0]) != len(images) or len(sizes) > 1 or not finite:
                shapes = ", ".join(f"{name} {tuple(value.shape)}" for name, value in tensors.items())
                raise CheckpointError(f"the memory bank is damaged ({shapes}): take another file, or fit a new bank")
            self._bank = MemoryBank.from_state(tensors, self.search)
        return self._bank

    @property
    def has_threshold(self) -> bool:
        """Whether there is a decision threshold."""
        if self._has_threshold is None:
            self._has_threshold = bool(torch.isfinite(self.threshold))
        return self._has_threshold

    @property
    def guarantee(self) -> Guarantee | None:
        """What the threshold promises; None before the model is calibrated."""
        text = self.text("promise")
        return guarantee_from_json(text, "the guarantee in the checkpoint") if text else None

    def vectors_of(self, image: int) -> Tensor:
        """The vectors (m, C) of the bank that come from a training image."""
        own = self.images == image
        if self.precision == "fp32":
            return self.get_buffer("vectors")[own]
        return self.get_buffer("codes")[own] * self.get_buffer("scales") + self.get_buffer("offsets")

    def set_bank(
        self,
        vectors: Tensor,
        images: Tensor,
        features: str,
        by_image: bool = False,
        digests: Tensor = NO_DIGESTS,
    ) -> None:
        """Take over a bank; thresholds of the one before are void.

        Args:
            vectors: (M, C).
            images: (M,), numbers of training images.
            features: what to call the extractor.
            by_image, digests: see the class.
        """
        device = self.threshold.device
        self._take_bank(MemoryBank(vectors.to(device), self.precision, images.to(device), self.search))
        self.set_audit_trail("")
        self.by_image.fill_(by_image)
        self.digests = digests.to(device)
        self.set_thresholds(math.inf, math.inf, math.inf, None)
        self.set_text("features", features)

    def set_thresholds(
        self, threshold: float, map_threshold: float, map_start: float, guarantee: Guarantee | None
    ) -> None:
        """Take over what was calibrated under the present setting; a guarantee of None voids it all."""
        self.threshold.fill_(threshold)
        self.map_threshold.fill_(map_threshold)
        self.map_start.fill_(map_start)
        self.set_good_scores([])
        self.forget_decoded()
        self.set_text("promise", guarantee.to_json() if guarantee else "")
        self.set_text("calibrated_for", self.setting if guarantee else "")

    @property
    def audit_trail(self) -> str:
        """JSON lines of what was accepted, see `d2road.engine.audit_trail`; "" for nothing."""
        return decode(self.audit)

    def set_audit_trail(self, text: str) -> None:
        """Replace the lines."""
        self.audit = encode(text, len(text.encode("utf-8"))).to(self.threshold.device)

    @property
    def is_by_image(self) -> bool:
        """`by_image` as a bool."""
        return bool(self.by_image)

    @property
    def has_accepted_images(self) -> bool:
        """Whether the bank holds vectors of images that were accepted after the training."""
        return bool((self.images < 0).any())

    def add_image(self, vectors: Tensor, image_id: int) -> None:
        """Add the vectors (m, C) of an accepted image; thresholds stay, without guarantee."""
        numbers = torch.full((len(vectors),), -image_id, device=self.images.device)
        rows = torch.cat([self.bank.vectors, vectors.to(self.threshold.device, torch.float32)])
        self._take_bank(MemoryBank(rows, self.precision, torch.cat([self.images, numbers]), self.search))
        self._void_guarantee("good images were accepted since the threshold was set")

    def remove_image(self, image_id: int) -> int:
        """Take back the vectors of an accepted image; returns their number. Thresholds stay, without guarantee."""
        kept = self.images != -image_id
        tensors = self.bank.state()
        rows = {name: value[kept] for name, value in tensors.items() if name in ("vectors", "codes", "images")}
        self._take_bank(MemoryBank.from_state(tensors | rows, self.search))
        self._void_guarantee("an accepted image was removed since the threshold was set")
        return int((~kept).sum())

    def _take_bank(self, bank: MemoryBank) -> None:
        for name, value in bank.state().items():
            setattr(self, name, value.clone())
        self._bank = None

    def _void_guarantee(self, reason: str) -> None:
        if self.guarantee is not None:
            self.set_text("promise", self.guarantee.void(reason).to_json())
        self.set_good_scores([])  # those of another bank

    def require_calibration(self) -> None:
        """Raise CheckpointError, with the cure, unless there is a bank that is calibrated for the present setting."""
        assert self.bank is not None  # raises where there is none
        found, cure = self.text("calibrated_for"), RECALIBRATE.format(precision=self.precision)
        if not found:
            raise CheckpointError(f"this model is not calibrated, so that its scores have no threshold: {cure}")
        if found != self.setting:
            raise CheckpointError(
                f"this model is calibrated for {found}, the config says {self.setting}. Set the config back, or "
                f"calibrate anew: {cure}"
            )
        if not all(bool(torch.isfinite(value)) for value in (self.threshold, self.map_threshold, self.map_start)):
            raise CheckpointError(f"the thresholds of this model are NaN or infinite: take another file, or {cure}")

    def check_stored(self, stored: Mapping[str, str]) -> None:
        """Raise CheckpointError for a bank of other features, or in another precision."""
        own, theirs = self.text("architecture"), stored.get("architecture", "")
        (what, _, ours), (what_theirs, _, precision) = (text.rpartition(";PRECISION=") for text in (own, theirs))
        if theirs and what_theirs != what:
            raise CheckpointError(
                f"this checkpoint holds a memory bank of {_words(what_theirs)}, the config says {_words(what)}: "
                "features of different networks do not compare. Set MODEL.PATCHCORE as it was, or fit a new bank "
                "without MODEL.WEIGHTS"
            )
        if theirs and precision != ours:
            raise CheckpointError(
                f"this checkpoint holds a memory bank in {precision}, MODEL.PATCHCORE.PRECISION is {ours}: set it to "
                f"{precision}, or change the bank: {EXPORT.format(precision=ours)}"
            )

    def forget_decoded(self) -> None:
        """To be called when the buffers were written to directly."""
        super().forget_decoded()
        self._bank = self._has_threshold = None

    def _apply(self, fn, recurse: bool = True) -> nn.Module:  # type: ignore[no-untyped-def]  # as torch has it
        self._bank = None  # it is on the device of before
        return super()._apply(fn, recurse)


def _words(architecture: str) -> str:
    return architecture.replace(";", ", ").replace("=", " ")
