"""Pascal VOC's XML, a file an image.

VOC's own corners are pixel indices from 1, the last pixel included ("pixels"): [xmin - 1, xmax] along x. Most programs
write continuous coordinates in the same tags ("edges"): [xmin, xmax]. Nothing in a file says which, but for VOC's own.
"""

import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

from d2road.data.bridges.coco_content import IMAGE_SUFFIXES, CocoContent, is_ignored, shown_size
from d2road.data.bridges.xml_files import number_of, read_xml, whole_number_of
from d2road.utils.errors import ConfigError, DataError, raise_errors
from d2road.utils.input_files import text_lines, walk_files

CORNERS = ("pixels", "edges")
OWN_MARK = "PASCAL VOC"  # source/annotation of VOC's own files
DIFFICULT = "difficult objects, marked `ignore`: detections on them count neither way, and they are not trained on"
ABSENT = "images that are not there; the size is that of their labels"
UNSURE = (
    "boxes, all of whole numbers from 1, were read as edges; if they are VOC's pixel indices, say --voc-corners pixels"
)


def read_voc(root: str | Path, split: str = "", image_dir: str | Path = "", corners: str = "") -> CocoContent:
    """Boxes of a folder in VOC's layout, or of XML files beside their images as LabelImg leaves them.

    Args:
        root: with Annotations/ (else all XML files below it are taken), JPEGImages/, ImageSets/Main/ and, as datumaro
            and CVAT write it, labelmap.txt with the classes in their order.
        split: a list of ImageSets/Main; "" for all XML files.
        image_dir: "" for JPEGImages/, else the folder itself.
        corners: "pixels" or "edges", see above; "" takes pixels where the files say that they are VOC's own.
    Raises:
        FileNotFoundError, DataError, ConfigError: files that cannot be read, or are no annotations.
    """
    root = Path(root).expanduser()
    if not root.is_dir():
        raise FileNotFoundError(f"folder {root} of Pascal VOC's annotations does not exist")
    labels = root / "Annotations" if (root / "Annotations").is_dir() else root
    own = root / "JPEGImages"
    named = image_dir or (own if own.is_dir() and any(own.iterdir()) else "")
    images = Path(named or labels).expanduser()
    if not images.is_dir():
        raise FileNotFoundError(f"image folder {images} does not exist")
    content = CocoContent(f"{root}{f' ({split})' if split else ''}", str(images))
    names = _listed(root, split) if split else [_stem(path, labels) for path in walk_files(labels) if _is_xml(path)]
    if not names:
        raise DataError(f"{content.source}: no annotations; expected XML files in {labels}")
    trees = {name: read_xml(labels / f"{name}.xml", "annotation") for name in names if _has_xml(labels, name)}
    content.add_classes(_classes(root, list(trees.values())))
    errors: list[str] = []
    pixels = (corners or _guess(list(trees.values()), content)) == "pixels"
    for name in names:
        try:
            _add_file(content, name, trees.get(name), images, pixels, bool(named))
        except (DataError, FileNotFoundError) as error:
            errors.append(str(error))
    raise_errors(errors, content.source)
    if content.notes[ABSENT] == len(names):
        content.image_dir = ""
    content.notes = +content.notes
    return content


def _is_xml(path: Path) -> bool:
    return path.suffix.lower() == ".xml"


def _stem(path: Path, folder: Path) -> str:
    return path.relative_to(folder).with_suffix("").as_posix()


def _has_xml(labels: Path, name: str) -> bool:
    return (labels / f"{name}.xml").is_file()


def _listed(root: Path, split: str) -> list[str]:
    """Names of a list of images; datumaro puts those with blanks in quotes, lists of a class end in 1 or -1."""
    path = root / "ImageSets" / "Main" / f"{split}.txt"
    if not path.is_file():
        known = sorted(one.stem for one in path.parent.glob("*.txt"))
        raise ConfigError(f"no list {path}; there are {', '.join(known) or 'none'}")
    lines = [line.strip() for line in text_lines(path, "list of images")]
    return [line.split('"')[1] if line.startswith('"') and line.count('"') > 1 else line for line in lines if line]


def _classes(root: Path, trees: list[ET.Element]) -> list[str]:
    """Those of labelmap.txt in its order, then others that objects have, by name."""
    found = {_text(thing, "name") for tree in trees for thing in tree.findall("object")} - {""}
    listed: list[str] = []
    if (root / "labelmap.txt").is_file():
        lines = [line.strip() for line in text_lines(root / "labelmap.txt", "list of classes")]
        listed = [line.split(":")[0].strip() for line in lines if line and not line.startswith("#")]
        listed = [name for name in listed if name != "background" or name in found]
    return listed + sorted(found - set(listed))


def _guess(trees: list[ET.Element], content: CocoContent) -> str:
    """The convention of corners: pixels if the files say that they are VOC's own, else edges."""
    if any(_text(tree, "source/annotation").upper().startswith(OWN_MARK) for tree in trees):
        return "pixels"
    words = [tag.text or "" for tree in trees for box in tree.iterfind("object/bndbox") for tag in box]
    if words and all(word.strip().isdigit() and int(word) > 0 for word in words):
        content.notes[UNSURE] = len(words) // 4
    return "edges"


def _text(tree: ET.Element, path: str) -> str:
    return (tree.findtext(path) or "").strip()


def _add_file(
    content: CocoContent, name: str, tree: ET.Element | None, images: Path, pixels: bool, needed: bool
) -> None:
    """Put an image with its objects into the content; without XML it has none.

    Args:
        needed: the image itself must be there.
    """
    where = f"{content.source}: {name}.xml"
    path = _find_image(images, name, _text(tree, "filename") if tree is not None else "")
    given = _size_of(tree, where)
    if path is not None:
        image_id = content.add_image(path.relative_to(images).as_posix(), shown_size(path, given, where))
    elif given is None or tree is None or needed:
        cure = "" if needed else ", and no size in the file: say by --images where they are"
        raise FileNotFoundError(f"{where}: no image of that name in {images}{cure}")
    else:
        content.notes[ABSENT] += 1
        file_name = _text(tree, "filename") or f"{name}.jpg"
        image_id = content.add_image((Path(name).parent / Path(file_name).name).as_posix(), given)
    if tree is None:
        content.notes["images without an XML file: background"] += 1
        return
    ids = content.class_ids()
    for number, thing in enumerate(tree.findall("object"), 1):
        _add_object(content, image_id, thing, ids, f"{where}: object {number}", pixels)


def _size_of(tree: ET.Element | None, where: str) -> tuple[int, int] | None:
    """(width, height) of an XML file; None where it has none, or zeros."""
    if tree is None or tree.find("size") is None:
        return None
    width = whole_number_of(tree.findtext("size/width"), f"{where}: width")
    height = whole_number_of(tree.findtext("size/height"), f"{where}: height")
    return (width, height) if width and height else None


def _find_image(images: Path, name: str, file_name: str) -> Path | None:
    """The image of an XML file: of the file name in it, beside others of its folder, or of the XML's own name."""
    parent = Path(name).parent
    candidates = [images / parent / Path(file_name).name, images / file_name] if file_name else []
    for path in candidates:
        if path.is_file() and path.suffix.lower() in IMAGE_SUFFIXES and images in path.parents:
            return path
    found = sorted((images / parent).glob(f"{_escaped(Path(name).name)}.*"))
    return next((path for path in found if path.suffix.lower() in IMAGE_SUFFIXES), None)


def _escaped(name: str) -> str:
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)


def _add_object(
    content: CocoContent, image_id: int, thing: ET.Element, ids: dict[str, int], where: str, pixels: bool
) -> None:
    box, name = thing.find("bndbox"), _text(thing, "name")
    if box is None:
        content.notes["objects without a box, left out"] += 1
        return
    if not name:
        raise DataError(f"{where} has no name")
    x1, y1, x2, y2 = (number_of(box.findtext(tag), f"{where}: {tag}") for tag in ("xmin", "ymin", "xmax", "ymax"))
    if x2 < x1 or y2 < y1:
        raise DataError(f"{where} has corners {x1:g}, {y1:g}, {x2:g}, {y2:g}: expected xmax and ymax to be the larger")
    extra: dict[str, Any] = {}
    for tag in ("truncated", "occluded", "difficult"):
        if _text(thing, tag) not in ("", "0", "Unspecified"):
            extra[tag] = 1
    if "difficult" in extra:
        extra["ignore"] = 1
        content.notes[DIFFICULT] += 1
    if thing.find("part") is not None:
        content.notes["objects whose parts (head, hands, feet) are left out"] += 1
    content.add_box(image_id, ids[name], (x1 - pixels, y1 - pixels, x2, y2), **extra)


def voc_files(content: CocoContent, split: str, corners: str = "") -> dict[str, str]:
    """The text files of VOC's layout: path below the root -> content.

    Args:
        corners: "pixels" or "edges", see above; "" writes edges.
    Raises:
        DataError: two images that would have one XML file.
    """
    files: dict[str, str] = {}
    names = {category["id"]: category["name"] for category in content.categories}
    listed = []
    for image, annotations in content.boxes_by_image():
        stem = Path(image["file_name"]).with_suffix("").as_posix()
        path = f"Annotations/{stem}.xml"
        if path in files:
            raise DataError(f"{content.source}: two images have the annotation {path}: rename one of them")
        listed.append(f'"{stem}"' if " " in stem else stem)
        files[path] = _xml_of(content, image, annotations, names, corners == "pixels")
    files[f"ImageSets/Main/{split}.txt"] = "".join(f"{name}\n" for name in listed)
    rows = ["# label:color_rgb:parts:actions", "background:0,0,0::", *(f"{name}:::" for name in names.values())]
    if not any(":" in name for name in names.values()):
        files["labelmap.txt"] = "\n".join(rows) + "\n"
    else:
        content.notes["list of classes (labelmap.txt) left out: a class has a colon in its name"] += 1
    return files


def _xml_of(
    content: CocoContent, image: dict[str, Any], annotations: list[dict], names: dict[int, str], pixels: bool
) -> str:
    root = ET.Element("annotation")
    ET.SubElement(root, "folder").text = "JPEGImages"
    ET.SubElement(root, "filename").text = image["file_name"]
    source = ET.SubElement(root, "source")
    ET.SubElement(source, "database").text = "Unknown"
    ET.SubElement(source, "annotation").text = OWN_MARK if pixels else "Unknown"
    size = ET.SubElement(root, "size")
    for tag, value in (("width", image["width"]), ("height", image["height"]), ("depth", 3)):
        ET.SubElement(size, tag).text = str(value)
    ET.SubElement(root, "segmented").text = "0"
    for annotation in annotations:
        corners = content.clipped_corners(annotation, image)
        if corners is None:
            continue
        thing = ET.SubElement(root, "object")
        ET.SubElement(thing, "name").text = names[annotation["category_id"]]
        ET.SubElement(thing, "pose").text = "Unspecified"
        difficult = is_ignored(annotation)
        content.notes["crowds and ignored objects, written as difficult"] += difficult
        for tag in ("truncated", "occluded"):
            ET.SubElement(thing, tag).text = str(int(bool(annotation.get(tag))))
        ET.SubElement(thing, "difficult").text = str(int(difficult))
        box = ET.SubElement(thing, "bndbox")
        for tag, value, shift in zip(("xmin", "ymin", "xmax", "ymax"), corners, (pixels, pixels, 0, 0)):
            ET.SubElement(box, tag).text = f"{value + shift:.4f}".rstrip("0").rstrip(".")
    content.notes = +content.notes
    ET.indent(root)
    return ET.tostring(root, encoding="unicode") + "\n"
