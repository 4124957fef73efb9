"""The tab Video: components of gradio around its request."""

from collections.abc import Sequence
from pathlib import Path

import gradio as gr

from d2road.web.examples import video_example
from d2road.web.page_parts import (
    QUEUE,
    Workplace,
    downloads,
    file_box,
    fill_by_example,
    image_out,
    message_box,
    outcome,
    run_button,
    text_field,
)
from d2road.web.served_model import ServedModel
from d2road.web.uploads import number_or_none
from d2road.web.video_request import CALIBRATION_TYPES, TABLE_COLUMNS, VIDEO_TYPES, VideoUpload, track_upload


def video_tab(models: Sequence[ServedModel], place: Workplace) -> None:
    """A clip and its camera in; annotated video, vehicles with speeds and the scene from above out."""
    model, limits = models[0], place.limits
    with gr.Row():
        with gr.Column(scale=1):
            label = f"Clip, at most {limits.max_seconds:g} s and {limits.max_frames} frames"
            video = file_box("video-file", label, list(VIDEO_TYPES))
            calibration = file_box("video-calib", "Its camera.yaml (d2road calibrate-camera)", list(CALIBRATION_TYPES))
            score = text_field("video-score", "Lowest score, 0 to 1 (empty: the tracker's own)")
            run = run_button("video", "Track")
        with gr.Column(scale=2):
            message = message_box("video")
            shown = gr.Video(label="Tracks", format="mp4", interactive=False, buttons=["download"], elem_id="video-out")
            table = gr.Dataframe(headers=list(TABLE_COLUMNS), interactive=False, elem_id="video-table")
            above = image_out("video-above", "All tracks from above")
            files = downloads("video-files")

    def work(video: str | None, calibration: str | None, score: str, progress: gr.Progress = gr.Progress()) -> tuple:  # noqa: B008
        def tell(done: int, total: int) -> None:
            progress((done, total or None), desc="tracking", unit="frames")

        def found() -> tuple:
            if not video or not calibration:
                return "Upload a clip and the camera.yaml of its camera first.", None, None, None, None
            upload = VideoUpload(Path(video), Path(calibration), number_or_none(score, "the lowest score"))
            result = track_upload(model, upload, limits, place.folders, tell)
            paths = [str(path) for path in result.files]
            return result.text, str(result.video), result.rows or None, str(result.above), paths

        return outcome(place, found, (None, None, None, None))

    run.click(
        work,
        [video, calibration, score],
        [message, shown, table, above, files],
        show_progress_on=message,
        concurrency_id=QUEUE,
        api_visibility="private",
    )
    if model.shipped:

        def rendered(number: int) -> tuple[str, str]:
            example = video_example(place.folders.new(), number)
            return str(example.video), str(example.calibration)

        fill_by_example(run, "video", [video, calibration], rendered)
