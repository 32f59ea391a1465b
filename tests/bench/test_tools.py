"""The tools benchmark, on a tiny set of tools and with everything real."""

from __future__ import annotations

from synaptoroute.bench.datasets import Dataset, Labelled
from synaptoroute.bench.tools import ToolsManifest, measure, table, taken_out
from synaptoroute.encoder.bundled import BundledEncoder

DESCRIPTIONS = {
    "weather": "Tell the weather forecast of a city.",
    "music": "Play songs and albums.",
    "mail": "Send e-mails to people.",
    "invoices": "Create invoices for customers.",
    "maps": "Find the way from one place to another.",
}
QUERIES = {
    "weather": ["will it rain in Rome tomorrow", "weather forecast for Oslo"],
    "music": ["play the new album of Adele", "put on some songs"],
    "mail": ["write an e-mail to Anna", "send Tom an e-mail"],
    "invoices": ["create an invoice for ACME", "invoice our customer in Bonn"],
    "maps": ["find the way to the station", "which way is it from Ulm to Kiel"],
}


def test_every_system_is_measured_in_every_mode(encoder: BundledEncoder) -> None:
    metatool = Dataset(
        name="metatool",
        train=tuple(Labelled(texts[1], name) for name, texts in QUERIES.items()),
        test=tuple(Labelled(texts[0], name) for name, texts in QUERIES.items()),
    )
    outside = ["who painted the Mona Lisa", "how old is the universe"]
    clinc = Dataset(name="clinc150", train=(), test=tuple(Labelled(text, None) for text in outside))
    manifests: list[ToolsManifest] = list(
        measure(metatool, DESCRIPTIONS, clinc, encoder=encoder, command="synaptoroute bench tools", shots=[0, 1])
    )
    assert [len(manifest.results) for manifest in manifests] == [1, 2, 3, 4, 5, 6]
    rows = {(row.system, row.examples): row for row in manifests[-1].results}
    assert len(taken_out(list(DESCRIPTIONS))) == 1
    for (system, _), row in rows.items():
        assert (row.tools, row.kept) == (5, 4)
        assert row.top1 is not None
        assert row.false_abstention is not None
        assert row.abstention_near is not None
        assert row.abstention_far is not None
        assert (row.top1.n, row.false_abstention.n, row.abstention_near.n, row.abstention_far.n) == (5, 4, 1, 2)
        if system == "cosine":
            assert (row.false_abstention.value, row.abstention_far.value) == (0, 0)
        if system == "synaptoroute":
            assert row.top1.value == 1
            assert row.abstention_far.value == 1
    assert table(manifests[-1]).count("\n") == 8
