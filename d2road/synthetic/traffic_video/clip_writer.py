"""The data set of clips on disk: made by several processes, resumable by clip, the same whatever their number.

Clip i of a split depends on (seed, split, i) and the options of all clips alone. Each finished clip leaves a record
under OUT/.clips, written last and atomically; a later run with the same parameters makes only what has no record.
"""

import time
from collections import Counter
from pathlib import Path
from typing import Any

from d2road.synthetic.traffic_incidents.incident_writer import sumo_version
from d2road.synthetic.traffic_video.clip_job import RECORDS, TIMES, ClipJob, make_clip
from d2road.synthetic.traffic_video.clip_plan import LIGHT, SPLITS, TRAFFIC, all_plans
from d2road.synthetic.traffic_video.vehicle_sizes import SIZES
from d2road.utils.errors import ConfigError
from d2road.utils.output_dir import output_dir
from d2road.utils.output_files import write_json
from d2road.utils.parallel import run_recorded
from d2road.utils.registry import unknown_name

META, CLIPS = "traffic_video.json", "clips.json"
# Raised whenever the same seed would give other clips, so that an old folder is not continued.
VERSION = 1
SECONDS = (1.0, 600.0)


def make_traffic_video(
    out: str | Path,
    seed: int = 0,
    train: int = 8,
    val: int = 4,
    test: int = 8,
    seconds: float = 60.0,
    sizes: str = SIZES[0],
    traffic: str = TRAFFIC[0],
    light: str = LIGHT[0],
    incidents: bool = True,
    workers: int = 2,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Make the data set, or finish one that an earlier run began.

    Args:
        out: folder to make.
        seed: >= 0; decides everything.
        train, val, test: number of clips of each split; every clip has a camera of its own.
        seconds: of a clip.
        sizes: of vehicles, of `vehicle_sizes.SIZES`.
        traffic, light: of `clip_plan.TRAFFIC` and `LIGHT`; "turns" lets the kinds take turns.
        incidents: False makes good traffic alone.
        workers: processes; 0 or 1 works in this one.
        overwrite: replace a data set of other parameters that is there.
    Returns:
        {"made": clips of this run, "frames": their frames, "seconds": ..., "cpu_seconds": of processor that rendering
        them took, "summary": text with the counts}.
    Raises:
        ValueError: negative counts, no clips, clips too short or too long, an unknown name, or `out` holds other
            parameters or files.
        FileNotFoundError: SUMO is not installed.
        PermissionError: `out` cannot be written.
        RuntimeError: SUMO fails.
    """
    counts = {"train": train, "val": val, "test": test}
    options: dict[str, Any] = {"sizes": sizes, "traffic": traffic, "light_option": light, "incidents": incidents}
    _refuse({**counts, "seed": seed, "workers": workers}, sum(counts.values()), seconds)
    for what, name, known in (("set of sizes", sizes, SIZES), ("traffic", traffic, TRAFFIC), ("light", light, LIGHT)):
        if name not in known:
            raise ConfigError(unknown_name(what, name, known))
    out = Path(out)
    # Another version of SUMO drives differently.
    meta = {"version": VERSION, "seed": seed, **counts, "seconds": seconds, **options, "sumo": sumo_version()}
    with output_dir(out, META, meta, [*SPLITS, RECORDS], [*SPLITS, RECORDS, CLIPS], overwrite):
        jobs = [ClipJob(str(out), plan) for plan in all_plans(counts, seed, seconds, **options)]
        start = time.monotonic()
        todo, records = run_recorded(make_clip, jobs, workers, "clips")
        took = time.monotonic() - start
        # Last, for it says that the data set is complete.
        write_json(out / CLIPS, [{key: v for key, v in record.items() if key not in TIMES} for record in records])
        made = {job.plan.name for job in todo}
        return {
            "made": len(todo),
            "frames": sum(job.plan.frames for job in todo),
            "seconds": took,
            "cpu_seconds": sum(record["render_cpu_s"] for record in records if record["name"] in made),
            "summary": summarize(records),
        }


def _refuse(numbers: dict[str, int], clips: int, seconds: float) -> None:
    """Raise ConfigError for options that cannot be."""
    for name, value in numbers.items():
        if value < 0:
            raise ConfigError(f"--{name} is {value}, expected 0 or more")
    if clips == 0:
        raise ConfigError("--train 0 --val 0 --test 0: no clips to make; ask for at least one")
    if not SECONDS[0] <= seconds <= SECONDS[1] or round(seconds, 1) != seconds:
        raise ConfigError(
            f"--seconds is {seconds:g}, expected tenths of a second from {SECONDS[0]:g} to {SECONDS[1]:g}"
        )


def summarize(records: list[dict[str, Any]]) -> str:
    """Clips by split, with their kinds of light, lens, road and incident."""
    lines = []
    for split in SPLITS:
        clips = [record for record in records if record["split"] == split]
        if not clips:
            continue
        seconds = sum(record["frames"] / record["fps"] for record in clips)
        incidents = Counter(record["incident"] for record in clips if record["incident"])
        told = ", ".join(f"{kind} {count}" for kind, count in incidents.items()) or "none"
        lines.append(
            f"{split}: {len(clips)} clips, {seconds:.0f} s, {sum(c['light'] != 'day' for c in clips)} at dusk, "
            f"{sum(c['distorted'] for c in clips)} distorted, {sum(c['slope'] != 'plane' for c in clips)} on roads "
            f"that are not plane; incidents: {told}"
        )
    return "\n".join(lines)
