"""A served page and a real browser: gradio and playwright of here or of .peers/web, Chromium of the system."""

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.factories.peers import ROOT, peer_python

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
TIMEOUT_MS = 60_000  # a busy machine is no failure


def web_python() -> str:
    """An interpreter with gradio; the test is skipped where there is none."""
    return sys.executable if importlib.util.find_spec("gradio") else peer_python("web")


@contextmanager
def served_page(*options: str, log: Path) -> Iterator[str]:
    """The address of `d2road web`, run with these options on a free port; what it says goes to `log`.

    At the end it is stopped as by a system that shuts down, and leaves nothing behind.
    """
    command = [web_python(), "-W", "ignore", "-m", "d2road.cli", "web", "--port", "0", *options]
    folder = log.with_suffix(".tmp")
    folder.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "TMPDIR": str(folder)}
    with open(log, "w") as errors:
        server = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment, cwd=log.parent
        )
        try:
            assert server.stdout is not None
            line = next((line for line in server.stdout if line.startswith("d2road web: ")), "")
            assert line, log.read_text()
            yield line.split(": ", 1)[1].strip()
        finally:
            server.terminate()
            server.wait(timeout=120)
            assert server.stdout is not None
            server.stdout.close()
    assert server.returncode == 143 and not list(folder.glob("d2road_web_*")), "uploads and results go with the page"


@contextmanager
def chromium() -> Iterator:
    """A headless Chromium of playwright; the test is skipped where one of both is missing."""
    path = next((found for found in map(shutil.which, BROWSERS) if found), None)
    if path is None:
        pytest.skip(f"no browser: install one of {', '.join(BROWSERS)}")
    with _importable("playwright"):
        from playwright.sync_api import sync_playwright
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def _importable(name: str) -> Iterator[None]:
    """Modules of .peers/web behind those of this environment, where it lacks one."""
    if importlib.util.find_spec(name):
        yield
        return
    code = "import sysconfig; print(sysconfig.get_paths()['purelib'])"
    found = subprocess.run([peer_python("web"), "-c", code], capture_output=True, text=True, check=True)
    sys.path.append(found.stdout.strip())
    try:
        yield
    finally:
        sys.path.remove(found.stdout.strip())


def upload(page, box: str, files: Path | Sequence[Path]) -> None:
    """Put files into the file box of an id, and wait until they are there."""
    paths = [files] if isinstance(files, Path) else list(files)
    page.set_input_files(f"#{box} input[type=file]", [str(path) for path in paths])
    page.wait_for_selector(f"#{box} .file-preview tr:nth-child({len(paths)})")


def message(page, tab: str) -> str:
    """What a tab says, once it says something."""
    box = f"#{tab}-message textarea"
    page.wait_for_function(f"document.querySelector('{box}').value.length > 3")
    return page.input_value(box)
