"""Docs that can rot are tested: generated pages, settings, links, examples."""

import importlib.util
import inspect
import json
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
from pydantic_settings import BaseSettings

PAGES = [*Path().glob("*.md"), *Path("docs").rglob("*.md"), *Path().glob("*/README.md")]


def load_generator() -> ModuleType:
    """docs/generate.py, which is a script and no package."""
    spec = importlib.util.spec_from_file_location("docs_generate", "docs/generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


generate = load_generator()


@pytest.mark.parametrize("name", generate.PAGES)
def test_reference_pages_say_what_the_code_says(name: str) -> None:
    """`make docs` would change nothing."""
    assert (Path("docs/reference") / name).read_text() == generate.PAGES[name]()


@pytest.mark.parametrize("kind", generate.settings_classes().values(), ids=generate.settings_classes())
def test_every_setting_says_what_it_does(kind: type[BaseSettings]) -> None:
    """A variable without a sentence is not finished."""
    assert [variable for variable, _, meaning in generate.variables(kind) if not meaning.endswith((".", ")"))] == []


def test_no_settings_class_is_left_out() -> None:
    """Whatever of ours reads the environment is on the page; the sandbox has a page of its own."""
    listed = set(generate.settings_classes().values())
    ours = ("bankmirror", "banks", "ingest", "kernel", "readapi", "transfers")
    modules = [module for name, module in sys.modules.items() if name.partition(".")[0] in ours]
    defined = {
        thing
        for module in modules
        for _, thing in inspect.getmembers(module, inspect.isclass)
        if issubclass(thing, BaseSettings) and thing.__module__ == module.__name__
    }

    assert defined <= listed


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links_lead_somewhere(page: Path) -> None:
    """A relative link names a file that is there."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    links = re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)[^)]*\)", text)

    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_json_examples_are_json(page: Path) -> None:
    """What is shown as JSON parses."""
    for example in re.findall(r"```json\n(.*?)```", page.read_text(), re.DOTALL):
        json.loads(example)


def test_decisions_are_listed() -> None:
    """Every decision is in the list, under its number and title."""
    listing = Path("docs/decisions/README.md").read_text()
    for decision in sorted(Path("docs/decisions").glob("0*.md")):
        title = decision.read_text().splitlines()[0].removeprefix("# ")
        number, _, words = title.partition(". ")

        assert f"{number}. [{words}]({decision.name})" in listing


def test_the_readme_reaches_success_within_a_screen() -> None:
    """Fifty lines from the top, a newcomer has a running system and an answer."""
    first_screen = "\n".join(Path("README.md").read_text().splitlines()[:50])

    assert "make up" in first_screen
    assert "/banking/transfer" in first_screen
