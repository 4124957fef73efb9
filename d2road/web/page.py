"""The page: a tab for each task, served to this machine unless another address is named."""

import logging
import os
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import gradio as gr

from d2road.web.free_port import free_port
from d2road.web.page_parts import Workplace
from d2road.web.page_tabs import ask_tab, detect_tab, inspect_tab
from d2road.web.result_files import ResultFolders
from d2road.web.served_model import ASK, DETECT, DETECT_3D, INSPECT, ServedModel
from d2road.web.traffic_request import TrafficWindows
from d2road.web.traffic_tab import traffic_tab
from d2road.web.uploads import UploadLimits
from d2road.web.video_tab import video_tab

logger = logging.getLogger(__name__)

MOST_WAITING = 32  # requests in the queue; later ones are told to come again
KEEP_S = 3600  # uploads and results are deleted after it
HEADLINE = "# d2road\nPerception for roadside cameras and driving. Files stay on the machine that serves this page."
# Name, the tasks whose models it has, of which one at least is there, and what lays it out.
TABS: tuple[tuple[str, tuple[str, ...], Callable[[Sequence[ServedModel], Workplace], None]], ...] = (
    ("Detect", (DETECT, DETECT_3D), detect_tab),
    ("Ask", (ASK,), ask_tab),
    ("Inspect", (INSPECT,), inspect_tab),
    ("Video", (DETECT_3D, DETECT), video_tab),
)


@dataclass(frozen=True)
class Address:
    """Where the page listens, a port of 0 takes a free one, and who may enter, each with a password; all for none."""

    host: str
    port: int
    users: Sequence[tuple[str, str]] = ()


def build_page(models: Mapping[str, ServedModel], windows: TrafficWindows, place: Workplace) -> gr.Blocks:
    """The page: a tab for each model, by task, and Traffic, which needs none."""
    with gr.Blocks(title="d2road", analytics_enabled=False, delete_cache=(KEEP_S, KEEP_S)) as page:
        gr.Markdown(HEADLINE)
        with gr.Tabs():
            for name, tasks, lay_out in TABS:
                with gr.Tab(name, id=name.lower(), elem_id=f"tab-{name.lower()}"):
                    lay_out([models[task] for task in tasks if task in models], place)
            with gr.Tab("Traffic", id="traffic", elem_id="tab-traffic"):
                traffic_tab(windows, place)
    return page.queue(max_size=MOST_WAITING, default_concurrency_limit=1)


@contextmanager
def served(
    models: Mapping[str, ServedModel], windows: TrafficWindows, at: Address, limits: UploadLimits
) -> Iterator[str]:
    """The page, served while the context lasts; its uploads and results are deleted at the end.

    Args:
        models: by task. windows: of traffic.
    Yields:
        the address.
    Raises:
        ConfigError: host or port cannot be had.
    """
    number = free_port(at.host, at.port)
    with tempfile.TemporaryDirectory(prefix="d2road_web_") as folder:
        # gradio reads both when they matter: no statistics, no look for newer versions; uploads go where results go.
        os.environ.update(GRADIO_ANALYTICS_ENABLED="False", GRADIO_TEMP_DIR=folder)
        page = build_page(models, windows, Workplace(limits, ResultFolders(Path(folder), KEEP_S)))
        try:
            _, address, _ = page.launch(
                server_name=at.host,
                server_port=number,
                auth=list(at.users) or None,
                share=False,
                quiet=True,
                prevent_thread_lock=True,
                max_file_size=limits.max_bytes,
                footer_links=[],
                ssr_mode=False,
                pwa=False,
                mcp_server=False,
                run_history=False,
                enable_monitoring=False,
                # Fonts of the system: the default theme fetches some from another host.
                theme=gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"]),
            )
            yield address
        finally:
            page.close(verbose=False)


def serve(models: Mapping[str, ServedModel], windows: TrafficWindows, at: Address, limits: UploadLimits) -> None:
    """Serve the page until somebody interrupts."""
    with served(models, windows, at, limits) as address:
        print(f"d2road web: {address}", flush=True)
        threading.Event().wait()
