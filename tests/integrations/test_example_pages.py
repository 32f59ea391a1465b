"""The programs of ``examples/`` run without a network and print what their pages say."""

from __future__ import annotations

import re

import pytest

from tests.integrations.running_examples import ROOT, assert_prints_what_its_page_says

PAGES = {
    "langchain_branch": "langchain",
    "langchain_tool_selection": "langchain_tool_selection",
    "langgraph_edges": "langgraph",
    "mcp_server": "mcp",
    "fastapi_service": "fastapi",
}


@pytest.mark.parametrize("name", PAGES)
def test_an_example_prints_what_its_page_says(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert_prints_what_its_page_says(name, PAGES[name], monkeypatch, capsys)


def test_every_page_is_listed_and_every_link_leads_somewhere() -> None:
    folder = ROOT / "docs" / "integrations"
    index = (folder / "README.md").read_text(encoding="utf-8")
    for page in folder.glob("*.md"):
        assert page.name == "README.md" or f"]({page.name})" in index
        for target in re.findall(r"\]\(((?!http)[^)#]+)\)", page.read_text(encoding="utf-8")):
            assert (folder / target).exists(), f"{page.name} links to {target}"
