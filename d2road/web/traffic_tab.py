"""The tab Traffic: components of gradio around its request."""

from pathlib import Path

import gradio as gr

from d2road.traffic.events.stream_options import RULES_FORECAST
from d2road.utils.values import as_number
from d2road.web.examples import traffic_example
from d2road.web.packed_uploads import PACKED
from d2road.web.page_parts import (
    QUEUE,
    SAVING,
    Workplace,
    downloads,
    file_box,
    fill_by_example,
    message_box,
    outcome,
    path_of,
    run_button,
)
from d2road.web.traffic_request import (
    ALARM_COLUMNS,
    METHODS,
    READERS,
    TYPES,
    TrafficUpload,
    TrafficWindows,
    inspect_traffic,
)


def traffic_tab(windows: TrafficWindows, place: Workplace) -> None:
    """Trajectories, and good ones or a calibration, in; diagram, scores and alarms out."""
    types = [*TYPES, *PACKED]
    with gr.Row():
        with gr.Column(scale=1):
            trajectories = file_box("traffic-file", "Trajectories", types)
            reader = gr.Dropdown(list(READERS), value=READERS[0], label="Reader", elem_id="traffic-reader")
            options = gr.Textbox("", label="Its options", placeholder="edges=main:0", elem_id="traffic-options")
            good = file_box("traffic-good", "Good traffic, in the same form", types)
            calibration = file_box("traffic-calibration", "or a calibration of d2road score-stream", [".json"])
            method = gr.Radio(list(METHODS), value=METHODS[0], label="Method", elem_id="traffic-method")
            rate = gr.Number(1, label="False alarms an hour (with good traffic)", elem_id="traffic-rate")
            run = run_button("traffic", "Draw and score")
        with gr.Column(scale=2):
            message = message_box("traffic")
            diagrams = gallery_of("traffic-diagrams", "Time-space diagram and scores", 1)
            table = gr.Dataframe(headers=list(ALARM_COLUMNS), interactive=False, elem_id="traffic-table")
            lines = gr.Textbox(label="Alarms", interactive=False, lines=3, elem_id="traffic-lines")
            pictures = gallery_of("traffic-pictures", "Alarms", 3)
            files = downloads("traffic-files")

    def work(
        trajectories: str | None,
        reader: str,
        options: str | None,
        good: str | None,
        calibration: str | None,
        method: str,
        rate: float | None,
    ) -> tuple:
        def found() -> tuple:
            if not trajectories:
                return "Upload trajectories first.", None, None, "", None, None
            per_hour = as_number(rate, "false alarms an hour", 1e-6)
            upload = TrafficUpload(
                Path(trajectories), reader, options or "", path_of(good), path_of(calibration), method, per_hour
            )
            result = inspect_traffic(windows, upload, place.limits, place.folders)
            rows = [[f"{v:.4g}" if isinstance(v, float) else str(v) for v in row] for row in result.alarms]
            drawn, of_alarms = [str(p) for p in result.diagrams], [str(p) for p in result.pictures]
            said = "\n".join(result.lines)
            return result.text, drawn, rows or None, said, of_alarms or None, [str(p) for p in result.files]

        return outcome(place, found, (None, None, "", None, None))

    run.click(
        work,
        [trajectories, reader, options, good, calibration, method, rate],
        [message, diagrams, table, lines, pictures, files],
        concurrency_id=QUEUE,
        api_visibility="private",
    )
    if not windows.opts:  # the shipped rules are of the usual windows

        def simulated(number: int) -> tuple:
            example = traffic_example(place.folders.new(), number)
            return str(example.trajectories), "csv", "", None, str(example.calibration), RULES_FORECAST

        fill_by_example(run, "traffic", [trajectories, reader, options, good, calibration, method], simulated)


def gallery_of(name: str, label: str, columns: int) -> gr.Gallery:
    """Drawings side by side."""
    return gr.Gallery(
        label=label,
        columns=columns,
        object_fit="contain",
        format="png",
        interactive=False,
        buttons=SAVING,
        elem_id=name,
    )
