"""The page in a real browser: every tab by clicking, two users at once, and uploads that cannot be used.

Detect has a small model of its own in 2D and the shipped one in 3D, Ask and Inspect the shipped ones with examples.
"""

import json
import re

import cv2
import numpy as np
import pytest

from d2road.synthetic.traffic_video.steady_clip import make_steady_clip
from d2road.web.examples import roadside_example
from tests.factories.stream_fcd import write_fcd
from tests.factories.verb_files import detector_files
from tests.factories.web_page import TIMEOUT_MS, chromium, message, served_page, upload, web_python

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def browser():
    """Asked for first: without it, or without gradio, all tests of this file are skipped."""
    web_python()
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def files(tmp_path_factory, browser):
    folder = tmp_path_factory.mktemp("page")
    detector_files(folder)
    text = write_fcd(folder / "live.xml")
    (folder / "traffic.xml").write_text("\n".join(line for line in text.splitlines() if 'id="x"' not in line))
    rng = np.random.default_rng(0)
    for name in ("first.png", "second.png"):
        cv2.imwrite(str(folder / name), rng.integers(0, 256, (60, 80, 3), dtype=np.uint8))
    cv2.imwrite(str(folder / "large.png"), rng.integers(0, 256, (800, 800, 3), dtype=np.uint8))
    make_steady_clip(folder / "clip", 5, 1, 2.0)
    (folder / "broken.mp4").write_bytes(bytes(500))
    (folder / "large.mp4").write_bytes(bytes(2 << 20))
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(40))
    (folder / "good.csv").write_text("file,score\n" + "".join(f"{i}.png,{0.1 * i}\n" for i in range(20)))
    return folder


@pytest.fixture(scope="module")
def address(files):
    options = ["--model", f"{files}/config.yaml", f"{files}/weights.pth"]
    options += ["--model", "diffusion_det/toy_roadside3d/demo.yaml", "zoo:diffusion_det_toy3d"]
    options += ["TIME_SPACE.S_RANGE", "(0, 512)", "TIME_SPACE.STRIDE", "1.0"]
    with served_page(*options, "--max-upload-mb", "1.5", log=files / "log.txt") as found:
        yield found


@pytest.fixture
def visit(browser, address):
    """Open the page as another user; requests to other hosts are refused and noted."""
    contexts, elsewhere = [], []

    def opened():
        context = browser.new_context()
        context.set_default_timeout(TIMEOUT_MS)
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda request: elsewhere.append(request.url) if is_elsewhere(request.url) else None)
        page.goto(address)
        page.wait_for_selector("#detect-run")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert elsewhere == []


def is_elsewhere(url):
    return not url.startswith(("http://127.0.0.1:", "data:", "blob:http://127.0.0.1:"))


def downloaded(page, box, suffix, folder):
    with page.expect_download() as download:
        page.click(f"#{box} a[download$='{suffix}']")
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    return path


def test_detect_finds_boxes_step_by_step(visit, files, tmp_path):
    page = visit()
    upload(page, "detect-image", files / "first.png")
    page.fill("#detect-steps input[type=number]", "3")
    page.fill("#detect-boxes input[type=number]", "6")
    page.fill("#detect-seed input", "5")
    page.click("#detect-run")
    text = message(page, "detect")
    assert "3 step(s) of ddim on 6 boxes, seed 5" in text
    page.wait_for_selector("#detect-image-out img")
    found = json.loads(downloaded(page, "detect-files", ".json", tmp_path).read_text())
    assert text.startswith(f"{len(found)} found") and {row["file_name"] for row in found} <= {"first.png"}
    assert cv2.imread(str(downloaded(page, "detect-files", ".png", tmp_path))).shape[:2] == (60, 80)
    assert downloaded(page, "detect-files", ".csv", tmp_path).read_text().count("\n") == len(found) + 1
    all_steps = page.get_attribute("#detect-image-out img", "src")
    page.fill("#detect-step input[type=number]", "2")
    page.press("#detect-step input[type=number]", "Enter")
    page.wait_for_function(f"document.querySelector('#detect-image-out img').src != {all_steps!r}")
    assert "step_2" in page.get_attribute("#detect-image-out img", "src")


def test_detect_finds_boxes_in_3d_once_a_camera_is_given(visit, files, tmp_path):
    example = roadside_example(tmp_path, 2)
    page = visit()
    upload(page, "detect-image", example.image)
    upload(page, "detect-calib", example.calib)
    upload(page, "detect-denorm", example.denorm)
    page.fill("#detect-boxes input[type=number]", "60")
    page.click("#detect-run")
    said = message(page, "detect")
    assert said.endswith("Boxes in 3D by zoo:diffusion_det_toy3d") and re.search(" [1-9]+ car", said)
    found = json.loads(downloaded(page, "detect-files", ".json", tmp_path).read_text())
    assert all(row["location"][2] > 0 and len(row["dimensions_hwl"]) == 3 for row in found)
    drawn = cv2.imread(str(downloaded(page, "detect-files", ".png", tmp_path)))
    image = cv2.imread(str(example.image))
    assert drawn.shape[0] == image.shape[0] and drawn.shape[1] > 1.2 * image.shape[1], "the scene from above beside it"
    page.click("#detect-kind label:has-text('2D')")
    page.click("#detect-run")
    page.wait_for_function("document.querySelector('#detect-message textarea').value.includes('Boxes in 2D by')")
    page.reload()
    page.wait_for_selector("#detect-run")
    upload(page, "detect-image", files / "first.png")
    page.click("#detect-kind label:nth-of-type(3)")
    page.click("#detect-run")
    assert "need the camera: give its calibration or focal length" in message(page, "detect")


def test_ask_answers_each_sentence_of_an_example(visit, tmp_path):
    page = visit()
    page.click("button[role=tab]:has-text('Ask')")
    page.click("#ask-example")
    for box in ("ask-image", "ask-calib", "ask-denorm"):
        page.wait_for_selector(f"#{box} .file-preview tr")
    sentences = page.input_value("#ask-text textarea").splitlines()
    page.click("#ask-run")
    said = message(page, "ask")
    answers = json.loads(downloaded(page, "ask-files", ".json", tmp_path).read_text())
    assert [answer["text"] for answer in answers] == sentences and len(said.splitlines()) == 4
    for answer, line in zip(answers, said.splitlines()):
        count = f"{len(answer['boxes'])} found (" if answer["boxes"] else "nothing in this image is meant"
        assert line.startswith(f"“{answer['text']}”: {count}")
    assert re.search("“a car”: [1-9]", said)
    drawn = cv2.imread(str(downloaded(page, "ask-files", ".png", tmp_path)))
    image = cv2.imread(str(downloaded(page, "ask-image", ".png", tmp_path)))
    assert len(drawn) > 4 * len(image), "an image for each sentence, and its words"
    page.fill("#ask-score textarea", "1")
    page.click("#ask-run")
    page.wait_for_function(f"document.querySelector('#ask-message textarea').value != {said!r}")
    assert message(page, "ask").splitlines() == [f"“{s}”: nothing in this image is meant" for s in sentences]


def test_inspect_says_which_images_are_anomalous(visit, files, tmp_path):
    page = visit()
    page.click("button[role=tab]:has-text('Inspect')")
    page.click("#inspect-example")
    page.wait_for_selector("#inspect-images .file-preview tr:nth-child(3)")
    page.click("#inspect-bad input")
    page.click("#inspect-run")
    assert message(page, "inspect").startswith("2 of 3 images are anomalous")
    page.wait_for_selector("#inspect-histogram img")
    page.wait_for_selector("#inspect-roc img")
    page.wait_for_selector("#inspect-gallery img >> nth=2")
    rows = downloaded(page, "inspect-files", ".csv", tmp_path).read_text().splitlines()
    assert [row.split(",")[3] for row in rows] == ["verdict", "good", "anomalous", "anomalous"]
    table = page.inner_text("#inspect-table")
    assert all(row.split(",")[0] in table for row in rows[1:])


def test_inspect_takes_a_folder(visit, files, tmp_path):
    (tmp_path / "kits").mkdir()
    for name in ("first.png", "second.png"):
        (tmp_path / "kits" / name).write_bytes((files / name).read_bytes())
    (tmp_path / "kits" / "notes.txt").write_text("of the shift")
    page = visit()
    page.click("button[role=tab]:has-text('Inspect')")
    page.set_input_files("#inspect-folder input[type=file]", str(tmp_path / "kits"))
    page.wait_for_selector("#inspect-folder .file-preview tr:nth-child(3)")
    page.click("#inspect-run")
    assert message(page, "inspect").startswith("2 of 2 images are anomalous")
    assert message(page, "inspect").endswith("1 other file(s) of the folder are left out.")
    page.wait_for_selector("#inspect-gallery img >> nth=1")


def test_traffic_is_drawn_and_its_alarm_listed(visit, files, tmp_path):
    page = visit()
    page.click("button[role=tab]:has-text('Traffic')")
    upload(page, "traffic-file", files / "live.xml")
    upload(page, "traffic-good", files / "traffic.xml")
    page.click("#traffic-run")
    assert "1 alarm(s)" in message(page, "traffic")
    lines = page.input_value("#traffic-lines textarea").splitlines()
    assert [line.split()[0] for line in lines] == ["ALARM", "OVER"] and " s 300 m " in lines[0]
    page.wait_for_selector("#traffic-diagrams img")
    page.wait_for_selector("#traffic-pictures img")
    table = downloaded(page, "traffic-files", "alarms.csv", tmp_path).read_text().splitlines()
    assert len(table) == 2 and table[1].startswith("live,")
    page.fill("#traffic-options textarea", "net=/etc/passwd")
    page.click("#traffic-run")
    page.wait_for_function("document.querySelector('#traffic-message textarea').value.includes('not offered here')")
    page.fill("#traffic-options textarea", "")
    page.click("#traffic-file button[aria-label*='emove'], #traffic-file button[aria-label*='lear']")
    upload(page, "traffic-file", files / "good.csv")
    page.click("#traffic-run")
    page.wait_for_function("document.querySelector('#traffic-message textarea').value.includes('good.csv')")
    said = message(page, "traffic")
    assert said.startswith("error: ") and "/" not in said.split("good.csv")[0], "no folder of the server is told"


def test_a_clip_becomes_tracks_and_speeds(visit, files, tmp_path):
    page = visit()
    page.click("button[role=tab]:has-text('Video')")
    page.click("#video-run")
    assert message(page, "video") == "Upload a clip and the camera.yaml of its camera first."
    upload(page, "video-file", files / "clip" / "video.mp4")
    upload(page, "video-calib", files / "clip" / "camera.yaml")
    page.click("#video-run")
    page.wait_for_function("document.querySelector('#video-message textarea').value.includes('frames')")
    found = re.match(r"(\d+) vehicles in 20 frames \(1.9 s\)", message(page, "video"))
    assert found and int(found[1]) >= 3
    page.wait_for_selector("#video-above img")
    source = page.get_attribute("#video-out video", "src")
    assert page.evaluate("document.querySelector('#video-out video').duration") == pytest.approx(2.0, abs=0.2), source
    rows = json.loads(downloaded(page, "video-files", "vehicles.json", tmp_path).read_text())
    assert len(rows) == int(found[1]) and {row["cls"] for row in rows} >= {"car"}
    table = downloaded(page, "video-files", "vehicles.csv", tmp_path).read_text().splitlines()
    assert len(table) == len(rows) + 1 and table[0].startswith("track,cls,lane")
    shown = page.inner_text("#video-table")
    assert all(f"{row['speed_kmh']:.1f}" in shown for row in rows[:3])
    page.click("#video-file button[aria-label*='emove'], #video-file button[aria-label*='lear']")
    upload(page, "video-file", files / "broken.mp4")
    page.click("#video-run")
    page.wait_for_function("document.querySelector('#video-message textarea').value.includes('broken.mp4')")
    said = message(page, "video")
    assert said.startswith("error: ") and "/" not in said.split("broken.mp4")[0], "no folder of the server is told"
    page.reload()
    page.wait_for_selector("#detect-run")
    page.click("button[role=tab]:has-text('Video')")
    page.set_input_files("#video-file input[type=file]", str(files / "large.mp4"))
    page.wait_for_selector("text=/exceeds|too large|maximum/i")


def test_two_users_at_once_get_their_own(visit, files):
    pages = [visit(), visit()]
    for page, name in zip(pages, ("first.png", "second.png")):
        upload(page, "detect-image", files / name)
    for page in pages:
        page.click("#detect-run")
    for page, name in zip(pages, ("first", "second")):
        assert "found from a score" in message(page, "detect")
        page.wait_for_selector(f"#detect-files a[download='{name}_detected.png']")


def test_a_malformed_and_an_oversize_upload_are_said_in_the_page(visit, files):
    page = visit()
    upload(page, "detect-image", files / "broken.png")
    page.click("#detect-run")
    assert message(page, "detect").startswith("error: broken.png cannot be read as an image")
    page.reload()
    page.wait_for_selector("#detect-run")
    page.set_input_files("#detect-image input[type=file]", str(files / "large.png"))
    page.wait_for_selector("text=/exceeds|too large|maximum/i")
    page.click("#detect-run")
    assert message(page, "detect") == "Upload an image first."
