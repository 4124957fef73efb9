"""Memory of a long tracking run: 30 minutes of video through the whole loop.

    python -m benchmarks.video.memory_over_time --minutes 30 --fps 2      a file again and again, as fast as it goes
    python -m benchmarks.video.memory_over_time --minutes 30 --stream     a network stream with the shipped detector

A file: a short video made by FFmpeg's test source is decoded again and again; in every frame vehicles are simulated on
the ground, tracked, drawn, encoded and written, as `d2road track` does. No network runs: what a model holds does not
depend on how long it runs. RSS is read each minute of video; it is flat if the second half grows by less than
`FLAT_SHARE`.

A stream: `d2road track --input rtsp://...` with the shipped detector, in a process of its own, reads a rendered clip
that GStreamer's server on loopback sends again and again, ten frames a second, for so many minutes by the clock. Twice
the server is killed and away for `AWAY_S`. RSS of the tracking process is read each minute; the newest frame wins, so
that a slow machine looks at fewer frames.
"""

import argparse
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import psutil

from benchmarks.common.records import write_record
from benchmarks.traffic.clip_predictions import CONFIG
from d2road.data.roadside_camera_files import CAMERA_FILE
from d2road.data.tracked_camera import SUMMARY
from d2road.engine.track_run import TrackRun
from d2road.structures.road_axis import RoadAxis
from d2road.structures.roadside_camera import RoadsideCamera, plane_from_angles
from d2road.synthetic.traffic_video.steady_clip import VIDEO, make_steady_clip
from d2road.traffic.tracking.ground_detections import COLUMNS, GroundDetections
from d2road.utils.errors import ConfigError
from d2road.utils.input_files import read_json
from d2road.video import Frame, FrameSource, VideoFile
from d2road.video.h264_encoders import writes_h264_by_av
from tests.factories.stream_servers import free_port, has_rtsp_server, repeated_images, rtsp_server

SIZE = (320, 180)
SHORT_S = 20  # of the video that is repeated
FLAT_SHARE = 0.05
NOISE_M, MISSED, SPEEDS, LANES_M = 0.3, 0.1, (12.0, 30.0), (-5.25, -1.75, 1.75, 5.25)
NEAR_M, FAR_M = 12.0, 120.0
CLIP_S, STREAM_FPS = 20.0, 10
AWAY_AT, AWAY_S = (1 / 3, 2 / 3), 10.0  # of the time, when the server is killed, and for how long it is away


class RepeatedVideo(FrameSource):
    """A video again and again, with times that go on."""

    def __init__(self, path: Path, seconds: float, fps: float):
        self.name, self.fps, self.path, self.seconds = str(path), fps, path, seconds
        self.claimed = round(seconds * fps)
        self.video: VideoFile | None = None

    def __iter__(self) -> Iterator[Frame]:
        for index in range(self.claimed):
            if index % round(SHORT_S * self.fps) == 0:
                self.close()
                self.video = VideoFile(self.path)
                frames = iter(self.video)
            yield Frame(index, index / self.fps, next(frames).image_bgr)

    def close(self) -> None:
        if self.video is not None:
            self.video.close()


class SimulatedTraffic:
    """Vehicles that come at random, drive away at their speed and are found with noise; a detector of every frame."""

    def __init__(self, seed: int):
        self.rng = np.random.default_rng(seed)
        self.vehicles: list[list[float]] = []  # lane, y, speed
        self.t = 0.0

    def __call__(self, frame: Frame) -> GroundDetections:
        dt, self.t = frame.t - self.t, frame.t
        self.vehicles = [[x, y + v * dt, v] for x, y, v in self.vehicles if y < FAR_M]
        if self.rng.random() < dt / 1.5:
            self.vehicles.append([self.rng.choice(LANES_M), NEAR_M, self.rng.uniform(*SPEEDS)])
        seen = [vehicle for vehicle in self.vehicles if self.rng.random() > MISSED]
        rows = []
        for x, y, _ in seen:
            place = np.array([x, y]) + self.rng.normal(0, NOISE_M, 2)
            rows.append(
                [
                    frame.index,
                    frame.t,
                    "car",
                    0.9,
                    *place,
                    NOISE_M**2,
                    0,
                    NOISE_M**2,
                    np.pi / 2,
                    4.5,
                    1.8,
                    1.5,
                    0,
                    0,
                    9,
                    9,
                ]
            )
        return GroundDetections.from_frame(pd.DataFrame(rows, columns=COLUMNS))


def camera() -> RoadsideCamera:
    """A camera 8 m high, along a road of four lanes."""
    K = np.array([[280.0, 0, SIZE[0] / 2], [0, 280, SIZE[1] / 2], [0, 0, 1]])
    road = RoadAxis(np.pi / 2, np.array([-7.0, -3.5, 0, 3.5, 7.0]), np.ones(4, dtype=int))
    return RoadsideCamera(*SIZE, K, plane_from_angles(np.deg2rad(12), 0.0, 8.0), road=road)


def write_test_video(path: Path, fps: float) -> None:
    """SHORT_S seconds of FFmpeg's moving test image."""
    import av

    with (
        av.open(f"testsrc2=size={SIZE[0]}x{SIZE[1]}:rate={fps:g}:duration={SHORT_S + 1}", format="lavfi") as source,
        av.open(str(path), "w") as target,
    ):
        stream = target.add_stream("libx264", rate=round(fps))
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        for frame in source.decode(video=0):
            target.mux(stream.encode(frame.reformat(format="yuv420p")))
        target.mux(stream.encode(None))


def measure(minutes: float, fps: float, seed: int) -> dict:
    """RSS in MiB at each minute of video, and what the run counted."""
    process, rss = psutil.Process(), []

    with tempfile.TemporaryDirectory() as folder:
        write_test_video(Path(folder, "short.mp4"), fps)
        source = RepeatedVideo(Path(folder, "short.mp4"), 60 * minutes, fps)
        run = TrackRun(Path(folder), source, camera(), SimulatedTraffic(seed), {})

        def watched() -> Iterator[Frame]:
            for frame in source:
                if frame.index % round(60 * fps) == 0:
                    rss.append(process.memory_info().rss / 2**20)
                    print(f"{frame.t / 60:.0f} min: {rss[-1]:.1f} MiB", flush=True)
                yield frame

        record = run.run(watched())
        files = {path.name: path.stat().st_size for path in Path(folder).iterdir()}
    rss.append(process.memory_info().rss / 2**20)
    return {
        **flatness(rss),
        "frames": record["frames"],
        "tracks": record["tracks"],
        "stage_share": record["stage_share"],
        "bytes_written": files,
    }


def stream_images(folder: Path, seed: int) -> None:
    """A rendered clip of CLIP_S as images, camera.yaml beside them."""
    make_steady_clip(folder, seed, 0, CLIP_S)
    with VideoFile(folder / VIDEO) as video:
        for frame in video:
            cv2.imwrite(str(folder / f"{frame.index:05d}.jpg"), frame.image_bgr)


def measure_stream(minutes: float, seed: int) -> dict:
    """RSS in MiB at each minute of the clock, and what the run counted."""
    with tempfile.TemporaryDirectory() as work:
        folder, port = Path(work, "clip"), free_port()
        stream_images(folder, seed)
        address, out = f"rtsp://127.0.0.1:{port}/camera", Path(work, "tracks")
        command = [
            sys.executable,
            "-m",
            "d2road.cli",
            "track",
            "--input",
            address,
            "--calib",
            str(folder / CAMERA_FILE),
        ]
        command += ["--config-file", CONFIG, "--output", str(out)]
        with ExitStack() as stack:
            servers = stack.enter_context(ExitStack())

            def serve() -> None:
                servers.enter_context(rtsp_server(port, source=repeated_images(folder, STREAM_FPS)))

            serve()
            tracking = stack.enter_context(subprocess.Popen(command))
            stack.callback(tracking.kill)
            wait_for_frames(out / SUMMARY, tracking)
            rss = watch_process(tracking, minutes, servers.close, serve)
            tracking.send_signal(signal.SIGINT)
            code = tracking.wait(timeout=600)
        record = read_json(out / SUMMARY, "record")
        files = {path.name: path.stat().st_size for path in out.iterdir()}
    kept = ("frames", "video_seconds", "median_step_s", "longest_step_s", "detections", "tracks", "stage_share",
            "frames_per_second", "processor_seconds", "problems", "state")  # fmt: skip
    return {**flatness(rss), **{name: record[name] for name in kept}, **record["source"], "exit_code": code,
            "server_away_s": [AWAY_S] * len(AWAY_AT), "bytes_written": files}  # fmt: skip


def wait_for_frames(summary: Path, tracking: subprocess.Popen) -> None:
    """Until frames were looked at. Raises RuntimeError where the program ends before."""
    while not (summary.is_file() and read_json(summary, "record")["frames"]):
        if tracking.poll() is not None:
            raise RuntimeError(f"d2road track ended with {tracking.returncode} before the first frame")
        time.sleep(1)


def watch_process(
    tracking: subprocess.Popen, minutes: float, take_away: Callable[[], None], serve: Callable[[], None]
) -> list[float]:
    """RSS in MiB at each minute; the server is taken away for AWAY_S at the shares AWAY_AT of the time."""
    process, start, rss = psutil.Process(tracking.pid), time.monotonic(), []
    at = sorted(
        [(60.0 * k, "") for k in range(int(minutes) + 1)] + [(60 * minutes * share, "away") for share in AWAY_AT]
    )
    for due, what in at:
        time.sleep(max(0.0, start + due - time.monotonic()))
        if what:
            take_away()
            time.sleep(AWAY_S)
            serve()
        else:
            rss.append(process.memory_info().rss / 2**20)
            print(f"{due / 60:.0f} min: {rss[-1]:.1f} MiB", flush=True)
    return rss


def flatness(rss: Sequence[float]) -> dict:
    """Whether the second half grows."""
    growth = max(rss[len(rss) // 2 :]) / rss[len(rss) // 2] - 1
    return {
        "rss_mib_each_minute": [round(value, 1) for value in rss],
        "growth_in_second_half": round(growth, 4),
        "flat": growth < FLAT_SHARE,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--fps", type=float, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--stream", action="store_true", help="a network stream with the shipped detector")
    args = parser.parse_args()
    if not writes_h264_by_av():
        raise ConfigError("the benchmark needs PyAV: pip install 'd2road[video]'")
    if args.stream and not has_rtsp_server():
        raise ConfigError("--stream needs GStreamer's RTSP server: apt install gir1.2-gst-rtsp-server-1.0 python3-gi")
    start = time.monotonic()
    if args.stream:
        metrics, name, option = measure_stream(args.minutes, args.seed), "stream", "--stream"
        config = f"{STREAM_FPS} frames a second of 960x540 by RTSP on loopback, the shipped detector"
    else:
        metrics, name, option = measure(args.minutes, args.fps, args.seed), "", f"--fps {args.fps:g}"
        config = f"{args.fps:g} frames a second of {SIZE[0]}x{SIZE[1]}"
    print(metrics)
    write_record(
        "video",
        f"memory_{args.minutes:g}min" + f"_{name}" * bool(name),
        metrics=metrics,
        command=f"python -m benchmarks.video.memory_over_time --minutes {args.minutes:g} {option}",
        config=f"{config}, {args.minutes:g} minutes of video",
        seed=args.seed,
        seconds=time.monotonic() - start,
    )


if __name__ == "__main__":
    main()
