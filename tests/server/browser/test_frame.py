"""What holds for all of the playground: keyboard, themes, narrow screens, keys, and what others have written."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from synaptoroute import AdaptiveRouter, Route
from tests.seeded import SeededEncoder, route
from tests.server.browser.visiting import VIEWS, Visit, button, toast, visiting
from tests.server.serving import Served, serving, small_router


# ------------------------------------------------------------------------------------------------------ keyboard
def test_the_keyboard_reaches_everything(visit: Visit) -> None:
    page = visit.open("history")
    page.locator("body").press("1")
    page.locator(".view-try h1").wait_for()
    page.keyboard.press("Escape")
    page.keyboard.press("2")
    page.locator(".view-routes h1").wait_for()
    page.keyboard.press("/")
    expect(page.get_by_label("Search routes")).to_be_focused()
    page.keyboard.press("3")
    expect(page.get_by_label("Search routes")).to_have_value("3")
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keyboard")).to_be_visible()
    page.keyboard.press("4")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.locator(".view-routes h1").wait_for()
    # From the top of the page: the way past the navigation first, then the bar, the views, and what is in the view.
    visit.page.goto(f"{visit.url}/#/lint")
    page.reload()
    page.locator(".view-lint h1").wait_for()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    for name in ("SynaptoRoute, try a query", "API key", "Theme: auto", "Keyboard shortcuts", "Try a query", "Routes"):
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.ariaLabel ?? document.activeElement.innerText").startswith(name)
        # And one sees where one is.
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    page.locator(".view-routes h1").wait_for()


def luminance(colour: str) -> float:
    """Relative luminance, as WCAG 2 has it, of rgb(r, g, b)."""
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


COLOURS = """() => {
  const shown = (name) => {
    const probe = document.createElement("i");
    probe.style.color = `var(--${name})`;
    document.body.append(probe);
    const colour = getComputedStyle(probe).color;
    probe.remove();
    return colour;
  };
  const names = ["page", "card", "sunk", "ink", "soft", "accent-ink"];
  for (const name of ["accent", "warn", "bad", "info"]) names.push(name, `${name}-wash`);
  return Object.fromEntries(names.map((name) => [name, shown(name)]));
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out_in_light_and_dark(browser: Browser, demo: Served, scheme: Any) -> None:
    with visiting(browser, demo.url, color_scheme=scheme) as visit:
        visit.open()
        colours = visit.evaluate(COLOURS)
    assert (luminance(colours["page"]) < 0.2) == (scheme == "dark")
    pairs = [("ink", "page"), ("ink", "card"), ("soft", "page"), ("soft", "card"), ("soft", "sunk"), ("accent", "card")]
    pairs += [("accent-ink", "accent")] + [(name, f"{name}-wash") for name in ("accent", "warn", "bad", "info")]
    for text, ground in pairs:
        assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)


def test_the_theme_is_switched_and_kept(visit: Visit) -> None:
    page = visit.open("traffic")
    lit = visit.evaluate(COLOURS)["page"]
    button(page, "Theme: auto").click()
    button(page, "Theme: light").click()
    expect(button(page, "Theme: dark")).to_be_visible()
    dark = visit.evaluate(COLOURS)["page"]
    assert luminance(dark) < 0.2 < luminance(lit)
    page.reload()
    page.locator(".view-traffic h1").wait_for()
    assert visit.evaluate(COLOURS)["page"] == dark


def test_every_view_fits_a_narrow_screen(browser: Browser, demo: Served) -> None:
    with visiting(browser, demo.url, viewport={"width": 400, "height": 800}) as visit:
        page = visit.open()
        for view in VIEWS:
            visit.go(view)
            page.wait_for_timeout(150)
            assert visit.evaluate("document.documentElement.scrollWidth") <= 400, view
        visit.go("routes/order_status")
        page.get_by_label("Description").wait_for()
        assert visit.evaluate("document.documentElement.scrollWidth") <= 400


def test_nothing_jumps_while_views_fill(visit: Visit) -> None:
    page = visit.open()
    for view in VIEWS:
        page.goto(f"{visit.url}/#/{view}")
        page.reload()
        page.locator(f".view-{view} h1").wait_for()
        page.wait_for_load_state("networkidle")
        # 0.1 is what the Core Web Vitals call good.
        assert visit.evaluate("window.shifted") < 0.1, view


def test_the_interface_is_described_in_a_page(visit: Visit) -> None:
    page = visit.page
    page.goto(f"{visit.url}/docs")
    page.locator("#operations-routing-route").wait_for()
    assert page.locator(".opblock").count() > 25
    status = page.locator("#operations-health-status")
    status.locator("button.opblock-summary-control").click()
    button(status, "Execute").click()
    expect(status.locator(".live-responses-table .response-col_status").last).to_contain_text("200")


def test_the_server_going_away_is_said(browser: Browser) -> None:
    with AdaptiveRouter(SeededEncoder()) as router:
        router.add_route(route("a", "one"))
        with serving(router) as served:
            context = browser.new_context()
            page = context.new_page()
            page.goto(served.url)
            page.locator("h1").wait_for()
        page.get_by_role("textbox", name="Query").fill("are you there")
        expect(page.locator(".alert")).to_contain_text("the server cannot be reached")
        context.close()


# ------------------------------------------------------------------------------------------ what others have written
EVIL = '<img src=x onerror="window.pwned = 1"><script>window.pwned = 1</script>'
NAME = "a&b ('quoted') ?! @+,:/c"


def test_what_is_written_into_routes_stays_text(browser: Browser) -> None:
    with AdaptiveRouter(SeededEncoder()) as router:
        evil = {"utterances": [EVIL, f"{EVIL} twice", "plain one"], "description": EVIL, "metadata": {EVIL: EVIL}}
        router.add_route(Route(name=NAME, **evil))  # type: ignore[arg-type]
        router.add_route(Route(name="other", utterances=[EVIL.upper(), f"{EVIL} thrice"], description=f"</p>{EVIL}"))
        router.save_snapshot("kept")
        router.update_route("other", description=f"{EVIL} again")
        with serving(router) as served, visiting(browser, served.url) as visit:
            page = visit.open()
            page.get_by_role("textbox", name="Query").fill(EVIL)
            expect(page.locator(".ranked li")).to_have_count(2)
            expect(page.locator(".nearest")).to_contain_text(EVIL)
            for view in VIEWS[1:]:
                visit.go(view)
                page.wait_for_load_state("networkidle")
            visit.go(f"routes/{NAME.replace('/', '%2F').replace('?', '%3F')}")
            expect(page.locator(".editor h2")).to_have_text(NAME)
            assert page.get_by_label("Utterance 1", exact=True).input_value() == EVIL
            visit.go("history")
            page.locator(".revisions li").first.get_by_text("Diff").click()
            expect(page.get_by_role("dialog").locator("ins")).to_have_text(f"{EVIL} again")
            button(page.get_by_role("dialog"), "Close").click()
            visit.go("evaluate")
            page.get_by_label("Labelled queries").fill(f"query\troute\n{EVIL}\tother\n{EVIL}\t{EVIL}")
            expect(page.locator("main")).to_contain_text("1 label without a route: <img src=x onerror")
            page.get_by_label("Labelled queries").fill(f"query\troute\n{EVIL}\t\nplain one\tother\n")
            button(page, "Evaluate").click()
            page.locator(".tiles").wait_for()
            visit.go("map")
            page.get_by_role("textbox", name="Query").fill(EVIL)
            expect(page.locator(".map-verdict b")).to_be_visible()
            assert visit.evaluate("window.pwned") is None
            assert page.locator("main img, main script, dialog img").count() == 0


# ---------------------------------------------------------------------------------------------------------- keys
def test_a_key_is_asked_for_kept_for_the_tab_and_sent(browser: Browser) -> None:
    with (
        small_router() as router,
        serving(router, keys=("read", "admin")) as served,
        visiting(browser, served.url) as visit,
    ):
        visit.expected = {401}
        page = visit.page
        page.goto(served.url)
        dialog = page.get_by_role("dialog", name="API key")
        dialog.get_by_label("Key").fill("sr_wrong")
        button(dialog, "Use").click()
        expect(dialog).to_contain_text("This key is not accepted.")
        dialog.get_by_label("Key").fill(served.keys["read"])
        button(dialog, "Use").click()
        expect(page.locator(".facts")).to_contain_text("3 routes")
        visit.go("routes")
        expect(button(page, "New route")).to_be_disabled()
        assert served.keys["read"] in visit.evaluate("JSON.stringify(sessionStorage)")
        assert served.keys["read"] not in visit.evaluate("JSON.stringify(localStorage) + document.cookie")
        page.reload()
        expect(page.locator(".facts")).to_contain_text("3 routes")

        button(page, "API key \u2713").click()
        dialog.get_by_label("Key").fill(served.keys["admin"])
        button(dialog, "Use").click()
        button(page, "New route").click()
        page.get_by_label("Name", exact=True).fill("jokes")
        page.get_by_label("Add utterances, one a line").fill("tell me a joke")
        page.get_by_label("Add utterances, one a line").press("Enter")
        button(page, "Create").click()
        toast(page, "Route jokes is there.")
        visit.go("history")
        expect(page.locator(".revisions li").first).to_contain_text("by admin-key")
        button(page, "API key \u2713").click()
        button(dialog, "Forget it").click()
        expect(dialog).to_contain_text("an API key is needed")


def test_what_a_key_may_not_do_is_not_offered(browser: Browser) -> None:
    with small_router() as router, serving(router, keys=("read",)) as served, visiting(browser, served.url) as visit:
        visit.page.add_init_script(f"sessionStorage.setItem('synaptoroute.key', '{served.keys['read']}')")
        page = visit.open("routes/billing")
        page.get_by_label("Description").wait_for()
        assert not page.get_by_label("Description").is_editable()
        assert page.locator("form button[type=submit]").count() == 0
        visit.go("history")
        page.locator(".revisions li").first.wait_for()
        assert page.get_by_text("Go back to").count() == 0
        visit.go("lint")
        page.locator(".findings > li").first.wait_for()
        assert page.locator("button.fix:enabled").count() == 0
