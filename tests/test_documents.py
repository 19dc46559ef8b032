"""The documents lead to what is there: every link to a file, and every name in docs/walk.md."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import ROOT

WALK = ROOT / "docs" / "walk.md"
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("*/README.md")])

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
CODE = re.compile(r"^```.*?^```$", re.M | re.S)
LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)#\s]+)")
ANCHOR = re.compile(r"\]\((?!https?:|mailto:)([^)#\s]*)#([^)\s]+)\)")
FILE_AND_NAMES = re.compile(r"\[`([\w./]+)`\]\(\.\./([\w./]+)\)((?:,? `[\w.]+`)*)")
"""A link to a file, and the names in that file that follow it."""


def names_in(tree: ast.AST, within: str = "") -> Iterator[str]:
    """Yield the names that a module defines: those of a class after the class's own, and a dot.

    A function's own functions count, as the API's views are such; its variables do not.
    """
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef):
            yield node.name
            yield from names_in(node, f"{node.name}.")
        elif isinstance(node, FUNCTIONS):
            yield within + node.name
            yield from names_in(node, within)
        elif isinstance(node, ast.Assign | ast.AnnAssign) and not isinstance(tree, FUNCTIONS):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (within + each.id for each in targets if isinstance(each, ast.Name))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_every_link_to_a_file_leads_to_one(document: Path) -> None:
    links = LINK.findall(CODE.sub("", document.read_text()))
    assert [link for link in links if not (document.parent / link).exists()] == []


def anchors_of(document: Path) -> set[str]:
    """Return the anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ +(.+?) *$", CODE.sub("", document.read_text()), re.M)
    shown = [re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading) for heading in headings]
    return {re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in shown}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_every_link_to_a_heading_leads_to_one(document: Path) -> None:
    missing = []
    for file, anchor in ANCHOR.findall(CODE.sub("", document.read_text())):
        there = document.parent / file if file else document
        if there.suffix == ".md" and anchor not in anchors_of(there):
            missing.append(f"{file}#{anchor}")
    assert missing == []


def test_the_walk_names_what_is_in_the_files() -> None:
    told = FILE_AND_NAMES.findall(WALK.read_text())
    assert len(told) > 20
    missing = []
    for shown, file, names in told:
        assert shown.rstrip("/") == file
        there = set(names_in(ast.parse((ROOT / file).read_text()))) if names else set()
        missing += [f"{file}: {name}" for name in re.findall(r"[\w.]+", names) if name not in there]
    assert missing == []


def test_the_walk_has_no_name_without_its_file() -> None:
    """Every name is checked above, or is one of a file that the page has linked before."""
    text = WALK.read_text()
    checked = {name for _, _, names in FILE_AND_NAMES.findall(text) for name in names.split("`")}
    rest = re.findall(r"`([\w.]+)`", FILE_AND_NAMES.sub("", text))
    assert [name for name in rest if name not in checked] == []
