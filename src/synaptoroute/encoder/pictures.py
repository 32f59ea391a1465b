"""Pictures as texts: small enough to be an utterance or a query, and all that a model will see of them."""

from __future__ import annotations

import base64
import binascii
import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from synaptoroute.errors import InvalidInputError, MissingExtraError
from synaptoroute.models import MAX_TEXT_CHARS, is_picture

if TYPE_CHECKING:
    from PIL.Image import Image

Pixels = NDArray[np.uint8]
Source = "Image | Path | str | bytes | bytearray | memoryview"

#: Pictures of more pixels are refused by their header, before anything is decoded: 50 million take 150 MB.
MAX_PIXELS = 50_000_000
#: Files and bytes of more are not read.
MAX_BYTES = 32 << 20
#: Pillow has decoders for dozens of formats, most of them old and rarely attacked by anybody well-meaning.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
#: What CLIP and most of its kin look at, in pixels a side.
SIDE = 224

_HEAD = "data:image/webp;base64,"
#: Tried in turn until the text is short enough; at 224 pixels nearly every photo fits with the first.
_QUALITIES = (90, 80, 65, 50, 35, 20, 5)


def picture(
    source: Image | Path | str | bytes | bytearray | memoryview,
    *,
    side: int = SIDE,
    max_pixels: int = MAX_PIXELS,
    max_bytes: int = MAX_BYTES,
) -> str:
    """A picture as a text, for routes and for queries of a router with an ``ImageEncoder``.

    The text is a data URL of the middle square, scaled to what the model looks at. It is stored, exported, replicated
    and encoded anew like any other utterance; nothing else of the picture is kept, no place, no name, no date.

    Args:
        source: A PIL image, the path of a file, or its bytes.
        side: Pixels of a side of the square; the ``side`` of the encoder that will read it.
        max_pixels: Larger ones are refused before they are decoded.
        max_bytes: Larger files are refused before they are read.

    Returns:
        At most 32,768 characters.

    Raises:
        InvalidInputError: It cannot be read, is no JPEG, PNG, WebP, GIF or BMP, is damaged, or is too large.
        MissingExtraError: Pillow is not installed.
    """
    if side < 1:
        raise InvalidInputError(f"side is {side}, wanted pixels")
    square = _square(_opened(source, max_pixels, max_bytes), side)
    for quality in _QUALITIES:
        written = io.BytesIO()
        square.save(written, "WEBP", quality=quality, method=4)
        text = _HEAD + base64.b64encode(written.getbuffer()).decode()
        if len(text) <= MAX_TEXT_CHARS:
            return text
    raise InvalidInputError(
        f"a picture of {side} x {side} pixels takes {len(text):,} characters; choose a smaller side"
    )


def pixels_of(text: str, side: int, *, max_pixels: int = MAX_PIXELS) -> Pixels:
    """What a model sees of a picture that is written as a data URL: (side, side, 3), RGB.

    Raises:
        InvalidInputError: It is no data URL in base64, or ``picture`` would not have accepted its content.
        MissingExtraError: Pillow is not installed.
    """
    head, comma, content = text.partition(",")
    if not is_picture(text) or not comma or not head.endswith(";base64"):
        raise InvalidInputError("a picture is wanted as data:image/...;base64,...; synaptoroute's picture() makes it")
    try:
        written = base64.b64decode(content, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidInputError("a picture's data URL is not valid base64") from None
    return np.asarray(_square(_opened(written, max_pixels, MAX_BYTES), side))


def _opened(source: Any, max_pixels: int, max_bytes: int) -> Image:
    """The picture, of which no more than the header has been read if it came as a file."""
    try:
        import PIL
        from PIL import Image as Pillow
    except ImportError as exc:
        raise MissingExtraError("picture", "images") from exc
    if isinstance(source, Pillow.Image):
        opened, whence = source, "the picture"
    else:
        content, whence = _content(source, max_bytes)
        try:
            opened = Pillow.open(io.BytesIO(content), formats=FORMATS)
        except PIL.UnidentifiedImageError:
            raise InvalidInputError(f"{whence} is no {', '.join(FORMATS[:-1])} or {FORMATS[-1]} picture") from None
        except Pillow.DecompressionBombError:
            raise InvalidInputError(f"{whence} has more than {max_pixels:,} pixels; scale it down first") from None
        except Exception as exc:
            raise _damaged(whence, exc) from exc
    width, height = opened.size
    if not width or not height or width * height > max_pixels:
        raise InvalidInputError(
            f"{whence} has {width:,} x {height:,} pixels, at most {max_pixels:,} in all are accepted; scale it down"
        )
    return opened


def _content(source: Any, max_bytes: int) -> tuple[bytes, str]:
    """The bytes, and what to call them in an error."""
    if isinstance(source, bytes | bytearray | memoryview):
        content, whence = bytes(source), "the picture"
    elif isinstance(source, str | os.PathLike):
        path = Path(source)
        whence = f"picture {path.name!r}"
        try:
            with path.open("rb") as file:
                content = file.read(max_bytes + 1)
        except (OSError, ValueError) as exc:
            raise InvalidInputError(f"cannot read {whence}: {getattr(exc, 'strerror', None) or exc}") from exc
    else:
        raise InvalidInputError(f"a picture is wanted as PIL image, path or bytes, got {type(source).__name__}")
    if len(content) > max_bytes:
        raise InvalidInputError(f"{whence} has more than {max_bytes:,} bytes, the most accepted")
    return content, whence


def _square(opened: Image, side: int) -> Image:
    """The middle square in RGB, upright, over white where it is transparent."""
    from PIL import Image as Pillow
    from PIL import ImageOps

    try:
        # A JPEG decodes at an eighth of its size just as well, if that is still twice what is wanted.
        opened.draft("RGB", (2 * side, 2 * side))
        upright = ImageOps.exif_transpose(opened)
        if upright.has_transparency_data:
            seen = upright.convert("RGBA")
            upright = Pillow.alpha_composite(Pillow.new("RGBA", seen.size, "white"), seen)
        # As CLIP was trained: shorter side scaled with bicubic interpolation, then the middle.
        return ImageOps.fit(upright.convert("RGB"), (side, side), Pillow.Resampling.BICUBIC)
    except Exception as exc:
        raise _damaged("the picture", exc) from exc


def _damaged(whence: str, exc: Exception) -> InvalidInputError:
    return InvalidInputError(f"{whence} is damaged: {exc}")
