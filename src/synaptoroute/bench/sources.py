"""The files of the public data sets: what they hash to, where they come from, and how they are found.

A file is looked for in the folder that was given, then in the cache, then at its upstream address. Whatever is found
must have the SHA-256 in the table below, so that two people who compare figures have measured on the same bytes.
"""

from __future__ import annotations

import hashlib
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from types import MappingProxyType

from synaptoroute.errors import SynaptoRouteError

DATA_VARIABLE = "SYNAPTOROUTE_DATA"
CACHE_VARIABLE = "SYNAPTOROUTE_CACHE"
DOWNLOAD_TIMEOUT_S = 20.0
#: The largest file of the table has 2.8 MB; whatever goes on past this is not that file.
_MAX_DOWNLOAD_BYTES = 16 << 20


class DatasetError(SynaptoRouteError):
    """A file of a data set is missing, differs from the pinned one, or cannot be downloaded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One file of a data set.

    Attributes:
        name: Its path below the data folder.
        sha256: What its bytes must hash to.
        address: Where upstream has it.
        licence: Under which its authors give it away.
    """

    name: str
    sha256: str
    address: str
    licence: str


def data_folder(given: Path | None) -> Path | None:
    """The folder that was given, else that of ``SYNAPTOROUTE_DATA``, else None.

    Raises:
        DatasetError: It is named, but is not a folder.
    """
    named = given if given is not None else os.environ.get(DATA_VARIABLE) or None
    if named is None:
        return None
    folder = Path(named)
    if not folder.is_dir():
        raise DatasetError(f"the data folder {folder} is not there; name another with --data or {DATA_VARIABLE}")
    return folder


def cache_folder() -> Path:
    """Where downloads are kept: ``SYNAPTOROUTE_CACHE``, else a folder in the platform's cache."""
    if named := os.environ.get(CACHE_VARIABLE):
        return Path(named)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "synaptoroute" / "data"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "synaptoroute" / "data"


def fetch(source: Source, *, data: Path | None, cache: Path, timeout_s: float = DOWNLOAD_TIMEOUT_S) -> bytes:
    """The file's content, checked; downloaded into the cache if neither folder has it.

    Raises:
        DatasetError: A file in ``data`` is not the pinned one, or there is none and upstream cannot be reached or
            gives something else. The message names address and licence.
    """
    if data is not None and (data / source.name).is_file():
        content = (data / source.name).read_bytes()
        if (seen := _sha256(content)) != source.sha256:
            raise DatasetError(
                f"{data / source.name} is not the pinned file: its SHA-256 is {seen}, wanted {source.sha256}; "
                f"take it from {source.address} ({source.licence})"
            )
        return content
    kept = cache / source.name
    if kept.is_file() and _sha256(content := kept.read_bytes()) == source.sha256:
        return content
    content = _download(source, timeout_s)
    _keep(content, kept)
    return content


def _download(source: Source, timeout_s: float) -> bytes:
    # Imported here: the command line imports this module for the name of a variable, and must start quickly.
    import urllib.error
    import urllib.request

    help_ = (
        f"get {source.name} from {source.address} ({source.licence}) and name its folder's parent with --data or "
        f"{DATA_VARIABLE}"
    )
    try:
        # The addresses are those of the table below, all of them https.
        with urllib.request.urlopen(source.address, timeout=timeout_s) as answer:  # noqa: S310
            content: bytes = answer.read(_MAX_DOWNLOAD_BYTES)
    except (urllib.error.URLError, OSError, ValueError) as exc:
        reason = exc.reason if isinstance(exc, urllib.error.URLError) else exc
        raise DatasetError(f"cannot download {source.name}: {reason}; {help_}") from exc
    if (seen := _sha256(content)) != source.sha256:
        raise DatasetError(
            f"upstream's {source.name} is not the pinned file: its SHA-256 is {seen}, wanted {source.sha256}; {help_}"
        )
    return content


def _keep(content: bytes, path: Path) -> None:
    """Write it whole or not at all: two benchmarks may download at once. A cache that cannot be written is no error."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=path.parent, delete=False) as file:
            file.write(content)
        Path(file.name).replace(path)
    except OSError:
        return


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _raw(repository: str, path: str, revision: str = "HEAD") -> str:
    return f"https://raw.githubusercontent.com/{repository}/{revision}/{path}"


_POLYAI = "PolyAI-LDN/task-specific-datasets"
_FEWSHOT = "jianguoz/Few-Shot-Intent-Detection"
_NEGATIONS = (
    "amazon-science/aws-intent-detect-neg-implicature-dataset",
    "IntentSemanticEncoder/build_toolkit/results/CLINC150",
    "4ba6175bc45672a4fafd18f399edc7b4b9c3c038",
)
_GPT4 = "modified_utterance_gpt-4-0613_negate_intent_all_v2"

#: Hashes of NLU++ banking, fold 0 to 19.
_FOLDS = (
    "bc9544ba197f5f073d07beab056466997ad986077d1ee46b434a251568034d0c",
    "ebe7cb30185e0884c9f6a20c8650636bb7ed0419d1a1a5608d63eb323f5df2ec",
    "9ce7cc6605cfa7dcb07be2b5f6ecb6cc075db5f344c998963a7a0be34727db99",
    "caff1b2b46503f85ae0ea2add66498857b341c87e87fa3dfbd3e8f12ee092fcd",
    "2c5121f7bcdca72c5a790b6a5ab1de6e0d89f5e9c6038bfa36507942f91aae5e",
    "fbc4252be25dfe5fd81b246eb51bcd9fccf509e43d29968832b99dcd0595449e",
    "fc2cbe872188462202f0fa4abdc4ee3bb38df130530500cb29f0c58c7f130cf1",
    "3029b8f9364ce6fc5ea202dc3b5d00b89a678cc90e49be0b865ace4cd944cea9",
    "7c76964657343991ed2d2c874db11b679b35cbe9fbf1ab05259667c02fd87335",
    "2d26f835b622d2c8bf83f4f29ebfc2cf5b1615f9cf7082e341f2cd77fd5d6a89",
    "a61de5477bd09ac0baa4152705be278f819de5ae60226c65c19d341b01330f6f",
    "cc01ca2a90f3da8c0e9d3762e59d1a84329bd357e5e9f17f490108ce5450b3a6",
    "d47c38523d56a9ffff0ffc1e4daa14339a6e42dfbf7b29ede030f1cc659dd612",
    "cb4c26ebecc7e68b8be0fafb4a691c9199fe6bb1368f0b549d29c6a1d6438fd1",
    "2b5350380c0d13e9cdef211a02b7406d97be2a766081bdab9beba12035948b48",
    "48ab8cf2a87cadfa3be845de6071f91cf22089b6618c471eceb749e6c719739e",
    "29e3bce3fa74908b85ee8c595b17419ae8161414cd4eb682fc41a79abe93c2bc",
    "4bf5dfe9d5114ef0300f970ed4c473eb7a9090900223a01af018e6a3e2a17bee",
    "f4f514ae92501dbe009ef639f229558d966eb63066f6273327558b51b9fcf69a",
    "c24f0fb42c4714d27f8639351c22df75e714e1e3e2451032d73452e4faa3942c",
)

#: (path below the data folder, SHA-256, address, licence).
_TABLE: tuple[tuple[str, str, str, str], ...] = (
    (
        "clinc150/data_full.json",
        "36923c3705a59e08fe9c3883d8bc2dd966ef93e22cb78ac41171782a698d56e0",
        _raw("clinc/oos-eval", "data/data_full.json"),
        "CC BY 3.0",
    ),
    (
        "clinc150/all_wiki_sents.txt",
        "570704f8120d13d27dda90d116a0b2365e121139f72c2967b65f55465ebfad44",
        _raw("clinc/oos-eval", "data/all_wiki_sents.txt"),
        "CC BY 3.0, the sentences CC BY-SA 3.0",
    ),
    (
        "banking77/train.csv",
        "b06e26ac675513959a63135f11b94ea7786ed02da65db93a5650d8838cbc664b",
        _raw(_POLYAI, "banking_data/train.csv"),
        "CC BY 4.0",
    ),
    (
        "banking77/test.csv",
        "d12d6e3bc4c3103966ae786dc435913c0c563dfa328f5a3646d0e62cfeeb474d",
        _raw(_POLYAI, "banking_data/test.csv"),
        "CC BY 4.0",
    ),
    (
        "hwu64/train.in",
        "6f37991e7920711e3c5024f5f5ac535882b9da1df84e837d889c5a53ef91cd4f",
        _raw(_FEWSHOT, "Datasets/HWU64/train/seq.in"),
        "CC BY 4.0",
    ),
    (
        "hwu64/train.label",
        "90e21d2f25cba02dd332b6cdb7d09d4fe178680b91a4469adf1790f753f7df2c",
        _raw(_FEWSHOT, "Datasets/HWU64/train/label"),
        "CC BY 4.0",
    ),
    (
        "hwu64/valid.in",
        "fa939bc5394f708691c3d4d5c03bb59fc8301af4cc72a73e9e32fcedafd4e3c2",
        _raw(_FEWSHOT, "Datasets/HWU64/valid/seq.in"),
        "CC BY 4.0",
    ),
    (
        "hwu64/valid.label",
        "aec9b5c05528709ec48202dddd7ee1789536a5562866d91feef102d5d9476815",
        _raw(_FEWSHOT, "Datasets/HWU64/valid/label"),
        "CC BY 4.0",
    ),
    (
        "hwu64/test.in",
        "c0129df86114872dd58ac48448fd5559ed6679895b1938f469cf360f7c85ba79",
        _raw(_FEWSHOT, "Datasets/HWU64/test/seq.in"),
        "CC BY 4.0",
    ),
    (
        "hwu64/test.label",
        "aec9b5c05528709ec48202dddd7ee1789536a5562866d91feef102d5d9476815",
        _raw(_FEWSHOT, "Datasets/HWU64/test/label"),
        "CC BY 4.0",
    ),
    (
        "metatool/all_clean_data.csv",
        "cf2eb0474396677530931def51012da4e88f9f34f655332f04177b2054101baf",
        _raw("HowieHwong/MetaTool", "dataset/data/all_clean_data.csv"),
        "MIT",
    ),
    (
        "metatool/plugin_des.json",
        "c446ade5acfb8e16c477124250665021e63b11bf6cb232db04fc9ba6bed0389a",
        _raw("HowieHwong/MetaTool", "dataset/plugin_des.json"),
        "MIT",
    ),
    (
        "snips/train.in",
        "04ad1e3f2121d83c6478f9a4b17d2dbdc21d06d6127f73cb7af835ed733f9855",
        _raw(_FEWSHOT, "Datasets/SNIPS/train/seq.in"),
        "CC0",
    ),
    (
        "snips/train.label",
        "bfd7df6cf9dd76c5da5d8b61bc85f90386197bdd3d7510c1d324c051537b962f",
        _raw(_FEWSHOT, "Datasets/SNIPS/train/label"),
        "CC0",
    ),
    (
        "clinc150-negation/test.in",
        "940fd3bacacfd045aa999dddb5f7b504c00e92ef1f56c75c8ac563fc3b6ac3f8",
        _raw(_NEGATIONS[0], f"{_NEGATIONS[1]}/negation/{_GPT4}.in", _NEGATIONS[2]),
        "CC BY 4.0",
    ),
    (
        "clinc150-negation/test.label",
        "88c5e4c3b8fdc568324b07763e7540b3720c419e675d93bf6c732f9b4ee002f2",
        _raw(_NEGATIONS[0], f"{_NEGATIONS[1]}/negation_devset/{_GPT4}_label", _NEGATIONS[2]),
        "CC BY 4.0",
    ),
    *(
        (
            f"nluplusplus/banking_fold{fold}.json",
            sha256,
            _raw(_POLYAI, f"nlupp/data/banking/fold{fold}.json"),
            "CC BY 4.0",
        )
        for fold, sha256 in enumerate(_FOLDS)
    ),
)

SOURCES = MappingProxyType(
    {
        name: Source(name=name, sha256=sha256, address=address, licence=licence)
        for name, sha256, address, licence in _TABLE
    }
)
