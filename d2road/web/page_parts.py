"""Parts that the tabs share: components of gradio, and how a tab says what a request raises."""

import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
import torch

from d2road.engine.prediction_inputs import IMAGES
from d2road.utils.errors import is_user_error
from d2road.web.examples import FIRST
from d2road.web.result_files import ResultFolders
from d2road.web.uploads import UploadLimits, number_or_none

logger = logging.getLogger(__name__)

IMAGE_TYPES = sorted(IMAGES)
TEXT_TYPES = [".txt"]
CALIBRATION_TYPES = [*TEXT_TYPES, ".yaml", ".yml"]
QUEUE = "requests"  # all buttons share it
SAVING = ["download", "fullscreen"]


@dataclass(frozen=True)
class Workplace:
    """What all tabs share: limits of uploads, and where results go."""

    limits: UploadLimits
    folders: ResultFolders


def outcome(place: Workplace, work: Callable[[], tuple], empty: Sequence[Any]) -> tuple:
    """What `work` gives, or the words of its error, without folders of the page, and `empty` outputs.

    A user's error is said as on the command line; any other one is logged with its traceback.
    """
    try:
        return work()
    except (OSError, ValueError, MemoryError, torch.OutOfMemoryError) as error:
        if not is_user_error(error):
            logger.exception("A request failed")
        text = re.sub(rf"{re.escape(str(place.folders.root))}/(?:[^/\s]+/)*", "", str(error))
        return (f"error: {text or type(error).__name__}", *empty)
    except Exception as error:
        logger.exception("A request failed")
        return (f"error: {type(error).__name__} in the program; its log has more", *empty)


def path_of(value: str | None) -> Path | None:
    """The file behind gr.File's value."""
    return Path(value) if value else None


def focal_of(text: str | None) -> float | None:
    """The number in the field of the focal length."""
    return number_or_none(text, "the focal length")


def message_box(name: str) -> gr.Textbox:
    """Where a tab says what it found, or what is wrong; plain text, so that nothing in it is taken for markup."""
    return gr.Textbox(label="Result", interactive=False, lines=2, elem_id=f"{name}-message")


def run_button(name: str, text: str) -> gr.Button:
    return gr.Button(text, variant="primary", elem_id=f"{name}-run")


def file_box(name: str, label: str, types: list[str], several: bool = False) -> gr.File:
    """A place to drop files; they are read from their paths as they are, not as gradio decodes images."""
    count = "multiple" if several else "single"
    return gr.File(label=label, file_types=types, file_count=count, type="filepath", height=130, elem_id=name)


def folder_box(name: str, label: str) -> gr.File:
    """A place for a folder; whatever is in it comes."""
    return gr.File(label=label, file_count="directory", type="filepath", height=130, elem_id=name)


def text_field(name: str, label: str) -> gr.Textbox:
    """A number that may be left empty; gr.Number gives 0 then."""
    return gr.Textbox(label=label, elem_id=name)


def image_out(name: str, label: str, visible: bool = True) -> gr.Image:
    """A drawing; it can be saved and enlarged, not shared with a host elsewhere."""
    return gr.Image(
        label=label, type="filepath", format="png", interactive=False, visible=visible, buttons=SAVING, elem_id=name
    )


def downloads(name: str) -> gr.File:
    return gr.File(label="Downloads", file_count="multiple", interactive=False, elem_id=name)


def example_button(name: str) -> gr.Button:
    return gr.Button("Example", elem_id=f"{name}-example")


def camera_controls(name: str, needed: bool, used: bool = True) -> tuple[gr.File, gr.Textbox, gr.File]:
    """Calibration, focal length and ground plane.

    Args:
        needed: every request needs a camera. used: a model finds 3D boxes; otherwise they are folded away.
    """
    with gr.Accordion("Camera" if needed else "Camera (needed for 3D)", open=used):
        calib = file_box(f"{name}-calib", "Calibration: a line 'P2: 12 numbers', or camera.yaml", CALIBRATION_TYPES)
        focal = text_field(f"{name}-focal", "or focal length, pixels")
        denorm = file_box(f"{name}-denorm", "Ground plane, 'a b c d' (optional)", TEXT_TYPES)
    return calib, focal, denorm


def fill_by_example(
    run: gr.Button, name: str, outputs: list[gr.components.Component], make: Callable[[int], tuple]
) -> None:
    """A button that fills the fields of a tab with an example, another one with each click."""
    with run.parent:
        button, number = example_button(name), gr.State(FIRST)
    button.click(
        lambda number: (*make(number), number + 1),
        [number],
        [*outputs, number],
        concurrency_id=QUEUE,
        api_visibility="private",
    )
