"""Texts and pictures in one space: a text encoder and a picture encoder that were trained as a pair, such as CLIP."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from synaptoroute.encoder.base import BaseEncoder, Vectors, encode_checked
from synaptoroute.encoder.networks import CPU, Provider, open_session
from synaptoroute.encoder.pictures import SIDE, Pixels, pixels_of
from synaptoroute.errors import (
    EncoderOutputError,
    EncoderUnavailableError,
    InvalidInputError,
    InvalidQueryError,
    MissingExtraError,
)
from synaptoroute.forking import PerProcess
from synaptoroute.models import is_picture
from synaptoroute.profile import OptimizationProfile, usable_cores

if TYPE_CHECKING:
    from fastembed import ImageEmbedding
    from onnxruntime import InferenceSession

#: OpenAI's CLIP and most models after it; what a folder's preprocessor_config.json says comes before this.
_CLIP_MEAN, _CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
_CONFIG = "preprocessor_config.json"


class PictureEncoder(Protocol):
    """Turns the pixels of pictures into vectors; the half of a pair that ``ImageEncoder`` needs beside the texts'.

    Attributes:
        name: For people.
        dim: Length of every vector.
        fingerprint: Changes whenever the vectors would.
        side: Pixels of a side of the squares it reads.
    """

    @property
    def name(self) -> str:
        """For people."""
        ...

    @property
    def dim(self) -> int:
        """Length of every vector."""
        ...

    @property
    def fingerprint(self) -> str:
        """Changes whenever the vectors would."""
        ...

    @property
    def side(self) -> int:
        """Pixels of a side."""
        ...

    def encode_pixels(self, pictures: Sequence[Pixels]) -> NDArray[np.float32]:
        """Rows (n, dim) of pictures (side, side, 3), RGB; called from several threads, each picture for itself."""
        ...


class ImageEncoder:
    """Encodes texts, and the pictures among them that ``picture()`` wrote, as unit vectors of one space.

    A route may have pictures, texts or both as utterances, and a query may be either:

        router = AdaptiveRouter(ImageEncoder.onnx("clip-vit-base-patch32"))
        router.add_route(Route(name="shoes", utterances=[picture("sneaker.jpg"), "a photo of a shoe"]))
        router(picture(uploaded_bytes))

    In spaces of the CLIP kind pictures lie apart from texts (the modality gap: Liang et al., "Mind the Gap", NeurIPS
    2022): a picture is nearer to most pictures than to any text. Give routes pictures if queries are pictures.

    Args:
        texts: The text half.
        pictures: The picture half, of the same dim.

    Raises:
        InvalidInputError: The two have vectors of different lengths, so they cannot be a pair.
    """

    #: Utterances that are pictures are accepted.
    reads_pictures = True
    #: Who makes the vectors, as OpenTelemetry names them.
    provider = "synaptoroute"

    def __init__(self, texts: BaseEncoder, pictures: PictureEncoder) -> None:
        if texts.dim != pictures.dim:
            raise InvalidInputError(
                f"{texts.name} has vectors of {texts.dim} numbers, {pictures.name} of {pictures.dim}: they are no pair"
            )
        self._texts, self._pictures = texts, pictures
        both = json.dumps([texts.fingerprint, pictures.fingerprint]).encode()
        self._fingerprint = f"{self.name}-{hashlib.sha256(both).hexdigest()[:16]}"

    @classmethod
    def onnx(
        cls,
        folder: str | Path,
        *,
        text_model: str = "onnx/text_model.onnx",
        vision_model: str = "onnx/vision_model.onnx",
        providers: Sequence[Provider] = CPU,
    ) -> Self:
        """A pair of ONNX graphs in one folder with ``tokenizer.json`` and ``preprocessor_config.json``.

        Args:
            folder: As exports of CLIP and SigLIP on model hubs are laid out.
            text_model: The text graph, within the folder; it ends in one vector a text.
            vision_model: The picture graph, likewise; pixels go in as (n, 3, side, side).
            providers: onnxruntime execution providers, in order of preference.

        Raises:
            EncoderUnavailableError: A file is missing or cannot be loaded.
            InvalidInputError: The two are no pair.
            MissingExtraError: Pillow is not installed.
        """
        from synaptoroute.encoder.onnx import OnnxEncoder

        _require_pillow()
        texts = OnnxEncoder(folder, model_file=text_model, pooling=None, providers=providers)
        return cls(texts, OnnxPictures(folder, model_file=vision_model, providers=providers))

    @classmethod
    def fastembed(
        cls,
        texts: str = "Qdrant/clip-ViT-B-32-text",
        pictures: str = "Qdrant/clip-ViT-B-32-vision",
        *,
        text_path: str | Path | None = None,
        picture_path: str | Path | None = None,
        providers: Sequence[str] | None = None,
    ) -> Self:
        """A pair of models by their names in fastembed, downloaded once or read from folders.

        Raises:
            MissingExtraError: The package fastembed is not installed.
            EncoderUnavailableError: The files are not there and cannot be downloaded.
            InvalidInputError: fastembed has no such model, or the two are no pair.
        """
        from synaptoroute.encoder.fastembed import FastEmbedEncoder

        return cls(
            FastEmbedEncoder(texts, model_path=text_path, providers=providers),
            FastEmbedPictures(pictures, model_path=picture_path, providers=providers),
        )

    @property
    def name(self) -> str:
        """Both halves."""
        return f"{self._texts.name}+{self._pictures.name}"

    @property
    def dim(self) -> int:
        """Length of every vector."""
        return self._texts.dim

    @property
    def fingerprint(self) -> str:
        """Changes with either half."""
        return self._fingerprint

    @property
    def side(self) -> int:
        """What ``picture(..., side=...)`` should be given, so that nothing is scaled twice."""
        return self._pictures.side

    def __repr__(self) -> str:
        return f"ImageEncoder({self.name!r}, dim={self.dim}, side={self.side})"

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Unit rows, float32 (len(texts), dim), of texts and of pictures written as texts.

        Raises:
            InvalidQueryError: A picture is damaged, or too large.
            EncoderError: One of the halves failed.
        """
        return self._encoded(texts, alone=False)

    def encode_in_thread(self, texts: Sequence[str]) -> Vectors:
        """``encode`` in the calling thread alone, for callers that have a thread for each core."""
        return self._encoded(texts, alone=True)

    def _encoded(self, texts: Sequence[str], *, alone: bool) -> Vectors:
        vectors = np.empty((len(texts), self.dim), np.float32)
        seen = np.fromiter(map(is_picture, texts), bool, len(texts))
        read = np.flatnonzero(~seen)
        if len(read):
            vectors[read] = encode_checked(self._texts, [texts[row] for row in read.tolist()], alone=alone)
        # One at a time: the pixels of a thousand would take 150 MB.
        for row in np.flatnonzero(seen).tolist():
            vectors[row] = self._of_picture(texts[row])
        return vectors

    def _of_picture(self, text: str) -> NDArray[np.float32]:
        try:
            pixels = pixels_of(text, self.side)
        except InvalidInputError as exc:
            raise InvalidQueryError(str(exc)) from exc
        vector = self._pictures.encode_pixels([pixels])[0]
        length = float(np.linalg.norm(vector))
        if vector.shape != (self.dim,) or not np.isfinite(length) or not length:
            raise EncoderOutputError(f"{self._pictures.name} returned no finite vector of {self.dim} numbers")
        return np.asarray(vector / length, np.float32)


@dataclass(frozen=True, slots=True)
class _Scaling:
    """How pixels become what a graph reads, as its folder's preprocessor_config.json says."""

    side: int
    factor: float
    mean: NDArray[np.float32]
    std: NDArray[np.float32]

    def __call__(self, pixels: Pixels) -> NDArray[np.float32]:
        scaled = (pixels.astype(np.float32) * np.float32(self.factor) - self.mean) / self.std
        return np.ascontiguousarray(scaled.transpose(2, 0, 1)[None])


class OnnxPictures:
    """The picture half of a pair: any ONNX graph from pixels (n, 3, side, side) to one vector a picture.

    Args:
        folder: With the graph and, if its pixels are scaled in another way than CLIP's, preprocessor_config.json.
        model_file: The graph, within the folder.
        output: Which of its outputs; by default ``image_embeds`` or the first with one vector a picture.
        providers: onnxruntime execution providers, in order of preference.

    Raises:
        EncoderUnavailableError: A file is missing, damaged, or no such graph.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        model_file: str = "model.onnx",
        output: str | None = None,
        providers: Sequence[Provider] = CPU,
    ) -> None:
        self._path = Path(folder) / model_file
        self._name = f"{Path(folder).name}/{self._path.stem}"
        self._providers = list(providers)
        try:
            weights = self._path.read_bytes()
        except OSError as exc:
            raise EncoderUnavailableError(f"cannot read {self._path}: {exc.strerror}") from exc
        self._scaling, config = _scaling(Path(folder) / _CONFIG)
        self._session: PerProcess[InferenceSession] = PerProcess()
        session = self._session.get(self._load)
        self._input = session.get_inputs()[0].name
        self._output, self._dim = _chosen(session, output, self._path)
        digest = hashlib.sha256(weights + config + self._output.encode())
        self._fingerprint = f"{self.name}-{digest.hexdigest()[:16]}"

    @property
    def name(self) -> str:
        """The folder's and the graph's name."""
        return self._name

    @property
    def dim(self) -> int:
        """Length of every vector."""
        return self._dim

    @property
    def fingerprint(self) -> str:
        """Changes with the graph, the output and the way pixels are scaled."""
        return self._fingerprint

    @property
    def side(self) -> int:
        """Pixels of a side of the squares it reads."""
        return self._scaling.side

    def __repr__(self) -> str:
        return f"OnnxPictures({self.name!r}, dim={self.dim}, side={self.side})"

    def encode_pixels(self, pictures: Sequence[Pixels]) -> NDArray[np.float32]:
        """Rows (n, dim); each picture runs alone. Raises EncoderOutputError if the graph refuses it."""
        session = self._session.get(self._load)
        rows = np.empty((len(pictures), self.dim), np.float32)
        for row, pixels in enumerate(pictures):
            try:
                rows[row] = session.run([self._output], {self._input: self._scaling(pixels)})[0].reshape(-1)
            except Exception as exc:
                raise EncoderOutputError(f"{self._path} cannot read {self.side} x {self.side} pixels: {exc}") from exc
        return rows

    def _load(self) -> InferenceSession:
        return open_session(
            self._path,
            str(self._path),
            cores=usable_cores(),
            profile=OptimizationProfile.BALANCED,
            providers=self._providers,
        )


class FastEmbedPictures:
    """The picture half of a pair by its name in fastembed, such as ``Qdrant/clip-ViT-B-32-vision``.

    Args:
        model_name: A name in ``fastembed.ImageEmbedding.list_supported_models()``.
        model_path: Folder with the model's files; nothing is downloaded then.
        providers: onnxruntime execution providers, in order of preference; fastembed's choice by default.

    Raises:
        MissingExtraError: The package fastembed is not installed.
        InvalidInputError: fastembed has no model of that name.
        EncoderUnavailableError: The files are not there and cannot be downloaded, or cannot be loaded.
    """

    #: fastembed scales by itself what it gets; CLIP's own size leaves it nothing to do.
    side = SIDE

    def __init__(
        self,
        model_name: str = "Qdrant/clip-ViT-B-32-vision",
        *,
        model_path: str | Path | None = None,
        providers: Sequence[str] | None = None,
    ) -> None:
        try:
            from fastembed import ImageEmbedding
        except ImportError as exc:
            raise MissingExtraError("FastEmbedPictures", "fastembed") from exc
        try:
            self._dim = ImageEmbedding.get_embedding_size(model_name)
        except ValueError:
            raise InvalidInputError(
                f"fastembed has no picture model {model_name!r}; see ImageEmbedding.list_supported_models()"
            ) from None
        self._name = model_name
        self._options: dict[str, Any] = {"providers": providers}
        if model_path is not None:
            self._options["specific_model_path"] = str(model_path)
        self._model: PerProcess[ImageEmbedding] = PerProcess()
        # Known to the model only, under a private name, up to fastembed 0.9 at least.
        half: Any = self._model.get(self._load).model
        graph = Path(half._model_dir) / half.model_description.model_file  # noqa: SLF001
        config = graph.parent / _CONFIG
        digest = hashlib.sha256(graph.read_bytes() + (config.read_bytes() if config.exists() else b""))
        self._fingerprint = f"{model_name.split('/')[-1]}-{digest.hexdigest()[:16]}"

    @property
    def name(self) -> str:
        """The model's name."""
        return self._name

    @property
    def dim(self) -> int:
        """Length of every vector."""
        return self._dim

    @property
    def fingerprint(self) -> str:
        """Changes with the graph and the way pixels are scaled."""
        return self._fingerprint

    def __repr__(self) -> str:
        return f"FastEmbedPictures({self.name!r}, dim={self.dim})"

    def encode_pixels(self, pictures: Sequence[Pixels]) -> NDArray[np.float32]:
        """Rows (n, dim); each picture runs alone."""
        from PIL import Image

        model = self._model.get(self._load)
        rows = [next(iter(model.embed([Image.fromarray(pixels)], batch_size=1))) for pixels in pictures]
        return np.array(rows, np.float32).reshape(len(pictures), -1)

    def _load(self) -> ImageEmbedding:
        from fastembed import ImageEmbedding

        try:
            return ImageEmbedding(self._name, **self._options)
        except Exception as exc:
            raise EncoderUnavailableError(
                f"fastembed cannot load {self._name}: {str(exc).partition(chr(10))[0]}; pass the folder with its files"
            ) from exc


def _scaling(config: Path) -> tuple[_Scaling, bytes]:
    """What the file says, else CLIP's way; with the file's content."""
    content = config.read_bytes() if config.exists() else b"{}"
    try:
        said = json.loads(content)
        size = said.get("crop_size", said.get("size", SIDE))
        if isinstance(size, dict):
            size = size.get("height", size.get("shortest_edge"))
        scaling = _Scaling(
            side=int(size),
            factor=float(said.get("rescale_factor", 1 / 255)),
            mean=np.array(said.get("image_mean", _CLIP_MEAN), np.float32).reshape(3),
            std=np.array(said.get("image_std", _CLIP_STD), np.float32).reshape(3),
        )
    except (ValueError, TypeError, AttributeError) as exc:
        raise EncoderUnavailableError(f"{config} does not say how pixels are scaled: {exc}") from exc
    if scaling.side < 1 or not (scaling.std > 0).all():
        raise EncoderUnavailableError(f"{config} asks for {scaling.side} pixels and a deviation of {scaling.std}")
    return scaling, content


def _chosen(session: InferenceSession, output: str | None, path: Path) -> tuple[str, int]:
    """The output with one vector a picture, and its length."""
    shapes = {each.name: each.shape for each in session.get_outputs()}
    flat = {name: shape[1] for name, shape in shapes.items() if len(shape) == 2 and isinstance(shape[1], int)}
    wanted = output or ("image_embeds" if "image_embeds" in flat else next(iter(flat), ""))
    if wanted not in flat:
        raise EncoderUnavailableError(f"{path} has no output of one vector a picture; its outputs are {shapes}")
    return wanted, flat[wanted]


def _require_pillow() -> None:
    try:
        import PIL  # noqa: F401
    except ImportError as exc:
        raise MissingExtraError("ImageEncoder", "images") from exc
