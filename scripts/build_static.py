"""Build the static encoder: a vector for each token, distilled from the bundled transformer.

    python scripts/build_static.py --data DIR             rebuild src/synaptoroute/encoder/weights/static
    python scripts/build_static.py --data DIR --verify    rebuild in memory and compare with what is shipped
    python scripts/build_static.py --data DIR --model M   distil another folder below encoder/weights

Nothing here needs PyTorch or a download: the transformer is the bundled ONNX file, checked against its manifest, and
the texts are public data sets, checked against their pinned SHA-256. CLINC150's and Banking77's queries are not among
them: what is measured on must not have been learned from.

How a token gets its vector
    *Alone.* Every token of the vocabulary runs through the transformer between [CLS] and [SEP]. Its own last state,
    made to length one and centred over the vocabulary, is where its vector begins.
    *In company.* The weighted sum of a text's token vectors shall point where the transformer puts the text. Over all
    texts that is a ridge regression towards the vectors of the first step, solved by conjugate gradients. A token that
    is in no text stays where it began.
    *Weight.* A token that makes up a share p of the tokens of the Wikipedia sentences weighs a / (a + p) (Arora et al.
    2017, "A simple but tough-to-beat baseline for sentence embeddings"): "the" says little.
    *Fewer dimensions.* The principal axes of the texts' vectors keep what they differ in.
    *8 bits.* Signed bytes with one scale a token, which holds its weight, too.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from scipy import sparse
from tokenizers import Tokenizer

from synaptoroute.bench import datasets
from synaptoroute.bench.sources import SOURCES, cache_folder, data_folder, fetch
from synaptoroute.encoder.bundled import DEFAULT, WEIGHTS, BundledEncoder
from synaptoroute.encoder.static import tokens_of

Floats = NDArray[np.float32]

ROOT = Path(__file__).resolve().parent.parent
TARGET = WEIGHTS / "static"
#: The train splits whose texts are learned from, and the file of sentences.
LEARNED_FROM = ("hwu64", "snips", "metatool", "nluplusplus")
SENTENCES = "clinc150/all_wiki_sents.txt"
DIM, MAX_TOKENS = 256, 254
#: The a of the weights; how firmly a token stays where it began, in texts; steps of the conjugate gradients.
RARE, FIRMNESS, STEPS = 1e-3, 1.0, 40
#: Bytes of a rebuild on another kind of CPU may differ by one here and there: the transformer's 8-bit products do.
TOLERATED = 1


# ------------------------------------------------------------------------------------------------------ texts
def sentences(data: Path | None) -> list[str]:
    """The Wikipedia sentences that come with CLINC150."""
    content = fetch(SOURCES[SENTENCES], data=data, cache=cache_folder())
    return [line.strip() for line in content.decode("utf-8").splitlines() if line.strip()]


def queries(data: Path | None) -> list[str]:
    """The train splits of the data sets, without labels."""
    return [item.text for name in LEARNED_FROM for item in datasets.load(name, data=data).train]


def counts(pieces: Any, texts: Sequence[str], tokens: int) -> Any:
    """How often each token is in each text, sparse (texts, tokens)."""
    found = [tokens_of(pieces, text, MAX_TOKENS) for text in texts]
    starts = np.cumsum([0, *map(len, found)])
    matrix = sparse.csr_matrix(
        (np.ones(starts[-1], np.float32), np.concatenate(found).astype(np.int32), starts), shape=(len(texts), tokens)
    )
    matrix.sum_duplicates()
    return matrix


# ----------------------------------------------------------------------------------------------------- vectors
def alone(transformer: bytes, tokenizer: Tokenizer) -> Floats:
    """The state of each token that nothing is said beside, of length one and centred (tokens, dim)."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(transformer, options, providers=["CPUExecutionProvider"])
    first, last = (tokenizer.token_to_id(name) for name in ("[CLS]", "[SEP]"))
    states = []
    for token in range(tokenizer.get_vocab_size()):
        ids = np.array([[first, token, last]], np.int64)
        states.append(session.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids)})[0][0, 1])
    return centred(unit(np.stack(states)))


def in_company(begin: Floats, weighted: Any, targets: Floats) -> Floats:
    """The vectors whose weighted sums point where the transformer does, and that stay near where they began.

    Args:
        begin: (tokens, dim).
        weighted: Weights of the tokens in each text, sparse (texts, tokens).
        targets: Unit rows (texts, dim).
    """
    sums = np.asarray(weighted @ begin)
    lengths = np.maximum(np.linalg.norm(sums, axis=1), 1e-6)
    scaled = sparse.diags((1 / lengths).astype(np.float32)) @ weighted
    scaled, back = scaled.tocsr().astype(np.float32), scaled.T.tocsr().astype(np.float32)
    sums = np.asarray(scaled @ begin)
    vectors = begin * np.float32((sums * targets).sum() / (sums * sums).sum())
    residual = back @ (targets - scaled @ vectors)
    towards, size = residual.copy(), np.square(residual).sum(axis=0)
    for _ in range(STEPS):
        image = back @ (scaled @ towards) + np.float32(FIRMNESS) * towards
        step = size / np.maximum((towards * image).sum(axis=0), 1e-12)
        vectors = vectors + step * towards
        residual = residual - step * image
        former, size = size, np.square(residual).sum(axis=0)
        towards = residual + size / np.maximum(former, 1e-12) * towards
    return vectors


def reduced(vectors: Floats, weighted: Any) -> Floats:
    """Along the principal axes of the texts (tokens, DIM); each axis points where most of its tokens are."""
    texts = unit(np.asarray(weighted @ vectors))
    _, axes = np.linalg.eigh((texts.T @ texts).astype(np.float64))
    found = vectors @ axes[:, ::-1][:, :DIM].astype(np.float32)
    # The sign of an eigenvector is arbitrary and differs between libraries.
    return found * np.where(found.sum(axis=0) < 0, -1, 1).astype(np.float32)


def quantised(table: Floats) -> tuple[NDArray[np.int8], Floats]:
    """Signed bytes and a scale for each row."""
    scales = np.maximum(np.abs(table).max(axis=1) / np.float32(127), 1e-12).astype(np.float32)
    return np.rint(table / scales[:, None]).astype(np.int8), scales


def unit(rows: Floats) -> Floats:
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12), np.float32)


def centred(rows: Floats) -> Floats:
    return np.asarray(rows - rows.mean(axis=0), np.float32)


# ---------------------------------------------------------------------------------------------------- building
def build(model: str, data: Path | None) -> dict[str, bytes]:
    """The generated files of the encoder's folder, by name."""
    # Encoding checks the files against the manifest, so they are what the fingerprint says.
    encoder = BundledEncoder(model)
    read = sentences(data)
    texts = [*queries(data), *read]
    targets = unit(centred(encoder.encode(texts)))
    tokenizer = Tokenizer.from_file(str(WEIGHTS / model / "tokenizer.json"))
    tokenizer.no_truncation()
    tokens = tokenizer.get_vocab_size()

    def pieces(word: str) -> Sequence[int]:
        return list(tokenizer.encode(word, add_special_tokens=False).ids)

    frequency = np.asarray(counts(pieces, read, tokens).sum(axis=0))[0]
    weights = (RARE / (RARE + frequency / frequency.sum())).astype(np.float32)
    weighted = counts(pieces, texts, tokens).multiply(weights[None, :]).tocsr().astype(np.float32)
    begin = alone((WEIGHTS / model / "model.onnx").read_bytes(), tokenizer)
    vectors = in_company(begin, weighted, targets)
    bytes_, scales = quantised(reduced(vectors, weighted) * weights[:, None])
    files = {"vectors.npy": npy(bytes_), "scales.npy": npy(scales), "tokenizer.json": str(tokenizer.to_str()).encode()}
    manifest = {
        "name": f"{encoder.name}, static",
        "quantisation": "int8, a scale for each token",
        "pooling": "weighted sum",
        "normalise": True,
        "dim": DIM,
        "max_tokens": MAX_TOKENS,
        "distilled_from": encoder.fingerprint,
        "texts_sha256": hashlib.sha256("\n".join(texts).encode()).hexdigest(),
        "sha256": {name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
    }
    files["manifest.json"] = (json.dumps(manifest, indent=2) + "\n").encode()
    return files


def npy(array: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def verify(files: dict[str, bytes]) -> int:
    """Compare a fresh build with the shipped files; says what differs. Returns a process exit code."""
    fresh, shipped = (
        np.load(io.BytesIO(content)).astype(np.int16)
        for content in (files["vectors.npy"], (TARGET / "vectors.npy").read_bytes())
    )
    if fresh.shape != shipped.shape:
        print(f"vectors.npy      DIFFERS: {fresh.shape}, shipped {shipped.shape}")
        return 1
    off = np.abs(fresh - shipped)
    print(f"vectors.npy      {(off > 0).mean():.4%} of the bytes differ, by {off.max()} at most")
    same = (TARGET / "tokenizer.json").read_bytes() == files["tokenizer.json"]
    print(f"tokenizer.json   {'identical' if same else 'DIFFERS'}")
    return 0 if same and off.max() <= TOLERATED else 1


def main() -> int:
    parser = argparse.ArgumentParser(description="Build the static encoder from the bundled transformer.")
    parser.add_argument("--data", type=Path, help="folder with the data sets; missing files are downloaded")
    parser.add_argument("--model", default=DEFAULT, help="folder of the transformer below encoder/weights")
    parser.add_argument("--verify", action="store_true", help="compare with the shipped files, write nothing")
    options = parser.parse_args()
    files = build(options.model, data_folder(options.data))
    if options.verify:
        return verify(files)
    TARGET.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (TARGET / name).write_bytes(content)
        print(f"wrote {(TARGET / name).relative_to(ROOT)} ({len(content):,} bytes)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
