"""Pictures as texts: what is kept of them, and what is refused before it does harm."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from synaptoroute.encoder.pictures import MAX_PIXELS, picture, pixels_of
from synaptoroute.errors import InvalidInputError
from synaptoroute.models import MAX_TEXT_CHARS, Route, clean_query, is_picture
from tests.encoder.shapes import drawn


def written(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG that promises so many pixels in a hundred bytes."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def test_an_image_its_file_and_its_bytes_are_the_same_text(tmp_path: Path) -> None:
    image = drawn("red", "circle")
    file = tmp_path / "circle.png"
    file.write_bytes(written(image))
    text = picture(image)
    assert text == picture(file) == picture(str(file)) == picture(file.read_bytes())
    assert is_picture(text)
    assert clean_query(text) == text
    assert Route(name="circles", utterances=[text]).utterances == (text,)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP"])
def test_every_format_shows_the_same_colours(kind: str) -> None:
    pixels = pixels_of(picture(written(drawn("blue", "square"), kind), side=56), 56)
    assert pixels.shape == (56, 56, 3)
    np.testing.assert_allclose(pixels[28, 28], (40, 70, 220), atol=14)


def test_what_the_reader_sees_is_what_was_there() -> None:
    """Scaled and compressed once, and then close to the original's own middle square."""
    image = drawn("yellow", "triangle", size=448)
    seen = pixels_of(picture(image), 224).astype(float)
    whole = np.asarray(image.resize((224, 224), Image.Resampling.BICUBIC), float)
    assert np.abs(seen - whole).mean() < 3


def test_a_wide_picture_is_its_middle() -> None:
    image = Image.new("RGB", (300, 100), "red")
    image.paste("blue", (100, 0, 200, 100))
    pixels = pixels_of(picture(image, side=32), 32)
    np.testing.assert_allclose(pixels[16, [4, 16, 28]], [[0, 0, 255]] * 3, atol=12)


def test_a_photo_held_sideways_is_set_upright() -> None:
    image = Image.new("RGB", (64, 64), "white")
    image.paste("red", (0, 0, 64, 32))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise: what is above comes to the right
    pixels = pixels_of(picture(written(image, "JPEG", exif=exif), side=32), 32)
    assert pixels[16, 28, 1] < 80 < 180 < pixels[16, 4, 1]


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_is_white(mode: str) -> None:
    image = Image.new("RGBA", (40, 40), (255, 0, 0, 0)).convert(mode)
    assert pixels_of(picture(written(image), side=32), 32).min() > 240


@pytest.mark.parametrize("mode", ["L", "1", "CMYK", "I;16"])
def test_other_kinds_of_pixels_become_rgb(mode: str) -> None:
    kind = "JPEG" if mode == "CMYK" else "PNG"
    assert pixels_of(picture(written(Image.new(mode, (40, 40), 0), kind), side=16), 16).shape == (16, 16, 3)


def test_of_a_moving_picture_the_first_is_seen() -> None:
    frames = [Image.new("RGB", (32, 32), colour) for colour in ("red", "blue")]
    moving = written(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert pixels_of(picture(moving, side=16), 16)[8, 8, 0] > 200


def test_noise_that_nothing_compresses_still_fits() -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (400, 400, 3), np.uint8))
    text = picture(noise, side=336)
    assert len(text) <= MAX_TEXT_CHARS
    with pytest.raises(InvalidInputError, match="choose a smaller side"):
        picture(noise, side=3_000)


def test_a_large_photo_is_scaled() -> None:
    assert len(picture(written(Image.new("RGB", (4_000, 3_000), "green"), "JPEG"))) < 2_000


@pytest.mark.parametrize(("width", "height"), [(30_000, 30_000), (60_000, 900), (MAX_PIXELS + 1, 1)])
def test_a_picture_of_too_many_pixels_is_refused_by_its_header(width: int, height: int) -> None:
    with pytest.raises(InvalidInputError, match="pixels"):
        picture(png_header(width, height))
    with pytest.raises(InvalidInputError, match="pixels"):
        pixels_of("data:image/png;base64," + base64.b64encode(png_header(width, height)).decode(), 32)


def test_an_image_of_too_many_pixels_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="100 x 101 pixels, at most 10,000"):
        picture(Image.new("L", (100, 101)), max_pixels=10_000)


def test_a_file_of_too_many_bytes_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "long.png"
    with file.open("wb") as sparse:
        sparse.truncate(1 << 34)
    with pytest.raises(InvalidInputError, match=r"'long.png' has more than 1,000 bytes"):
        picture(file, max_bytes=1_000)


@pytest.mark.parametrize(
    ("source", "told"),
    [
        (b"", "is no JPEG"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "is no JPEG"),
        (b"%PDF-1.7", "is no JPEG"),
        (png_header(0, 0), "is no JPEG"),
        (png_header(10, 10), "damaged"),
        (written(Image.new("RGB", (64, 64)), "JPEG")[:300], "damaged"),
        (written(Image.new("RGB", (8, 8)), "TIFF"), "is no JPEG"),
        (3, "got int"),
        (None, "got NoneType"),
        (Path("nowhere.png"), "cannot read picture 'nowhere.png'"),
        ("nul\0.png", "cannot read"),
    ],
)
def test_what_is_no_picture_is_refused(source: object, told: str) -> None:
    with pytest.raises(InvalidInputError, match=told):
        picture(source)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    [
        "data:image/webp;base64",
        "data:image/webp,plain",
        "data:image/webp;base64,ä",
        "data:image/webp;base64,****",
        "data:text/plain;base64,aGk=",
        "data:image/webp;base64,aGVsbG8=",
        picture(Image.new("RGB", (8, 8)))[:-20],
    ],
)
def test_what_is_no_picture_as_a_text_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError):
        pixels_of(text, 32)


def test_a_side_is_a_number_of_pixels() -> None:
    with pytest.raises(InvalidInputError, match="side is 0"):
        picture(Image.new("RGB", (8, 8)), side=0)
