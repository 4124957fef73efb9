"""What a prediction is about: lists of inputs, and tar archives that are read as a stream and never unpacked."""

import io
import shutil
import subprocess
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from d2road.engine import tar_images
from d2road.engine.prediction_inputs import find_sources
from d2road.utils.image_io import ImageBytes, read_still_image

IMAGES = {"a.png": 10, "deep/b.png": 20, "c.jpg": 30}


@pytest.fixture
def images(tmp_path):
    """A folder with three images of one value each, and a text."""
    folder = tmp_path / "images"
    for name, value in IMAGES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / name), np.full((8, 12, 3), value, np.uint8))
    (folder / "notes.txt").write_text("no image")
    return folder


def archive_with(path, *entries):
    """A tar archive of (name, content, kind) entries."""
    with tarfile.open(path, "w") as archive:
        for name, content, kind in entries:
            entry = tarfile.TarInfo(name)
            entry.type, entry.size = kind, len(content)
            entry.linkname = "/etc/passwd" if kind != tarfile.REGTYPE else ""
            archive.addfile(entry, io.BytesIO(content))
    return path


def means(sources):
    """{name in the archive: mean value} of the images of one archive."""
    contents = tar_images.read_members(sources[0].path, [source.member for source in sources])
    return {m.name: float(read_still_image(ImageBytes(m.name, content)).mean()) for m, content in contents}


@pytest.mark.skipif(shutil.which("tar") is None, reason="no tar program")
@pytest.mark.parametrize("ending, option", [(".tar", ""), (".tar.gz", "z"), (".tgz", "z"), (".tar.bz2", "j")])
def test_images_of_an_archive_that_tar_has_made_are_read_in_its_order(images, tmp_path, ending, option, caplog):
    file = tmp_path / f"shard{ending}"
    names = ["./c.jpg", "./deep", "./a.png", "./notes.txt"]
    subprocess.run(["tar", f"-c{option}f", str(file), *names], cwd=images, check=True)
    with caplog.at_level("INFO"):
        sources, problems = find_sources([str(file)])
    assert not problems and [str(s.name) for s in sources] == [str(file / n) for n in ("c.jpg", "deep/b.png", "a.png")]
    assert means(sources) == pytest.approx({"./c.jpg": 30, "./deep/b.png": 20, "./a.png": 10}, abs=1)
    assert means(sources[1:2]) == pytest.approx({"./deep/b.png": 20})
    assert "1 entries are no images and are left out (1 .txt)" in caplog.text
    assert sorted(p.name for p in tmp_path.iterdir()) == ["images", file.name], "nothing is unpacked"


@pytest.mark.parametrize("name", ["../up.png", "a/../../up.png", "/root/up.png", "a\\..\\up.png"])
def test_an_archive_with_a_name_that_leads_out_of_it_is_refused_as_a_whole(tmp_path, name):
    good = ("good.png", b"x", tarfile.REGTYPE)
    file = archive_with(tmp_path / "a.tar", good, (name, b"x", tarfile.REGTYPE))
    sources, problems = find_sources([str(file)])
    assert not sources and len(problems) == 1
    assert f"has an entry named {name!r}, which leads out of its folder: nothing of it is read" in problems[0]


def test_links_and_devices_in_an_archive_are_never_followed(tmp_path, caplog):
    entries = [(f"{n}.png", b"", k) for n, k in enumerate((tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE))]
    file = archive_with(tmp_path / "a.tar", *entries, ("x.png", b"x", tarfile.REGTYPE))
    with caplog.at_level("INFO"):
        sources, problems = find_sources([str(file)])
    assert not problems and [source.member.name for source in sources] == ["x.png"]
    assert "3 links and devices" in caplog.text


def test_archives_that_are_none_cut_off_or_empty_are_reported(images, tmp_path):
    whole = tmp_path / "whole.tar"
    with tarfile.open(whole, "w") as archive:
        archive.add(images / "a.png", "a.png")
        archive.add(images / "c.jpg", "c.jpg")
    files = {"text.tar": b"hello" * 300, "cut.tar": whole.read_bytes()[:700], "none.tar": b""}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    archive_with(tmp_path / "bare.tar", ("readme.md", b"x", tarfile.REGTYPE))
    sources, problems = find_sources([str(tmp_path / name) for name in (*files, "bare.tar", "whole.tar")])
    assert [source.member.name for source in sources] == ["a.png", "c.jpg"]
    assert len(problems) == 4 and all("cannot be read as a tar archive" in text for text in problems[:3])
    assert problems[3] == f"{tmp_path / 'bare.tar'}: no images in this archive"


def test_a_member_that_is_too_large_fails_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(tar_images, "LARGEST_MEMBER", 4)
    file = archive_with(tmp_path / "a.tar", *((n, n.encode(), tarfile.REGTYPE) for n in ("long_name.png", "b")))
    members = tar_images.list_images(file, {".png", ""})
    contents = {m.name: content for m, content in tar_images.read_members(file, members)}
    assert "has 13 bytes, at most 4" in str(contents["long_name.png"]) and contents["b"] == b"b"


def test_a_list_names_inputs_from_where_one_is_or_from_its_own_folder(images, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here.txt").write_text("images/a.png\r\n\n  images/c.jpg \nimages/deep\n")
    (images / "beside.txt").write_text("c.jpg\na.png\nno.png\n", encoding="utf-8-sig")
    sources, problems = find_sources(["here.txt", "images/beside.txt"])
    names = [str(Path(source.path).resolve().relative_to(images)) for source in sources]
    assert names == ["a.png", "c.jpg", "deep/b.png", "c.jpg", "a.png"] or names == ["a.png", "c.jpg", "deep/b.png"]
    assert len(problems) == 1 and "no.png: no such file" in problems[0]


def test_lists_that_cannot_be_used_are_reported_and_the_others_go_on(images, tmp_path):
    contents = {"empty.txt": b"\n", "odd.txt": b"\xff\xfe\x80", "nested.txt": b"other.txt\n"}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    sources, problems = find_sources([*(str(tmp_path / name) for name in contents), str(images / "a.png")])
    assert len(sources) == 1 and len(problems) == 3
    for text, words in zip(problems, ("is empty, expected", "is no UTF-8 text", "a list in a list is not read")):
        assert words in text


def test_a_text_that_a_pattern_meets_is_no_list(images):
    sources, _ = find_sources([str(images / "n*")])
    assert [source.path.name for source in sources] == ["notes.txt"], "reading tells that it is no image"
