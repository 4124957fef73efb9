"""Token relevance: a sentence as a strip of words, each shaded by its number. Arrays in, arrays out."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from d2road.utils.errors import DataError

PAPER, INK, SHADE = (255, 255, 255), (20, 20, 20), (255, 170, 40)


def draw_sentence(
    text: str,
    width: int,
    spans: Sequence[tuple[int, int]] = (),
    relevance: Sequence[float] = (),
    size: int = 18,
    note: str = "",
) -> np.ndarray:
    """Write a sentence, wrapped, on paper that is the darker behind a part the larger its number.

    Characters that Pillow's own font lacks (it is Latin) are drawn as boxes.

    Args:
        text: of any length; line breaks count as spaces.
        width: of the strip, pixels.
        spans: (start, end) characters of each part.
        relevance: of each part, 0 to 1.
        size: of the letters, pixels.
        note: said first, in the shade's colour.
    Returns:
        (h, width, 3) uint8 RGB; h grows with the text.
    Raises:
        ValueError: not as many numbers as spans, or a width below 8 letters.
    """
    if len(spans) != len(relevance):
        raise ValueError(f"draw_sentence: {len(spans)} spans and {len(relevance)} numbers, expected one for each")
    if width < 8 * size:
        raise DataError(f"draw_sentence: a strip of {width} pixels is too narrow for letters of {size}")
    shades = np.zeros(len(text))
    for (start, end), value in zip(spans, relevance):
        shades[start:end] = np.clip(np.nan_to_num(value), 0, 1)
    font, step = ImageFont.load_default(size), round(1.5 * size)
    lead = f"{note}  " if note else ""
    lines = _wrap(lead + text, font, width - size)
    strip = Image.new("RGB", (width, step * len(lines) + size // 2), PAPER)
    pen = ImageDraw.Draw(strip)
    for row, (start, end) in enumerate(lines):
        x, top = size / 2, size / 4 + row * step
        for position in range(start, end):
            character = (lead + text)[position].replace("\n", " ")
            own = position - len(lead)
            advance = font.getlength(character)
            if own >= 0 and shades[own] > 0:
                pen.rectangle((x, top, x + advance, top + step - 2), fill=_mix(shades[own]))
            pen.text((x, top), character, font=font, fill=INK if own >= 0 else SHADE)
            x += advance
    return np.array(strip)


def _wrap(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: float) -> list[tuple[int, int]]:
    """(start, end) of the lines: broken after the last space that fits, within a word if it is longer than a line."""
    lines, start, space, used, position = [], 0, -1, 0.0, 0
    while position < len(text):
        used += font.getlength(text[position].replace("\n", " "))
        if used > width and position > start:
            end = space + 1 if space >= start else position
            lines.append((start, end))
            start, position, used, space = end, end, 0.0, -1
            continue
        if text[position].isspace():
            space = position
        position += 1
    return [*lines, (start, len(text))]


def _mix(share: float) -> tuple[int, int, int]:
    red, green, blue = (round(p + (s - p) * share) for p, s in zip(PAPER, SHADE))
    return red, green, blue
