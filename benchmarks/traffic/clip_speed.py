"""How fast clips are rendered: frames a second of `d2road make-data traffic-video`, and processor time of a frame.

python -m benchmarks.traffic.clip_speed --record clips

On a machine that does other work too, the processor time is what tells; the load is in the record.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Sequence

from benchmarks.common.records import write_record
from d2road.synthetic.traffic_video import make_traffic_video


def main(argv: Sequence[str] | None = None) -> None:
    """Render clips into a folder that is thrown away, and say how long it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=4, help="so many, of different kinds (default 4)")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each (default 20)")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--record", default="", help="name of the record in benchmarks/results/traffic_video")
    args = parser.parse_args(argv)
    before, start = os.getloadavg()[0], time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        options = {"train": 0, "val": args.clips, "test": 0, "seconds": args.seconds, "workers": args.workers}
        done = make_traffic_video(folder, args.seed, **options)
    frames = done["frames"]
    metrics = {
        "frames": frames,
        "frames_per_second": round(frames / done["seconds"], 2),
        "cpu_ms_per_frame": round(1000 * done["cpu_seconds"] / frames, 1),
        "frames_per_cpu_second": round(frames / done["cpu_seconds"], 2),
        "load_before": round(before, 2),
        "load_after": round(os.getloadavg()[0], 2),
    }
    print("\n".join(f"{name}: {value}" for name, value in metrics.items()))
    if args.record:
        command = f"python -m benchmarks.traffic.clip_speed --clips {args.clips} --seconds {args.seconds:g} "
        command += f"--workers {args.workers} --seed {args.seed} --record {args.record}"
        config = {key: value for key, value in options.items() if key != "workers"}
        seconds = time.monotonic() - start
        write_record(
            "traffic_video",
            args.record,
            metrics=metrics,
            command=command,
            config=config,
            seed=args.seed,
            seconds=seconds,
        )


if __name__ == "__main__":
    main()
