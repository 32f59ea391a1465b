"""Haystack: real pipelines, sync and async, saved and loaded."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from haystack import Pipeline
from haystack.components.builders import PromptBuilder

from synaptoroute import AdaptiveRouter, Decision, Reason, Route
from synaptoroute.encoder import BundledEncoder
from synaptoroute.errors import InvalidInputError, InvalidQueryError, InvalidRouteError
from synaptoroute.integrations.haystack import SemanticRouter
from synaptoroute.route_files import write_routes
from tests.integrations.gated import GatedEncoder
from tests.integrations.running_examples import assert_prints_what_its_page_says

ROUTES = [
    Route(name="billing", utterances=["what do I owe", "show my balance", "pay my bill"], metadata={"team": ["a"]}),
    Route(name="tech support", utterances=["it does not start", "the app crashes", "I cannot log in"], threshold=0.2),
]
BILL, CRASH, NEITHER = "how much is my bill?", "the program crashes at start", "who painted the Mona Lisa?"


@pytest.fixture(scope="module")
def routed(encoder: BundledEncoder) -> Iterator[AdaptiveRouter]:
    """A router with the routes, learned; for tests that leave it as it is."""
    with AdaptiveRouter(encoder) as router:
        router.add_routes(ROUTES)
        router.wait_until_fitted()
        yield router


def pipeline_of(router: Any) -> Pipeline:
    pipeline = Pipeline()
    pipeline.add_component("router", router)
    for output in ("billing", "tech_support", "unmatched"):
        pipeline.add_component(f"{output}_prompt", PromptBuilder(f"{output}: {{{{text}}}}"))
        pipeline.connect(f"router.{output}", f"{output}_prompt.text")
    return pipeline


def prompt(result: dict[str, Any]) -> str:
    """What the one branch that ran has made; the router's decision is beside it."""
    (made,) = (part["prompt"] for name, part in result.items() if name != "router")
    return str(made)


async def test_a_pipeline_runs_the_branch_of_the_route_and_another_where_none_fits(routed: AdaptiveRouter) -> None:
    pipeline = pipeline_of(SemanticRouter(router=routed))
    for text, branch in ((BILL, "billing"), (CRASH, "tech_support"), (NEITHER, "unmatched")):
        result = pipeline.run({"router": {"text": text}})
        assert prompt(result) == f"{branch}: {text}"
        assert await pipeline.run_async({"router": {"text": text}}) == result
        decision = result["router"]["decision"]
        assert isinstance(decision, Decision)
        assert (decision.name is None) == (branch == "unmatched")


def test_a_pipeline_is_saved_with_its_routes_and_loaded_with_the_same_decisions(tmp_path: Path) -> None:
    write_routes(ROUTES, tmp_path / "routes.yaml")
    by_file = SemanticRouter(routes_file=tmp_path / "routes.yaml", outputs={"billing": "money"}, min_confidence=0.4)
    for router in (SemanticRouter(ROUTES), by_file):
        saved = json.loads(json.dumps(router.to_dict()))
        pipeline = Pipeline()
        pipeline.add_component("router", router)
        loaded = Pipeline.loads(pipeline.dumps(), allowed_modules=["synaptoroute.*"]).get_component("router")
        assert isinstance(loaded, SemanticRouter)
        assert loaded.to_dict() == saved
        assert loaded.outputs == router.outputs
        for text in (BILL, CRASH, NEITHER):
            again, before = loaded.run(text), router.run(text)
            assert again.keys() == before.keys()
            assert again["decision"].confidence == pytest.approx(before["decision"].confidence, abs=1e-6)
        router.close()
        loaded.close()


def test_what_is_saved_is_the_routes_or_their_file_and_nothing_else(tmp_path: Path) -> None:
    write_routes(ROUTES, tmp_path / "routes.json")
    inline = SemanticRouter(ROUTES).to_dict()["init_parameters"]
    assert inline["routes"][1] == {
        "name": "tech support", "utterances": ["it does not start", "the app crashes", "I cannot log in"],
        "threshold": 0.2,
    }  # fmt: skip
    assert SemanticRouter(routes_file=tmp_path / "routes.json").to_dict()["init_parameters"] == {
        "routes": None,
        "routes_file": str(tmp_path / "routes.json"),
        "outputs": {},
        "min_confidence": None,
    }


async def test_a_given_router_stays_open_and_what_it_learns_later_has_no_output(encoder: BundledEncoder) -> None:
    with AdaptiveRouter(encoder) as router:
        router.add_routes(ROUTES)
        component = SemanticRouter(router=router)
        router.add_route(Route(name="weather", utterances=["will it rain tomorrow", "what is the forecast"]))
        router.wait_until_fitted()
        result = component.run("will it rain on Sunday?")
        assert (result["unmatched"], result["decision"].name) == ("will it rain on Sunday?", "weather")
        component.close()
        await component.close_async()
        assert "billing" in component.run(BILL)
        with pytest.raises(InvalidInputError, match="with a router cannot be saved"):
            component.to_dict()


def test_a_router_without_routes_sends_all_to_unmatched(encoder: BundledEncoder) -> None:
    with AdaptiveRouter(encoder) as router:
        component = SemanticRouter(router=router)
        assert component.outputs == {}
        result = component.run(BILL)
        assert (result["unmatched"], result["decision"].reason) == (BILL, Reason.NO_ROUTES)


async def test_a_closed_component_opens_again_when_it_is_run() -> None:
    component = SemanticRouter(ROUTES)
    component.close()
    await component.warm_up_async()
    first = await component.run_async(BILL)
    component.close()
    assert (await component.run_async(BILL))["decision"].name == first["decision"].name
    await component.close_async()


async def test_run_async_leaves_the_loop_free(encoder: BundledEncoder) -> None:
    gated = GatedEncoder(encoder)
    with AdaptiveRouter(gated) as router:
        router.add_routes(ROUTES)
        router.warm_up()
        component = SemanticRouter(router=router)
        result = await gated.result_with_a_free_loop(component.run_async(BILL), BILL)
        assert result["billing"] == BILL


def test_min_confidence_is_that_of_the_component(routed: AdaptiveRouter) -> None:
    strict, lax = SemanticRouter(router=routed, min_confidence=1.0), SemanticRouter(router=routed, min_confidence=0.0)
    assert strict.run(CRASH)["decision"].reason is Reason.BELOW_CONFIDENCE
    assert lax.run(CRASH)["tech_support"] == CRASH
    with pytest.raises(InvalidInputError, match="probability"):
        SemanticRouter(ROUTES, min_confidence=2)


def test_outputs_are_names_that_pipelines_can_connect() -> None:
    names = ["billing", "tech support", "2nd level", "météo/paris", "a.b"]
    routes = [Route(name=name, utterances=[f"about {name}"]) for name in names]
    component = SemanticRouter(routes, outputs={"a.b": "ab"})
    assert component.outputs == {
        "billing": "billing",
        "tech support": "tech_support",
        "2nd level": "route_2nd_level",
        "météo/paris": "météo_paris",
        "a.b": "ab",
    }
    sockets = set(component.__haystack_output__._sockets_dict)  # type: ignore[attr-defined]
    assert sockets == {*component.outputs.values(), "unmatched", "decision"}


@pytest.mark.parametrize(
    ("names", "outputs", "message"),
    [
        (["a b", "a_b"], None, "'a b' and 'a_b' would share the output 'a_b'"),
        (["a b", "a_b"], {"a b": "a_b"}, "would share the output"),
        (["unmatched"], None, "cannot have the output 'unmatched'"),
        (["decision"], None, "cannot have the output 'decision'"),
        (["a"], {"a": "not a name"}, "cannot have the output 'not a name'"),
        (["a"], {"b": "b"}, "'b', which is no route"),
    ],
)
def test_outputs_that_do_not_fit_are_refused(names: list[str], outputs: dict[str, str] | None, message: str) -> None:
    routes = [Route(name=name, utterances=[f"about {name}"]) for name in names]
    with pytest.raises(InvalidInputError, match=message):
        SemanticRouter(routes, outputs=outputs)


def test_routes_share_an_output_where_both_are_said_to(routed: AdaptiveRouter) -> None:
    component = SemanticRouter(router=routed, outputs={"billing": "desk", "tech support": "desk"})
    assert (component.run(BILL)["desk"], component.run(CRASH)["desk"]) == (BILL, CRASH)


def test_bad_input_is_refused_with_its_place(tmp_path: Path, routed: AdaptiveRouter) -> None:
    for given in ({}, {"routes": ROUTES, "routes_file": "routes.json"}):
        with pytest.raises(InvalidInputError, match="exactly one of routes, routes_file and router"):
            SemanticRouter(**given)  # type: ignore[arg-type]
    with pytest.raises(InvalidRouteError, match="a route has no utterances"):
        SemanticRouter([{"name": "billing"}])
    with pytest.raises(InvalidInputError, match="billing"):
        SemanticRouter([ROUTES[0], ROUTES[0]])
    with pytest.raises(InvalidInputError, match=r"missing\.json"):
        SemanticRouter(routes_file=tmp_path / "missing.json")
    with pytest.raises(InvalidQueryError, match="empty"):
        SemanticRouter(router=routed).run("  ")


def test_the_example_prints_what_its_page_says(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert_prints_what_its_page_says("haystack_router", "haystack", monkeypatch, capsys)
