"""Routing pictures: by example pictures, by texts, beside texts; with a small real pair of encoders."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from synaptoroute.encoder import BaseEncoder, BundledEncoder, ImageEncoder
from synaptoroute.encoder.image import FastEmbedPictures, OnnxPictures
from synaptoroute.encoder.pictures import picture
from synaptoroute.errors import (
    EncoderMismatchError,
    EncoderUnavailableError,
    InvalidInputError,
    InvalidQueryError,
)
from synaptoroute.models import Route
from synaptoroute.router import AdaptiveRouter
from synaptoroute.storage import SQLiteStorage
from synaptoroute.testing import EncoderContract
from tests.encoder.shapes import COLOURS, DIM, SHAPES, SIDE, build, drawn


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("pair") / "shapes")


@pytest.fixture(scope="module")
def pair(folder: Path) -> ImageEncoder:
    return ImageEncoder.onnx(folder)


def shown(colour: str, shape: str, seed: int) -> str:
    return picture(drawn(colour, shape, seed), side=SIDE)


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> ImageEncoder:
    """Its text half knows more than a dozen words."""
    folder = build(tmp_path_factory.mktemp("pair") / "shapes", dim=384)
    return ImageEncoder(BundledEncoder(), OnnxPictures(folder, model_file="onnx/vision_model.onnx"))


class TestContract(EncoderContract):
    @pytest.fixture
    def encoder(self, wide: ImageEncoder) -> BaseEncoder:
        return wide


def test_texts_and_pictures_lie_in_one_space(pair: ImageEncoder) -> None:
    """A picture is nearest to its own caption, of twelve."""
    captions = [f"a photo of a {colour} {shape}" for colour in COLOURS for shape in SHAPES]
    pictures = [shown(colour, shape, 7) for colour in COLOURS for shape in SHAPES]
    vectors = pair.encode([text for both in zip(captions, pictures, strict=True) for text in both])
    assert vectors.shape == (24, DIM)
    nearest = (vectors[1::2] @ vectors[::2].T).argmax(axis=1)
    assert nearest.tolist() == list(range(12))


def test_a_vector_of_a_picture_does_not_depend_on_what_is_beside_it(pair: ImageEncoder) -> None:
    text = shown("red", "circle", 3)
    alone = pair.encode([text])[0]
    np.testing.assert_array_equal(pair.encode(["a green square", text, shown("blue", "square", 1)])[1], alone)
    np.testing.assert_array_equal(pair.encode_in_thread([text])[0], alone)


@pytest.mark.parametrize("examples", ["pictures", "texts", "both"])
def test_pictures_are_routed_by_pictures_and_by_texts(pair: ImageEncoder, examples: str) -> None:
    with AdaptiveRouter(pair) as router:
        for shape in SHAPES:
            texts = [f"a {colour} {shape}" for colour in COLOURS] if examples != "pictures" else []
            pictures = [shown(colour, shape, seed) for colour in COLOURS for seed in range(2)]
            router.add_route(Route(name=shape, utterances=[*texts, *(pictures if examples != "texts" else [])]))
        router.wait_until_fitted()
        asked = [
            (shape, shown(colour, shape, 90 + seed)) for shape in SHAPES for colour in COLOURS for seed in range(3)
        ]
        decisions = router.route_many([text for _, text in asked])
    best = [decision.matches[0].name for decision in decisions]
    assert np.mean([name == shape for name, (shape, _) in zip(best, asked, strict=True)]) > 0.9


async def test_a_picture_may_be_asked_from_an_event_loop(pair: ImageEncoder) -> None:
    async with AdaptiveRouter(pair, min_confidence=0.0) as router:
        router.add_route(Route(name="red", utterances=[shown("red", shape, 1) for shape in SHAPES]))
        router.add_route(Route(name="blue", utterances=["a blue circle", "a blue square"]))
        decisions = await router.aquery_many([shown("red", "square", 5), "a blue triangle"])
    assert [decision.name for decision in decisions] == ["red", "blue"]


def test_pictures_are_stored_and_come_back(pair: ImageEncoder, tmp_path: Path) -> None:
    """With no file of theirs needed any more, and nothing is encoded again."""
    route = Route(name="red", utterances=[shown("red", "circle", 1), "a red square"])
    with AdaptiveRouter(pair, SQLiteStorage(tmp_path / "routes.db")) as router:
        router.add_route(route)
    with AdaptiveRouter(pair, SQLiteStorage(tmp_path / "routes.db"), min_confidence=0.0) as router:
        assert router.routes == (route,)
        assert router(shown("red", "circle", 2)).name == "red"
    with pytest.raises(EncoderMismatchError):
        AdaptiveRouter(BundledEncoder(), SQLiteStorage(tmp_path / "routes.db"))


def test_letters_of_a_picture_are_no_evidence(pair: ImageEncoder) -> None:
    """The text of a picture shares its head with that of every other; only what is seen may decide."""
    with AdaptiveRouter(pair) as router:
        router.add_route(Route(name="red", utterances=[shown("red", "circle", seed) for seed in range(6)]))
        router.add_route(Route(name="blue", utterances=["a blue circle", "a blue square", "a blue triangle"]))
        router.wait_until_fitted()
        decision = router(shown("blue", "circle", 3))
    assert decision.matches[0].name == "blue"


def test_a_router_of_texts_takes_no_picture_for_an_utterance() -> None:
    with AdaptiveRouter() as router:
        router.add_route(Route(name="weather", utterances=["will it rain"]))
        with pytest.raises(InvalidInputError, match="give the router an ImageEncoder"):
            router.add_route(Route(name="red", utterances=[shown("red", "circle", 1)]))
        assert not router(shown("red", "circle", 1))


def test_a_damaged_picture_fails_alone(pair: ImageEncoder) -> None:
    with AdaptiveRouter(pair, min_confidence=0.0) as router:
        router.add_route(Route(name="red", utterances=["a red circle"]))
        with pytest.raises(InvalidQueryError, match="base64"):
            router("data:image/webp;base64,*")
        assert router("a red square").name == "red"


def test_the_fingerprint_knows_both_halves(folder: Path, pair: ImageEncoder, tmp_path: Path) -> None:
    other = build(tmp_path / "shapes")
    assert ImageEncoder.onnx(other).fingerprint == pair.fingerprint
    (other / "preprocessor_config.json").write_text('{"crop_size": 56}')
    assert ImageEncoder.onnx(other).fingerprint != pair.fingerprint


def test_halves_of_different_lengths_are_no_pair(folder: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"384 numbers.* of 32: they are no pair"):
        ImageEncoder(BundledEncoder(), OnnxPictures(folder, model_file="onnx/vision_model.onnx"))


@pytest.mark.parametrize("missing", ["onnx/vision_model.onnx", "onnx/text_model.onnx", "tokenizer.json"])
def test_a_folder_that_lacks_a_file_is_told(missing: str, tmp_path: Path) -> None:
    folder = build(tmp_path / "shapes")
    (folder / missing).unlink()
    with pytest.raises(EncoderUnavailableError, match=Path(missing).name):
        ImageEncoder.onnx(folder)


@pytest.mark.parametrize(
    "config",
    ["[1]", "{", '{"image_mean": [1, 2]}', '{"crop_size": "large"}', '{"image_std": [0, 1, 1]}', '{"size": 0}'],
)
def test_a_config_that_makes_no_sense_is_told(config: str, tmp_path: Path) -> None:
    folder = build(tmp_path / "shapes")
    (folder / "preprocessor_config.json").write_text(config)
    with pytest.raises(EncoderUnavailableError, match=r"preprocessor_config\.json"):
        ImageEncoder.onnx(folder)


def test_a_graph_that_is_none_or_reads_something_else_is_told(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(EncoderUnavailableError, match="has no output of one vector"):
        OnnxPictures(folder, model_file="onnx/vision_model.onnx", output="nothing")
    (tmp_path / "model.onnx").write_bytes(b"not a graph")
    with pytest.raises(EncoderUnavailableError, match="cannot load"):
        OnnxPictures(tmp_path)


def test_a_fastembed_pair_is_found_in_its_folders(folder: Path, tmp_path: Path) -> None:
    """fastembed reads the same graph, by the folder its model would be downloaded to."""
    vision = tmp_path / "vision"
    vision.mkdir()
    (vision / "model.onnx").write_bytes(
        (build(tmp_path / "wide", dim=512, side=224) / "onnx/vision_model.onnx").read_bytes()
    )
    (vision / "preprocessor_config.json").write_text(
        '{"do_resize": true, "size": {"height": 224, "width": 224}, "do_rescale": true, "rescale_factor": 0.0039216,'
        ' "do_normalize": true, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.25, 0.25, 0.25],'
        ' "image_processor_type": "CLIPImageProcessor"}'
    )
    half = FastEmbedPictures(model_path=vision)
    assert half.dim == 512
    assert half.side == 224
    pixels = np.asarray(Image.new("RGB", (224, 224), "red"))
    rows = half.encode_pixels([pixels, pixels])
    assert rows.shape == (2, 512)
    np.testing.assert_array_equal(rows[0], rows[1])


def test_a_fastembed_model_that_is_none_or_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="list_supported_models"):
        FastEmbedPictures("me/nothing")
    with pytest.raises(EncoderUnavailableError, match="pass the folder"):
        FastEmbedPictures(model_path=tmp_path)
