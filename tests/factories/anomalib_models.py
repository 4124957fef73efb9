"""Checkpoints of the real anomalib with what it makes of an image, kept beside its environment."""

import hashlib
from pathlib import Path

from tests.factories.peers import peer_python, run_peer

# name: (padding, pad_maps, height x width); "trained" goes through anomalib's Engine, the others through Lightning's
# saving of a model that was made ready alike.
VARIANTS = {
    "trained": (False, True, (256, 256)),
    "padded": (True, True, (256, 256)),
    "padded_bare": (True, False, (256, 256)),
    "bare_oblong": (False, False, (300, 330)),
}

PROGRAM = '''
"""Arguments: OUT, then NAME PADDING PAD_MAPS HEIGHT WIDTH of each; writes NAME.ckpt, NAME.pt (images, maps, ...)."""
import logging, sys
from pathlib import Path

import numpy as np
import torch
from anomalib.data import Folder
from anomalib.engine import Engine
from anomalib.models import EfficientAd
from anomalib.pre_processing import PreProcessor
from PIL import Image
from torchvision.transforms.v2 import Compose, Resize


class Offline(EfficientAd):
    def prepare_pretrained_model(self):
        """Its teacher keeps random weights: nothing is fetched."""


def write_images(folder, size, rng):
    for name, count in (("good", 3), ("bad", 2)):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            image = rng.integers(90, 166, (*size, 3), dtype=np.uint8)
            if name == "bad":
                image[60:140, 60:140] = 0
            Image.fromarray(image).save(folder / name / f"{number}.png")


def main(out, name, padding, pad_maps, height, width):
    logging.disable(logging.WARNING)
    out, size = Path(out), (int(height), int(width))
    torch.manual_seed(0)
    images = out / f"images_{height}x{width}"
    write_images(images, size, np.random.default_rng(0))
    model = Offline(
        imagenet_dir=images, teacher_out_channels=8, padding=padding == "True", pad_maps=pad_maps == "True",
        pre_processor=PreProcessor(Compose([Resize(size, antialias=True)])), visualizer=False, evaluator=False,
    )
    data = Folder("x", root=images, normal_dir="good", abnormal_dir="bad", train_batch_size=1, eval_batch_size=1,
                  num_workers=0, val_split_mode="same_as_test", test_split_ratio=0.4, seed=0)
    options = dict(default_root_dir=out, logger=False, accelerator="cpu", enable_progress_bar=False, devices=1,
                   enable_model_summary=False, barebones=False)
    engine = Engine(max_steps=-1, max_epochs=1, **options)
    if name == "trained":
        engine.fit(model, datamodule=data)
    else:  # only what its validation measures
        data.setup()
        model.model.mean_std.update(model.teacher_channel_mean_std(data.train_dataloader()))
        engine._setup_trainer(model)
        engine.trainer.validate(model, datamodule=data, verbose=False)
    engine.trainer.save_checkpoint(out / f"{name}.ckpt")
    model = model.eval()
    files = sorted(images.glob("*/*.png"))
    batch = torch.stack([torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1) for file in files])
    with torch.no_grad():
        raw = model.model(batch.float() / 255)
        labels = model.post_processor(raw).pred_label
    torch.save({"images": batch, "maps": raw.anomaly_map[:, 0], "scores": raw.pred_score.flatten(),
                "labels": labels.flatten()}, out / f"{name}.pt")


for start in range(2, len(sys.argv), 5):
    main(sys.argv[1], *sys.argv[start : start + 5])
'''


def anomalib_model(name: str) -> tuple[Path, Path]:
    """A checkpoint of a variant and what anomalib makes of its images; all are made on first use."""
    environment = Path(peer_python("anomalib")).parents[1]
    folder = environment / "models" / hashlib.sha256(PROGRAM.encode()).hexdigest()[:12]
    if not all((folder / f"{variant}.pt").is_file() for variant in VARIANTS):  # each is written last
        folder.mkdir(parents=True, exist_ok=True)
        variants = [str(part) for key, (*flags, size) in VARIANTS.items() for part in (key, *flags, *size)]
        run_peer("anomalib", PROGRAM, folder, *variants)
    return folder / f"{name}.ckpt", folder / f"{name}.pt"
