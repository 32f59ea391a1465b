"""What ``route --explain`` prints."""

from typing import TYPE_CHECKING

from synaptoroute.cli import output

if TYPE_CHECKING:
    from synaptoroute.explaining import Explanation

_PARTS = {
    "head": "the learned head",
    "neighbours": "its neighbours alone",
    "two_stage": "two stages",
    "static": "the static first stage",
}


def show(query: str, explanation: "Explanation", *, as_json: bool) -> None:
    """One query's decision and what made it."""
    decision = explanation.decision
    if as_json:
        told = explanation.to_dict()
        output.print_json({"query": query, **told.pop("decision"), "explanation": told})
        return
    stages, limits = explanation.stages, explanation.limits
    output.print_text(f"{query}")
    output.print_text(f"  {decision.name or 'none'} ({decision.reason.value}), confidence {decision.confidence:.3f}")
    if explanation.decided_by is not None:
        output.print_text(f"  ranked by {_PARTS[explanation.decided_by]}, revision {explanation.revision}")
    for name, limit in (
        ("threshold", limits.threshold),
        ("min_confidence", limits.min_confidence),
        ("min_margin", limits.min_margin),
    ):
        if limit.value is not None:
            output.print_text(f"  needed {name} {limit.value:.3f}, from the {limit.source}")
    known = f", its {explanation.cached} was cached" if explanation.cached else ""
    reranked = f", rerank {stages.rerank_ms:.2f} ms" if explanation.tie else ""
    output.print_text(
        f"  encode {stages.encode_ms:.2f} ms, search {stages.search_ms:.2f} ms{reranked}, "
        f"decide {stages.decide_ms:.2f} ms{known}"
    )
    output.print_table(
        ["route", "confidence", "score", "utterance"],
        [[match.name, match.confidence, match.score, match.utterance] for match in decision.matches],
    )
    if explanation.tie:
        output.print_text("  a tie, broken by the reranker")
        output.print_table(
            ["route", "before", "after", "score", "utterance"],
            [
                [each.name, each.before, each.after, scored.score, scored.utterance]
                for each in explanation.tie
                for scored in each.scored
            ],
        )
    output.print_text("  nearest utterances")
    output.print_table(
        ["score", "route", "utterance"],
        [[neighbour.score, neighbour.name, neighbour.utterance] for neighbour in explanation.nearest],
    )
