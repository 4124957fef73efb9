"""Small input files of every kind that the verbs read, written into a folder; used by `verb_inputs`."""

import json
import pickle
import shutil
from pathlib import Path

import cv2
import numpy as np
import torch

from d2road.traffic.baselines.lasting_rules import DescribedWindows, LastingRules
from tests.factories.box_data import GOLDEN
from tests.factories.grounding_files import annotation, answer, box, expression, grounding_content
from tests.factories.stream_fcd import write_fcd

REPO = Path(__file__).resolve().parents[2]
SIZE = (96, 64)  # width, height
P2 = "80 0 48 0 0 80 20 0 0 0 1 0"
CAR = "Car 0 0 0.1 40 20 60 30 1.5 1.6 4.0 0.5 1.6 12 0.1"
GREY = 90
SIDE = 128  # of images of products, pixels; the least that the networks take


def write_image(path: Path, value: int = GREY, size: tuple[int, int] = SIZE) -> None:
    """A picture with a bright rectangle."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((size[1], size[0], 3), value, np.uint8)
    pixels[20:30, 40:60] = 200
    cv2.imwrite(str(path), pixels)


def write_video(path: Path, frames: int = 3) -> None:
    """A short MJPEG video."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 5.0, SIZE)
    for number in range(frames):
        writer.write(np.full((SIZE[1], SIZE[0], 3), 60 + 20 * number, np.uint8))
    writer.release()


def write_text(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def coco_files(root: Path) -> None:
    """annotations.json and two images, results.json of a detector over them."""
    images, annotations = [], []
    for number in range(2):
        write_image(root / "images" / f"{number}.png", GREY + number)
        images.append({"id": number + 1, "file_name": f"{number}.png", "width": SIZE[0], "height": SIZE[1]})
        entry = {"id": number + 1, "image_id": number + 1, "category_id": 1, "bbox": [40, 20, 20, 10]}
        annotations.append({**entry, "area": 200, "iscrowd": 0})
    categories = [{"id": 1, "name": "car"}, {"id": 2, "name": "bus"}]
    content = {"info": {}, "images": images, "annotations": annotations, "categories": categories}
    (root / "annotations.json").write_text(json.dumps(content))
    found = [{"image_id": 1, "category_id": 1, "bbox": [40, 20, 20, 10], "score": 0.9}]
    (root / "results.json").write_text(json.dumps(found))


def box_files(root: Path) -> None:
    """YOLO's, VOC's, Label Studio's and CVAT's files of other programs, and images/."""
    for name in ("datumaro_yolo", "globox_voc", "source"):
        shutil.copytree(GOLDEN / name, root / name)
    (root / "source" / "images").rename(root / "images")
    for path in (GOLDEN / "label_studio" / "export.json", GOLDEN / "globox_cvat.xml"):
        shutil.copy(path, root)


def kitti_files(root: Path) -> None:
    """KITTI's layout with ground planes, predictions, lists and masks of a region."""
    for number in range(2):
        frame = f"{number:06d}"
        write_image(root / "training" / "image_2" / f"{frame}.png")
        write_text(root / "training" / "label_2" / f"{frame}.txt", CAR)
        write_text(root / "training" / "calib" / f"{frame}.txt", f"P2: {P2}", "R0_rect: 1 0 0 0 1 0 0 0 1")
        write_text(root / "training" / "denorm" / f"{frame}.txt", "0 -1 0 1.6")
        write_text(root / "pred" / f"{frame}.txt", f"{CAR} 0.9")
    write_text(root / "train.txt", "000000")
    write_text(root / "val.txt", "000001")


def grounding_files(root: Path) -> None:
    """gt.json and pred.json of grounding, and the ids of Mono3DRefer's subsets."""
    write_image(root / "images" / "0.png", size=(960, 540))
    content = grounding_content([annotation(7, box(2, 20))], [expression("7-0", [7], legacy={"instanceID": 7})])
    (root / "gt.json").write_text(json.dumps(content))
    (root / "pred.json").write_text(json.dumps({"score_threshold": 0.5, "predictions": [answer("7-0", [box(2, 20)])]}))
    (root / "subsets.json").write_text(json.dumps({name: [7] for name in ("unique", "near", "easy")}))


def mono3drefer_files(root: Path) -> None:
    """One image of Mono3DRefer with a sentence."""
    write_image(root / "images" / "000007.png", size=(960, 540))
    write_text(root / "calib" / "000007.txt", "P2: 700 0 480 0 0 700 270 0 0 0 1 0")
    row = ["Car", 0.0, 0, 0.1, 440, 230, 520, 270, 1.5, 1.6, 4.0, 2, 1.6, 20, 0.1]
    record = {"im_name": "000007", "instanceID": 5, "ann_id": 0, "objectName": "car", "label_2": str(row)}
    (root / "Mono3DRefer.json").write_text(json.dumps([{**record, "description": "the car"}]))
    write_text(root / "Mono3DRefer_test_image.txt", "000007")


def monomulti3d_files(root: Path) -> None:
    """One image of MonoMulti3D-ROPE with a sentence."""
    write_image(root / "images" / "a_obstacle.jpg", size=(960, 540))
    write_text(root / "calib" / "a_obstacle.txt", "P2: 700 0 480 0 0 700 270 0 0 0 1 0")
    write_text(root / "denorm" / "a_obstacle.txt", "0 -0.97 -0.24 6.5")
    row = ["Car", 0.0, 0, 0.1, 440, 230, 520, 270, 1.5, 1.6, 4.0, 2, 1.6, 20, 0.1]
    write_text(root / "labels" / "a_obstacle.txt", " ".join(map(str, [*row, 1])))
    record = {"ann_id": 0, "image_file_name": "a_obstacle.jpg", "public_description": "the car", "label_3": [row]}
    record["public_properties"] = ["objectname : car", "distance : 20-30"]
    (root / "train.json").write_text(json.dumps([record]))


def anomaly_files(root: Path) -> None:
    """A category of MVTec AD with maps of its test images."""
    rng = np.random.default_rng(0)
    for folder, count in (("train/good", 3), ("test/good", 2), ("test/blot", 2)):
        for number in range(count):
            write_image(root / "tiles" / folder / f"{number:03d}.png", GREY + number, (SIDE, SIDE))
            if folder.startswith("test"):
                path = root / "maps" / folder / f"{number:03d}.tiff"
                path.parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(path), rng.random((SIDE, SIDE)).astype(np.float32))
    for number in range(2):
        path = root / "tiles" / "ground_truth" / "blot" / f"{number:03d}_mask.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        mask = np.zeros((SIDE, SIDE), np.uint8)
        mask[20:30, 40:60] = 255
        cv2.imwrite(str(path), mask)
    (root / "good_maps").mkdir()
    np.save(root / "good_maps" / "000.npy", rng.random((SIDE, SIDE)).astype(np.float32))


def loco_files(root: Path) -> None:
    """A category of MVTec LOCO with defects_config.json and maps."""
    anomaly_files(root)
    truth = root / "tiles" / "ground_truth" / "blot"
    for number in range(2):
        (truth / f"{number:03d}").mkdir()
        (truth / f"{number:03d}_mask.png").rename(truth / f"{number:03d}" / "000.png")
    defect = {"defect_name": "blot", "pixel_value": 255, "saturation_threshold": 100, "relative_saturation": False}
    (root / "tiles" / "defects_config.json").write_text(json.dumps([defect]))


def visa_files(root: Path) -> None:
    """VisA as released, one category."""
    rows = ["object,split,label,image,mask"]
    parts = [("train", "normal")] * 3 + [("test", "normal"), ("test", "anomaly")]
    for number, (split, label) in enumerate(parts):
        name = f"candle/Data/Images/{label}/{number}.png"
        write_image(root / name, size=(SIDE, SIDE))
        mask = f"candle/Data/Masks/{label}/{number}.png" if label == "anomaly" else ""
        if mask:
            write_image(root / mask, 0, (SIDE, SIDE))
        rows.append(f"candle,{split},{label},{name},{mask}")
    write_text(root / "split_csv" / "1cls.csv", *rows)


def fitted_rules() -> LastingRules:
    """Rules of made-up good windows."""
    rng = np.random.default_rng(0)
    return LastingRules().fit_described(DescribedWindows(rng.uniform(0, 3, (40, 10)), rng.uniform(5, 50, 40)))


def traffic_files(root: Path) -> None:
    """Trajectories: SUMO's FCD as XML and CSV, a plain CSV, NGSIM's text, highD's three tables, MOT with its road."""
    write_fcd(root / "fcd.xml", 40)
    rows = [(k, round(0.1 * i, 1), 5 + 2.0 * (i - 10 * k)) for k in range(4) for i in range(10 * k, 10 * k + 80)]
    write_text(root / "cars.csv", "vehicle,t,s,speed,length", *(f"{k},{t},{s},20,4" for k, t, s in rows))
    write_text(
        root / "fcd.csv",
        "timestep_time;vehicle_id;vehicle_lane;vehicle_pos;vehicle_speed;vehicle_type;vehicle_x;vehicle_y",
        *(f"{t:.2f};v{k};m_0;{s:.2f};20.00;car;{s:.2f};0.00" for k, t, s in sorted(rows, key=lambda row: row[1])),
    )
    ngsim = [f"{k + 1} {round(10 * t) + 1} 80 {1000000 + round(t * 1000)} 20 {s / 0.3048:.2f} 0 0 15 6 2 65 0 2 0 0 0 0"
             for k, t, s in rows]  # fmt: skip
    write_text(root / "trajectories-0400.txt", *ngsim)
    write_text(
        root / "01_tracks.csv",
        "frame,id,x,y,width,height,xVelocity,yVelocity,xAcceleration,yAcceleration,laneId",
        *(f"{round(25 * t) + 1},{k + 1},{s},10,4,2,20,0,0,0,5" for k, t, s in rows if round(250 * t) % 10 == 0),
    )
    write_text(root / "01_tracksMeta.csv", "id,class,drivingDirection", *(f"{k + 1},Car,2" for k in range(4)))
    write_text(
        root / "01_recordingMeta.csv",
        "id,frameRate,upperLaneMarkings,lowerLaneMarkings,speedLimit",
        "1,25,8.5;12.5;16,21;25;29,-1",
    )
    write_text(root / "axis.txt", "0 0", "600 0")
    rules = {"threshold": 1e9, "method": "rules", "rules": fitted_rules().to_json()}
    (root / "rules.json").write_text(json.dumps(rules))


def watched_files(root: Path) -> None:
    """Of a watched camera: its calibration, its tracks, and fitted rules."""
    from tests.factories.watched_tracks import fitted_camera_rules, flow, write_camera

    write_camera(root)
    flow(60).to_parquet(root / "tracks.parquet")
    rules = {"threshold": 1e9, "rate": 1.0, "method": "rules_camera", "rules": fitted_camera_rules().to_json()}
    (root / "rules.json").write_text(json.dumps(rules))


def tracked_files(root: Path) -> None:
    """clip.mp4 of a second, with camera.yaml, detections.csv and frames.csv."""
    from tests.factories.tracked_video import make_clip

    make_clip(root, [i / 10 for i in range(10)])


def tracked_folder(root: Path) -> None:
    """`tracked_files`, and the folder tracks that `d2road track` makes of them."""
    from d2road.cli.track import main

    tracked_files(root)
    words = {"input": "clip.mp4", "calib": "camera.yaml", "detections": "detections.csv", "output": "tracks"}
    line = [word for name, file in words.items() for word in (f"--{name}", str(root / file))]
    if main([*line, "--no-video"]):
        raise RuntimeError("the clip cannot be tracked")


def searched_files(root: Path) -> None:
    """tracks.parquet of half a minute of a street, and camera.yaml."""
    from d2road.data.roadside_camera_files import write_camera
    from tests.factories.searched_tracks import street, street_camera

    street().to_parquet(root / "tracks.parquet")
    write_camera(root / "camera.yaml", street_camera())


def calibration_files(root: Path) -> None:
    """Of a simulated camera: boxes.csv of 20 s of traffic, map.csv and calib.txt with K."""
    from d2road.traffic.calibration.simulated_traffic import draw_camera, simulate_traffic

    generator = np.random.default_rng([7, 5])
    camera = draw_camera(generator)
    simulate_traffic(camera, generator, seconds=20.0).rows.to_csv(root / "boxes.csv", index=False)
    ground = np.array([[-4.0, 18], [5, 16], [-6, 60], [7, 55], [0, 30]])
    rows = np.concatenate([camera.ground_to_image(ground), ground], axis=1)
    np.savetxt(root / "map.csv", rows, delimiter=",", header="u,v,x,y", comments="", fmt="%.3f")
    numbers = np.concatenate([camera.K, np.zeros((3, 1))], axis=1).reshape(-1)
    (root / "calib.txt").write_text("P2: " + " ".join(f"{value:.6f}" for value in numbers) + "\n")


def run_files(root: Path) -> None:
    """The folder `run` of a finished run, with the images of its examples."""
    from tests.factories.run_folders import write_run

    write_run(root)


def detector_files(root: Path) -> None:
    """config.yaml and weights.pth of an untrained detector with two classes, an image, a calibration, a video."""
    from detectron2.modeling import build_model

    from d2road.config import make_cfg

    text = f"""
_BASE_: "{REPO}/configs/diffusion_det/Base-Small.yaml"
MODEL:
  DEVICE: "cpu"
  WEIGHTS: "{root}/weights.pth"
  TIMM: {{WEIGHTS: ""}}
  DiffusionDet: {{NUM_CLASSES: 2, TEST_NUM_PROPOSALS: 5, NUM_PROPOSALS: 5, NUM_HEADS: 1, HIDDEN_DIM: 32}}
  FPN: {{OUT_CHANNELS: 32}}
INPUT: {{MIN_SIZE_TEST: 64, MIN_SIZE_TRAIN: [64]}}
DATASETS:
  TRAIN: ["coco:{root}/annotations.json:{root}/images"]
  TEST: ["coco:{root}/annotations.json:{root}/images"]
DATALOADER: {{NUM_WORKERS: 0}}
SOLVER: {{MAX_ITER: 1, IMS_PER_BATCH: 1, WARMUP_ITERS: 0}}
OUTPUT_DIR: "{root}/run"
VERSION: 2
"""
    (root / "config.yaml").write_text(text)
    coco_files(root)
    torch.manual_seed(0)
    model = build_model(make_cfg(str(root / "config.yaml")))
    torch.save({"model": model.state_dict()}, root / "weights.pth")
    write_image(root / "image.png")
    write_video(root / "clip.avi")
    write_text(root / "calib.txt", f"P2: {P2}")
    write_text(root / "denorm.txt", "0 -1 0 1.6")


def anomaly_model_files(root: Path) -> None:
    """config.yaml and weights.pth of an untrained, calibrated anomaly detector, with a category and traffic."""
    from tests.factories.anomaly_models import calibrated, small_cfg

    anomaly_files(root)
    traffic_files(root)
    data = f"mvtec:{root}/tiles"
    pairs = ("INPUT.IMAGE_SIZE", (SIDE, SIDE), "DATASETS.TRAIN", (data,), "DATASETS.TEST", (f"{data}:test",))
    pairs += ("MODEL.WEIGHTS", f"{root}/weights.pth", "OUTPUT_DIR", f"{root}/run", "TEST.ANOMALY.BOOTSTRAP", 0)
    pairs += ("SOLVER.MAX_ITER", 1, "SOLVER.STEPS", ())
    torch.save({"model": calibrated(*pairs).state_dict()}, root / "weights.pth")
    (root / "config.yaml").write_text(small_cfg(*pairs).dump())
    write_image(root / "image.png", size=(SIDE, SIDE))
    (root / "calibration.json").write_text(json.dumps({"threshold": 1e9, "rate": 1.0}))


def exported_files(root: Path) -> None:
    """model.onnx, which holds two test images."""
    from tests.factories.exported_files import onnx_file
    from tests.factories.exported_graphs import grey_graph

    root.mkdir(parents=True, exist_ok=True)
    onnx_file(grey_graph(), root)


def bank_model_files(root: Path) -> None:
    """config.yaml and weights.pth of a fitted PatchCore, with a category, and an image that is not in its bank."""
    from detectron2.modeling import build_model

    from tests.factories.bank_models import bank_cfg

    anomaly_files(root)
    data = f"mvtec:{root}/tiles"
    pairs = ("DATASETS.TRAIN", (data,), "DATASETS.TEST", (f"{data}:test",), "OUTPUT_DIR", f"{root}/run")
    cfg = bank_cfg(*pairs, "MODEL.WEIGHTS", f"{root}/weights.pth", "TEST.ANOMALY.BOOTSTRAP", 0)
    torch.manual_seed(0)
    model = build_model(cfg).eval()
    model.fit(cfg)
    torch.save({"model": model.state_dict()}, root / "weights.pth")
    (root / "config.yaml").write_text(cfg.dump())
    write_image(root / "image.png", size=(SIDE, SIDE))
    write_image(root / "unseen" / "000.png", GREY + 50, (SIDE, SIDE))


def anomalib_files(root: Path) -> None:
    """A checkpoint in the form of anomalib's EfficientAD, published width; the real program is not installed."""
    from tests.factories.anomaly_models import build

    networks = build("MODEL.EFFICIENT_AD.AUTOENCODER", "conv", "INPUT.IMAGE_SIZE", (256, 256)).networks
    names = {"teacher": networks.teacher, "student": networks.student, "ae": networks.autoencoder}
    state = {f"model.{part}.{k}": v for part, net in names.items() for k, v in net.state_dict().items()}
    state |= {"model.mean_std.mean": torch.rand(1, 8, 1, 1), "model.mean_std.std": torch.rand(1, 8, 1, 1) + 0.5}
    for number, name in enumerate(("qa_st", "qb_st", "qa_ae", "qb_ae")):
        state[f"model.quantiles.{name}"] = torch.tensor(0.25 + 0.5 * number)
    content = {"state_dict": state, "hyper_parameters": {}, "pytorch-lightning_version": "2.5"}
    torch.save(content, root / "model.ckpt", pickle_protocol=pickle.DEFAULT_PROTOCOL)
