"""Pascal VOC's XML: the corners and marks of each program that writes it, and round trips."""

import re

import pytest

from d2road.data.bridges import convert_boxes
from d2road.data.bridges.voc import DIFFICULT, UNSURE, read_voc
from d2road.utils.errors import ConfigError, DataError
from tests.factories.box_data import CLASSES, GOLDEN, IMAGES, SOURCE, boxes_of, copied, source_boxes, worst_difference


@pytest.mark.parametrize(
    ("program", "corners", "tolerance"),
    [
        ("datumaro_voc", "", 0.01),  # keeps two decimals
        ("datumaro_voc_one_based", "pixels", 1.0),  # whole pixels that hold the box
        ("globox_voc", "", 1e-3),
        ("labelimg", "", 1.0),  # whole pixels, cut off, and 1 in place of 0
        ("supervision_voc", "pixels", 1.0),  # whole pixels, rounded
    ],
)
def test_files_of_other_programs(program, corners, tolerance):
    split = "train" if program.startswith("datumaro") else ""
    nested = (GOLDEN / program).rglob("sub")
    images = IMAGES if any(nested) else ""
    content = read_voc(GOLDEN / program, split, images, corners)
    assert worst_difference(boxes_of(content), source_boxes()) <= tolerance
    assert {(i["width"], i["height"]) for i in content.images} == {(64, 48), (100, 40), (32, 32), (30, 60)}
    names = [category["name"] for category in content.categories]
    assert names == (CLASSES if split else CLASSES[:2])  # without a list of classes, those of the objects
    keeps_difficult = program.startswith("datumaro") or program == "labelimg"
    assert content.notes[DIFFICULT] == keeps_difficult
    assert sum(annotation.get("ignore", 0) for annotation in content.annotations) == keeps_difficult


@pytest.mark.parametrize("program", ["datumaro_voc_one_based", "supervision_voc"])
def test_whole_corners_from_1_raise_the_question(program):
    content = read_voc(GOLDEN / program, image_dir=IMAGES if program.startswith("datumaro") else "")
    assert content.notes[UNSURE] == 5
    pixels = read_voc(GOLDEN / program, image_dir=IMAGES if program.startswith("datumaro") else "", corners="pixels")
    assert UNSURE not in pixels.notes


def test_what_says_that_it_is_vocs_own_has_pixel_indices(tmp_path):
    folder = copied("datumaro_voc_one_based", tmp_path)
    for path in folder.rglob("*.xml"):
        text = path.read_text().replace("<annotation>Unknown</annotation>", "<annotation>PASCAL VOC2007</annotation>")
        path.write_text(text)
    own, said = read_voc(folder, "train", IMAGES), read_voc(folder, "train", IMAGES, "pixels")
    assert boxes_of(own) == boxes_of(said) and UNSURE not in own.notes


@pytest.mark.parametrize("corners", ["pixels", "edges"])
def test_a_round_trip_keeps_boxes(corners, tmp_path):
    done = convert_boxes(SOURCE, tmp_path / "voc", "voc", voc_corners=corners)
    back = read_voc(tmp_path / "voc", "train")  # the convention is told by the files
    assert worst_difference(boxes_of(back), source_boxes()) < 1e-3
    assert [category["name"] for category in back.categories] == CLASSES
    assert len(back.images) == 4 and sum(a.get("ignore", 0) for a in back.annotations) == 1
    assert any("1 crowds and ignored objects, written as difficult" in line for line in done.lines)
    with pytest.raises(ConfigError, match="is there already"):
        convert_boxes(SOURCE, tmp_path / "voc", "voc")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("<xmin>10.25</xmin>", "<xmin>40</xmin>", "expected xmax and ymax to be the larger"),
        ("<xmin>10.25</xmin>", "<xmin>ten</xmin>", "xmin is the text 'ten'"),
        ("<xmin>10.25</xmin>", "", "xmin is null"),
        ("<width>64</width>", "<width>48</width>", "is 64x48, its labels say 48x48"),
        ("<width>64</width>", "<width>-1</width>", "expected 0 or more"),
        ("</annotation>", "", "cannot be read"),
        ("annotation>", "annotations>", "expected <annotation>"),
        ("<annotation>", '<!DOCTYPE a [<!ENTITY b "c">]><annotation>', "declares entities"),
        ("<filename>a.png</filename>", "<filename>b.tga</filename>", ""),  # found by the name of the XML file
    ],
)
def test_what_is_wrong_with_a_file_is_told(old, new, said, tmp_path):
    folder = copied("globox_voc", tmp_path)
    path = folder / "a.xml"
    path.write_text(path.read_text().replace(old, new))
    if not said:
        assert len(read_voc(folder, "", IMAGES).images) == 4
        return
    with pytest.raises(DataError, match=re.escape(said)) as error:
        read_voc(folder, "", IMAGES)
    assert "a.xml" in str(error.value)


def test_labels_of_an_image_as_stored_are_refused(tmp_path):
    folder = copied("globox_voc", tmp_path)
    path = folder / "turned.xml"
    text = path.read_text().replace("<width>30</width><height>60</height>", "<width>60</width><height>30</height>")
    path.write_text(text)
    with pytest.raises(DataError, match="as stored, before its EXIF orientation"):
        read_voc(folder, "", IMAGES)


def test_what_is_not_there_is_told(tmp_path):
    with pytest.raises(ConfigError, match=r"no list .*; there are train"):
        read_voc(GOLDEN / "datumaro_voc", "val", IMAGES)
    with pytest.raises(DataError, match="say by --images"):
        read_voc(GOLDEN / "datumaro_voc", "train")  # datumaro writes no sizes
    with pytest.raises(FileNotFoundError, match="does not exist"):
        read_voc(tmp_path / "none")
    with pytest.raises(DataError, match="no annotations"):
        read_voc(tmp_path)
    (tmp_path / "images").mkdir()
    with pytest.raises(DataError, match="4 errors"):
        read_voc(GOLDEN / "globox_voc", "", tmp_path / "images")


def test_parts_and_objects_without_a_box_are_counted(tmp_path):
    part = "<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part>"
    folder = copied("globox_voc", tmp_path)
    path = folder / "a.xml"
    text = path.read_text().replace("<object>", f"<object>{part}", 1)
    path.write_text(text.replace("</annotation>", "<object><name>car</name></object></annotation>"))
    content = read_voc(folder, "", IMAGES)
    assert worst_difference(boxes_of(content), source_boxes()) < 1e-3
    assert content.notes["objects without a box, left out"] == 1
    assert content.notes["objects whose parts (head, hands, feet) are left out"] == 1
