"""The tabs of models: components of gradio around their requests."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from d2road.engine.annotators import CONFIDENCE
from d2road.engine.meta_arch import SamplingChoices, SamplingSetting
from d2road.web.ask_request import AskUpload, ask
from d2road.web.detect_request import AUTOMATIC, KINDS, DetectUpload, detect
from d2road.web.examples import SENTENCES, kit_examples, roadside_example
from d2road.web.inspect_request import images_of_folder, inspect
from d2road.web.page_parts import (
    IMAGE_TYPES,
    QUEUE,
    SAVING,
    Workplace,
    camera_controls,
    downloads,
    file_box,
    fill_by_example,
    focal_of,
    folder_box,
    image_out,
    message_box,
    outcome,
    path_of,
    run_button,
    text_field,
)
from d2road.web.served_model import ServedModel
from d2road.web.uploads import number_or_none, whole_number

MOST_STEPS, MOST_BOXES = 16, 500  # what a request may ask for
ALL_STEPS = "all steps together"


# --- Detect ---


def detect_tab(models: Sequence[ServedModel], place: Workplace) -> None:
    """Image, camera and sampling in; boxes, in 3D where there is a model of them and a camera, step by step, out."""
    choices = next((model.sampling for model in models if model.sampling), None)
    in_3d = [model.needs_camera for model in models]
    with gr.Row():
        with gr.Column(scale=1):
            image = file_box("detect-image", "Image", IMAGE_TYPES)
            confidence = gr.Slider(0, 1, CONFIDENCE, step=0.01, label="Lowest score of a box in the image")
            kind = gr.Radio(list(KINDS), value=AUTOMATIC, label="Boxes", visible=len(models) > 1, elem_id="detect-kind")
            calib, focal, denorm = camera_controls("detect", all(in_3d), any(in_3d))
            controls = sampling_controls(choices) if choices else []
            run = run_button("detect", "Detect")
        with gr.Column(scale=2):
            message = message_box("detect")
            shown = image_out("detect-image-out", "Detections")
            step = gr.Slider(
                0, 1, 0, step=1, label=f"Denoising step (0: {ALL_STEPS})", visible=False, elem_id="detect-step"
            )
            files = downloads("detect-files")
            paths = gr.State([])

    def work(
        image: str | None,
        confidence: float,
        kind: str,
        calib: str | None,
        focal: str | None,
        denorm: str | None,
        *chosen: Any,
    ) -> tuple:
        def found() -> tuple:
            if not image:
                return "Upload an image first.", None, gr.update(visible=False), None, []
            sampling = SamplingSetting(*_sampling_values(chosen)) if choices else None
            camera = path_of(calib), path_of(denorm), focal_of(focal)
            upload = DetectUpload(Path(image), *camera, confidence, sampling, kind)
            result = detect(models, upload, place.limits, place.folders)
            all_paths = [str(path) for path in (result.image, *result.steps)]
            slider = gr.update(maximum=max(len(result.steps), 1), value=0, visible=len(result.steps) > 1)
            return result.text, all_paths[0], slider, [str(path) for path in result.files], all_paths

        return outcome(place, found, (None, gr.update(visible=False), None, []))

    run.click(
        work,
        [image, confidence, kind, calib, focal, denorm, *controls],
        [message, shown, step, files, paths],
        concurrency_id=QUEUE,
        api_visibility="private",
    )
    if any(model.shipped for model in models):
        fill_by_example(run, "detect", [image, calib, denorm], lambda number: _view(place, number))
    step.change(_image_of_step, [step, paths], shown, queue=False, api_visibility="private")


def sampling_controls(choices: SamplingChoices) -> list[gr.components.Component]:
    """Sampler, steps, boxes and seed, as the config has them."""
    own = choices.setting
    most = min(MOST_STEPS, choices.max_steps)
    with gr.Accordion("Sampling", open=True):
        return [
            gr.Dropdown(list(choices.samplers), value=own.sampler, label="Sampler", elem_id="detect-sampler"),
            gr.Slider(1, most, min(own.steps, most), step=1, label="Steps", elem_id="detect-steps"),
            gr.Slider(1, MOST_BOXES, min(own.num_boxes, MOST_BOXES), step=1, label="Boxes", elem_id="detect-boxes"),
            gr.Number(own.seed, precision=0, label="Seed", elem_id="detect-seed"),
        ]


def _sampling_values(chosen: Sequence[Any]) -> tuple[str, int, int, int]:
    sampler, steps, boxes, seed = chosen
    whole = whole_number(steps, "Steps", MOST_STEPS), whole_number(boxes, "Boxes", MOST_BOXES)
    return str(sampler), *whole, int(seed or 0)


def _image_of_step(step: float, paths: list[str]) -> Any:
    return paths[int(step)] if 0 <= int(step) < len(paths) else gr.skip()


def _view(place: Workplace, number: int) -> tuple[str, str, str]:
    """Image, calibration and ground plane of a rendered view."""
    example = roadside_example(place.folders.new(), number)
    return str(example.image), str(example.calib), str(example.denorm)


# --- Ask ---


def ask_tab(models: Sequence[ServedModel], place: Workplace) -> None:
    """Image, camera and sentences in; the objects meant out."""
    (model,) = models
    with gr.Row():
        with gr.Column(scale=1):
            image = file_box("ask-image", "Image", IMAGE_TYPES)
            text = gr.Textbox(
                label="Sentences, one a line", lines=4, elem_id="ask-text", placeholder="the red car on the left"
            )
            calib, focal, denorm = camera_controls("ask", model.needs_camera)
            confidence = text_field("ask-score", "Lowest score, 0 to 1 (empty: the model's own)")
            run = run_button("ask", "Ask")
        with gr.Column(scale=2):
            message = message_box("ask")
            shown = image_out("ask-image-out", "Answers")
            files = downloads("ask-files")

    def work(
        image: str | None, text: str, calib: str | None, focal: str | None, denorm: str | None, score: str
    ) -> tuple:
        def found() -> tuple:
            if not image:
                return "Upload an image first.", None, None
            lowest = number_or_none(score, "the lowest score")
            upload = AskUpload(Path(image), text or "", path_of(calib), path_of(denorm), focal_of(focal), lowest)
            result = ask(model, upload, place.limits, place.folders)
            return result.text, str(result.image), [str(path) for path in result.files]

        return outcome(place, found, (None, None))

    run.click(
        work,
        [image, text, calib, focal, denorm, confidence],
        [message, shown, files],
        concurrency_id=QUEUE,
        api_visibility="private",
    )
    if model.shipped:
        fill_by_example(run, "ask", [image, calib, denorm, text], lambda number: (*_view(place, number), SENTENCES))


# --- Inspect ---


def inspect_tab(models: Sequence[ServedModel], place: Workplace) -> None:
    """Images in; heat maps, scores and verdicts out."""
    (model,) = models
    with gr.Row():
        with gr.Column(scale=1):
            images = file_box("inspect-images", "Images", IMAGE_TYPES, several=True)
            folder = folder_box("inspect-folder", "or a folder of images")
            good = file_box("inspect-good", "Other scores of good images, scores.csv of d2road predict", [".csv"])
            bad = gr.Checkbox(False, label="All of them are anomalous (draws a ROC curve)", elem_id="inspect-bad")
            run = run_button("inspect", "Inspect")
        with gr.Column(scale=2):
            message = message_box("inspect")
            gallery = gr.Gallery(
                label="Heat maps",
                columns=3,
                object_fit="contain",
                format="png",
                interactive=False,
                buttons=SAVING,
                elem_id="inspect-gallery",
            )
            table = gr.Dataframe(
                headers=["file", "score", "threshold", "verdict"], interactive=False, elem_id="inspect-table"
            )
            histogram = image_out("inspect-histogram", "Scores of good images", visible=False)
            roc = image_out("inspect-roc", "ROC curve against good images", visible=False)
            files = downloads("inspect-files")
    hidden = gr.update(visible=False)

    def work(images: list[str] | None, folder: list[str] | None, good: str | None, bad: bool) -> tuple:
        def found() -> tuple:
            if not images and not folder:
                return "Upload images first.", None, None, hidden, hidden, None
            inside, left_out = images_of_folder([Path(path) for path in folder or ()])
            paths = [*(Path(path) for path in images or ()), *inside]
            result = inspect(model, paths, place.limits, place.folders, path_of(good), bool(bad))
            drawn = [
                gr.update(value=str(p or "") or None, visible=p is not None) for p in (result.histogram, result.roc)
            ]
            rows = [
                [name, f"{score:.4g}", "" if t is None else f"{t:.4g}", verdict]
                for name, score, t, verdict in result.rows
            ]
            gallery = [(str(path), caption) for path, caption in result.images]
            text = " ".join([result.text, *([left_out] if left_out else [])])
            return text, gallery, rows, *drawn, [str(path) for path in result.files]

        return outcome(place, found, (None, None, hidden, hidden, None))

    run.click(
        work,
        [images, folder, good, bad],
        [message, gallery, table, histogram, roc, files],
        concurrency_id=QUEUE,
        api_visibility="private",
    )
    if model.shipped:

        def kits(number: int) -> tuple[list[str]]:
            return ([str(path) for path in kit_examples(place.folders.new(), number)],)

        fill_by_example(run, "inspect", [images], kits)
