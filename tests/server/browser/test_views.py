"""The playground in a real Chromium, over a real server: every view does what it is there for."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from synaptoroute import AdaptiveRouter
from synaptoroute.decision import lessons
from tests.seeded import SeededEncoder, route, small_heads
from tests.server.browser.visiting import SAFE_MS, Visit, button, toast, visiting
from tests.server.serving import Served, serving, small_router

QUERIES = (resources.files("synaptoroute") / "demo" / "queries.csv").read_text(encoding="utf-8")


# ----------------------------------------------------------------------------------------------------------- try
def test_the_decision_follows_what_is_typed(visit: Visit) -> None:
    page = visit.open()
    query = page.get_by_role("textbox", name="Query")
    expect(query).to_be_focused()
    page.keyboard.type("where is my parcel", delay=15)
    chosen = page.locator(".verdict .chosen")
    expect(chosen).to_have_text("order_status")
    assert page.locator(".ranked li").count() == 5
    expect(page.locator(".ranked li").first).to_contain_text("track my parcel")
    expect(page.locator(".nearest li").first).to_contain_text(re.compile(r"0\.\d{3}"))
    expect(page.locator(".legend")).to_contain_text("encode")
    expect(page.locator(".legend")).to_contain_text(re.compile(r"\d ms"))
    expect(page.locator(".measures")).to_contain_text("Lead over runner-up")
    query.fill("who painted the Mona Lisa")
    expect(chosen).to_have_text("none: not sure enough")
    expect(page.locator(".verdict")).to_have_class(re.compile("abstained"))
    query.fill("   ")
    expect(page.locator(".answer")).to_have_text("Nothing typed yet.")


def test_an_answer_that_comes_late_is_not_shown(visit: Visit) -> None:
    held: list[Route] = []

    def hold(asked: Route) -> None:
        if "parcel" in (asked.request.post_data or ""):
            held.append(asked)
        else:
            asked.continue_()

    page = visit.open()
    # Without this the browser would drop the first answer itself, for the page gives it up.
    visit.evaluate("AbortController.prototype.abort = () => {}")
    page.route("**/v1/route", hold)
    query = page.get_by_role("textbox", name="Query")
    query.fill("where is my parcel")
    query.press("Enter")
    page.wait_for_timeout(50)
    query.fill("I forgot my password")
    chosen = page.locator(".verdict .chosen")
    expect(chosen).to_have_text("reset_password")
    assert len(held) == 1
    with page.expect_response("**/v1/route"):
        held[0].continue_()
    page.wait_for_timeout(100)
    expect(chosen).to_have_text("reset_password")


def test_options_hold_for_the_query(visit: Visit) -> None:
    page = visit.open()
    page.get_by_role("textbox", name="Query").fill("where is my parcel")
    expect(page.locator(".verdict .chosen")).to_have_text("order_status")
    page.get_by_text("Options").click()
    page.get_by_label("Least confidence").fill("0.999")
    expect(page.locator(".verdict .chosen")).to_have_text("none: not sure enough")
    expect(page.locator(".measures")).to_contain_text("asked for here")
    page.get_by_label("Routes listed").fill("2")
    expect(page.locator(".ranked li")).to_have_count(2)


# -------------------------------------------------------------------------------------------------------- routes
def test_a_route_is_created_changed_and_deleted(own: Visit, own_demo: Served) -> None:
    page = own.open("routes")
    button(page, "New route").click()
    page.get_by_label("Name", exact=True).fill("gift / wrapping")
    page.get_by_label("Description").fill("Wrap it up.")
    add = page.get_by_label("Add utterances, one a line")
    for text in ("wrap it as a gift", "can you add a bow"):
        add.fill(text)
        add.press("Enter")
    button(page, "Create").click()
    toast(page, "Route gift / wrapping is there.")
    path = "/v1/routes/gift%20%2F%20wrapping"
    assert own_demo.get(path).json()["utterances"] == ["wrap it as a gift", "can you add a bow"]
    expect(page.locator(".virtual .item[aria-selected=true]")).to_contain_text("gift / wrapping")

    page.get_by_label("Threshold").fill("0.4")
    page.get_by_label("Utterance 1", exact=True).fill("wrap it as a present")
    page.get_by_label("Utterance 1", exact=True).press("Tab")
    button(page, "Remove utterance 2").click()
    page.keyboard.press("Control+s")
    toast(page, "Saved.")
    stored = own_demo.get(path).json()
    assert (stored["threshold"], stored["utterances"]) == (0.4, ["wrap it as a present"])
    expect(page.locator(".facts")).to_contain_text("17 routes")

    button(page, "Delete").click()
    button(page.get_by_role("dialog"), "Delete").click()
    toast(page, "is deleted")
    assert own_demo.get(path).status_code == 404


def test_pasted_lines_become_utterances_and_what_is_not_saved_is_asked_about(own: Visit) -> None:
    page = own.open("routes/order_status")
    add = page.get_by_label("Add utterances, one a line")
    add.evaluate(
        """field => {
          const data = new DataTransfer();
          data.setData("text/plain", "first line\\n\\n second line \\nfirst line");
          field.dispatchEvent(new ClipboardEvent("paste", { clipboardData: data, cancelable: true, bubbles: true }));
        }"""
    )
    expect(page.locator(".editor h3")).to_have_text("13 utterances")
    expect(page.locator(".editor")).to_contain_text("not saved")
    page.locator(".virtual .item").filter(has_text="refund_status").click()
    button(page.get_by_role("dialog"), "Cancel").click()
    expect(page.locator(".editor h2")).to_have_text("order_status")
    page.get_by_role("link", name="Map").click()
    button(page.get_by_role("dialog"), "Cancel").click()
    expect(page).to_have_url(re.compile("#/routes/order_status$"))
    expect(page.locator(".editor h3")).to_have_text("13 utterances")
    button(page, "Revert").click()
    expect(page.locator(".editor h3")).to_have_text("11 utterances")
    page.locator(".virtual .item").filter(has_text="refund_status").click()
    expect(page.locator(".editor h2")).to_have_text("refund_status")


@pytest.mark.parametrize(
    ("choice", "mine_is_kept", "theirs_is_kept"),
    [("Keep both changes", True, True), ("Overwrite with yours", True, False), ("Take what is stored", False, True)],
)
def test_a_conflict_shows_both_versions_and_a_choice(
    own: Visit, own_demo: Served, choice: str, mine_is_kept: bool, theirs_is_kept: bool
) -> None:
    own.expected = {412}
    page = own.open("routes/order_status")
    add = page.get_by_label("Add utterances, one a line")
    add.fill("mine is new")
    add.press("Enter")
    answer = own_demo.post("/v1/routes/order_status/utterances", {"utterances": ["theirs is new"]})
    assert answer.status_code == 200
    button(page, "Save").click()
    dialog = page.get_by_role("dialog")
    yours, theirs = dialog.locator(".version").nth(0), dialog.locator(".version").nth(1)
    expect(yours.locator("ins")).to_have_text(["mine is new"])
    expect(theirs.locator("ins")).to_have_text(["theirs is new"])
    button(dialog, choice).click()
    if mine_is_kept:
        toast(page, "Saved.")
    expect(dialog).to_have_count(0)
    stored = own_demo.get("/v1/routes/order_status").json()["utterances"]
    assert ("mine is new" in stored, "theirs is new" in stored) == (mine_is_kept, theirs_is_kept)
    expect(button(page, "Save")).to_be_disabled()


def test_a_route_that_was_deleted_meanwhile_can_be_created_anew(own: Visit, own_demo: Served) -> None:
    own.expected = {404, 412}
    page = own.open("routes/order_status")
    page.get_by_label("Description").fill("Changed.")
    assert own_demo.ask("DELETE", "/v1/routes/order_status").status_code == 200
    button(page, "Save").click()
    button(page.get_by_role("dialog"), "Create it anew").click()
    toast(page, "Saved.")
    assert own_demo.get("/v1/routes/order_status").json()["description"] == "Changed."


def test_routes_go_to_a_file_and_come_back(own: Visit, own_demo: Served, tmp_path: Path) -> None:
    page = own.open("routes")
    page.get_by_label("Format of the export").select_option("csv")
    with page.expect_download() as downloading:
        button(page, "Export").click()
    file = tmp_path / "routes.csv"
    downloading.value.save_as(file)
    content = file.read_text(encoding="utf-8")
    assert "track my parcel" in content
    more = tmp_path / "more.jsonl"
    more.write_text('{"name": "jokes", "utterances": ["tell me a joke"]}\n', encoding="utf-8")
    page.locator("input[type=file]").set_input_files(more)
    dialog = page.get_by_role("dialog")
    expect(dialog.locator(".plan")).to_contain_text("1 added, 0 updated, 0 deleted")
    button(dialog, "Import").click()
    toast(page, "Imported: 1 added")
    assert own_demo.get("/v1/routes/jokes").json()["utterances"] == ["tell me a joke"]


def test_a_thousand_routes_are_searched_and_listed(browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    # Learned in two stages, which is done at once.
    monkeypatch.setattr(lessons, "EFFORTS", small_heads(100))
    with AdaptiveRouter(SeededEncoder()) as router:
        router.add_routes([route(f"route number {number:04}", "one", "two") for number in range(1_200)])
        with serving(router, learn_before_ready_s=0) as served, visiting(browser, served.url) as visit:
            page = visit.open("routes")
            expect(page.locator(".list-card")).to_contain_text("1,200 routes")
            items = page.locator(".virtual .item")
            assert items.count() < 60
            listing = page.get_by_role("listbox", name="Routes")
            listing.focus()
            page.keyboard.press("End")
            expect(items.filter(has_text="route number 1199")).to_be_visible()
            assert items.count() < 60
            page.keyboard.press("Enter")
            expect(page.locator(".editor h2")).to_have_text("route number 1199")
            page.get_by_label("Search routes").fill("number 0777")
            expect(page.locator(".list-card")).to_contain_text("1 route of 1,200")
            page.get_by_label("Search routes").press("ArrowDown")
            page.keyboard.press("Home")
            page.keyboard.press("Enter")
            expect(page.locator(".editor h2")).to_have_text("route number 0777")
            visit.go("map")
            expect(page.locator(".map-says")).to_contain_text("2,400 utterances")


# ------------------------------------------------------------------------------------------------------ evaluate
def evaluated(visit: Visit) -> Page:
    page = visit.open("evaluate")
    page.get_by_label("Labelled queries").fill(QUERIES)
    expect(page.get_by_text("84 queries of 16 routes, 24 out of scope")).to_be_visible()
    button(page, "Evaluate").click()
    page.locator(".tiles").wait_for()
    return page


def test_labelled_queries_are_evaluated(visit: Visit, demo: Served) -> None:
    page = evaluated(visit)
    pairs = [line.rpartition(",") for line in QUERIES.splitlines()[1:]]
    queries = [{"text": text.strip('"').replace('""', '"'), "label": label or None} for text, _, label in pairs]
    right = demo.finished(demo.post("/v1/evaluate", {"queries": queries}))["result"]
    expect(page.locator(".tile").filter(has_text="Accuracy")).to_contain_text(f"{100 * right['accuracy']:.1f} %")
    expect(page.locator(".tile").filter(has_text="Wrong")).to_contain_text(str(len(right["failures"])))
    assert page.locator(".matrix .cell").count() > 10
    assert page.locator(".chart canvas").count() == 2
    assert page.locator(".card", has=page.get_by_role("heading", name="Routes, weakest first")).locator(
        "tbody tr"
    ).count() == len(right["routes"])
    worst = right["confusions"][0]
    page.locator(".confusions tbody button").first.click()
    expect(page.get_by_role("heading", name=re.compile("taken for"))).to_contain_text(f"{worst['count']} failure")
    button(page, "Show all").click()
    expect(page.locator("h2").filter(has_text=f"{len(right['failures'])} failures")).to_be_visible()


def test_the_slider_moves_along_the_curve(visit: Visit) -> None:
    page = evaluated(visit)
    slider = page.get_by_label("Operating point")
    slider.focus()
    page.keyboard.press("Home")
    first = page.locator(".point").inner_text()
    page.keyboard.press("End")
    expect(page.locator(".point")).to_contain_text("100.0 % of queries are answered")
    assert first != page.locator(".point").inner_text()
    # And a click on the curve picks the point below it.
    page.locator(".chart .u-over").first.click(position={"x": 30, "y": 60})
    expect(page.locator(".point")).not_to_contain_text("100.0 % of queries")


def test_the_point_that_was_picked_is_put_to_use(own: Visit, own_demo: Served) -> None:
    page = evaluated(own)
    expect(page.locator(".card", has=page.get_by_label("Operating point"))).to_contain_text(
        "In use: 50.0 %, the default."
    )
    slider = page.get_by_label("Operating point")
    slider.focus()
    page.keyboard.press("Home")
    button(page, "Use this point").click()
    button(page.get_by_role("dialog"), "Use it").click()
    toast(page, "from now on")
    point = own_demo.get("/v1/operating-point").json()
    assert point["source"] == "set"
    expect(page.locator(".point b").first).to_have_text(f"{100 * point['min_confidence']:.1f} %")
    assert point["min_confidence"] > 0.9
    expect(page.get_by_text("set by somebody")).to_be_visible()
    button(page, "Forget the point set").click()
    toast(page, "left to the fit again")
    assert own_demo.get("/v1/operating-point").json()["source"] == "default"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("where is it,order_status\nwho are you,\n", "2 queries of 1 route, 1 out of scope"),
        ("query\troute\nwhere is it\torder_status\n", "1 query of 1 route, 0 out of scope"),
        ('{"query": "a, b", "route": "order_status"}\n{"text": "c", "label": null}', "2 queries of 1 route, 1 out"),
        ('id,route,query\n1,order_status,"two\nlines, quoted ""well"""\n', "1 query of 1 route, 0 out of scope"),
        ("where is it,order_stat\n", "1 label without a route: order_stat"),
        ('{"query": "a", "route": "order_status"}\n{oops\n{"query": 7, "route": null}', "2 lines left out: line 2 is"),
    ],
)  # fmt: skip
def test_labelled_queries_are_read_as_people_have_them(visit: Visit, content: str, says: str) -> None:
    page = visit.open("evaluate")
    page.get_by_label("Labelled queries").fill(content)
    expect(page.locator("main .card").first).to_contain_text(says)


@pytest.mark.slow
def test_a_fit_is_the_baseline_of_live_traffic(own: Visit, own_demo: Served, tmp_path: Path) -> None:
    page = own.open("evaluate")
    file = tmp_path / "queries.csv"
    file.write_text(QUERIES, encoding="utf-8")
    page.locator("input[type=file]").set_input_files(file)
    button(page, "Fit…").click()
    button(page.get_by_role("dialog"), "Fit").click()
    expect(page.get_by_role("heading", name="The fit is in use")).to_be_visible()
    expect(page.get_by_role("dialog")).to_contain_text("84 queries were used, 24 out of scope")
    button(page.get_by_role("dialog"), "Close").click()
    texts = [line.rpartition(",")[0] for line in QUERIES.splitlines()[1:]]
    own_demo.post("/v1/route", {"texts": texts})
    own_demo.post("/v1/route", {"texts": texts})
    own.go("traffic")
    expect(page.locator(".tile").filter(has_text="Queries a second")).to_contain_text("168 in 5 min")
    expect(page.locator(".drift-grid")).to_contain_text("The last 168 decisions against the 84 queries")
    expect(page.locator(".drift-grid .tag")).to_have_text(re.compile("drift"))


# ------------------------------------------------------------------------------------------------ lint and the map
def test_a_finding_is_mended_with_one_click(own: Visit, own_demo: Served) -> None:
    own_demo.post("/v1/routes/refund_status/utterances", {"utterances": ["Track my parcel!"]})
    page = own.open("lint")
    finding = page.locator(".finding").first
    expect(finding).to_contain_text("same text in several routes")
    before = page.locator(".tabs button").first.inner_text()
    finding.locator("button.fix").click()
    toast(page, "Mended.")
    expect(page.locator(".tabs button").first).not_to_have_text(before)
    routes = [own_demo.get(f"/v1/routes/{name}").json()["utterances"] for name in ("order_status", "refund_status")]
    assert [any("rack my parcel" in text for text in texts) for texts in routes].count(True) == 1
    page.get_by_label("Search findings").fill("zzz")
    expect(page.locator(".findings")).to_have_text("Nothing fits the filter.")


def picture(page: Page) -> str:
    """What is painted in the map."""
    page.wait_for_timeout(100)
    return str(page.evaluate("document.querySelector('.scatter canvas').toDataURL()"))


def test_a_query_lands_in_the_map_and_a_pair_is_seen_alone(visit: Visit) -> None:
    page = visit.open("map")
    expect(page.locator(".map-says")).to_contain_text("166 utterances")
    page.wait_for_function("() => document.querySelector('.scatter canvas').width > 300")
    without = picture(page)
    # A blank picture of this size takes a few kilobytes.
    assert len(without) > 15_000
    page.get_by_role("textbox", name="Query").fill("my parcel arrived broken")
    expect(page.locator(".map-verdict")).to_contain_text("report_damage at")
    assert picture(page) != without
    pair = page.locator(".overlaps button").first
    names = pair.inner_text().split(" \u2013 ")
    pair.click()
    expect(page.locator(".overlaps li")).to_have_count(1)
    for name in names:
        expect(button(page, f"Without {name}")).to_be_visible()
    button(page, "All routes").click()
    expect(page.locator(".map-says")).to_contain_text("166 utterances")
    canvas = page.locator(".scatter canvas")
    canvas.focus()
    still = picture(page)
    assert picture(page) == still
    for key in ("ArrowLeft", "+"):
        page.keyboard.press(key)
    moved = picture(page)
    assert moved != still
    page.keyboard.press("0")
    assert picture(page) == still


# ------------------------------------------------------------------------------------------- history and feedback
def test_history_shows_differences_and_goes_back(own: Visit, own_demo: Served) -> None:
    revision = own_demo.get("/v1/status").json()["revision"]
    own_demo.post("/v1/routes/order_status/utterances", {"utterances": ["has it left the warehouse"]})
    page = own.open("history")
    newest = page.locator(".revisions li").first
    expect(newest).to_contain_text("update order_status")
    expect(newest).to_contain_text("by http")
    button(newest, "Diff", exact=False).or_(newest.get_by_text("Diff")).first.click()
    expect(page.get_by_role("dialog").locator("ins")).to_have_text(["has it left the warehouse"])
    button(page.get_by_role("dialog"), "Close").click()

    page.get_by_label(f"Go back to revision {revision}").click()
    expect(page.get_by_role("dialog").locator("del")).to_have_text(["has it left the warehouse"])
    button(page.get_by_role("dialog"), "Go back").click()
    toast(page, f"The routes are those of revision {revision}")
    assert "has it left the warehouse" not in own_demo.get("/v1/routes/order_status").json()["utterances"]
    expect(page.locator(".revisions li").first).to_contain_text(f"rollback to {revision}")


def test_a_snapshot_is_saved_used_and_deleted(own: Visit, own_demo: Served) -> None:
    page = own.open("history")
    page.get_by_label("Name of the snapshot").fill("before launch")
    button(page, "Save").click()
    expect(page.locator(".snapshot")).to_contain_text("before launch")
    own_demo.ask("DELETE", "/v1/routes/order_status")
    page.get_by_label("Use snapshot before launch").click()
    button(page.get_by_role("dialog"), "Use it").click()
    toast(page, "The routes are those of before launch")
    assert own_demo.get("/v1/routes/order_status").status_code == 200
    page.get_by_label("Delete snapshot before launch").click()
    button(page.get_by_role("dialog"), "Delete").click()
    expect(page.locator(".snapshot")).to_have_count(0)


@pytest.mark.slow
def test_a_wrong_decision_is_noted_and_mended_by_a_person(browser: Browser) -> None:
    with small_router() as router, serving(router) as served, visiting(browser, served.url) as visit:
        page = visit.open()
        page.get_by_role("textbox", name="Query").fill("music anew")
        expect(page.locator(".ranked li").first).to_contain_text("music")
        page.get_by_label("Should be").fill("billing")
        button(page, "It should be this").click()
        toast(page, "Noted.")
        before = served.get("/v1/status").json()["revision"]
        visit.go("feedback")
        card = page.locator(".feedback")
        expect(card).to_contain_text("music anew")
        expect(card).to_contain_text("should be billing")
        button(card, "Propose a change").click()
        offered = card.locator(".proposal", has_text="add the text")
        # Everything is learned anew for each option.
        offered.wait_for(timeout=6 * SAFE_MS)
        expect(offered).to_contain_text("mends it")
        expect(offered).to_contain_text(re.compile(r"\d+ gained · \d+ lost of \d+"))
        expect(offered.locator("ins").first).to_have_text("billing: music anew")
        assert served.get("/v1/status").json()["revision"] == before
        button(offered, "Accept").click()
        toast(page, "Accepted; History can undo it.")
        expect(card).to_contain_text("Accepted: add the text")
        assert "music anew" in served.get("/v1/routes/billing").json()["utterances"]
        button(page, "Open").click()
        expect(page.locator(".view-feedback ol").first).to_contain_text("Nothing here.")


def test_feedback_can_be_dismissed_and_forgotten(own: Visit, own_demo: Served) -> None:
    page = own.open("feedback")
    page.get_by_role("textbox", name="Query").fill("who are you")
    page.get_by_label("Right route").fill("none")
    button(page, "Add").click()
    button(page.locator(".feedback"), "Dismiss").click()
    expect(page.locator(".feedback .tag")).to_have_text("dismissed")
    button(page.locator(".feedback"), "Forget").click()
    button(page.get_by_role("dialog"), "Forget it").click()
    toast(page, "Forgotten.")
    assert own_demo.get("/v1/feedback").json()["feedback"] == []
