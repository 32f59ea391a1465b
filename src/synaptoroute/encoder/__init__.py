"""Texts to unit vectors. The bundled encoder is the default and works offline; the others are extras."""

from __future__ import annotations

from synaptoroute.encoder.base import BaseEncoder
from synaptoroute.encoder.bundled import BundledEncoder
from synaptoroute.encoder.fastembed import FastEmbedEncoder
from synaptoroute.encoder.image import ImageEncoder
from synaptoroute.encoder.onnx import OnnxEncoder
from synaptoroute.encoder.openai import OpenAIEncoder

__all__ = ["BaseEncoder", "BundledEncoder", "FastEmbedEncoder", "ImageEncoder", "OnnxEncoder", "OpenAIEncoder"]
