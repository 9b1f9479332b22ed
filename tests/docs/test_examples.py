"""Examples in Python are Python, and use the library as it is."""

import ast
import builtins
import importlib
import inspect

import pytest
from kvclient import AsyncClient, Client

from tests.docs.pages import PAGES, Block, Page

EXAMPLES = [(page, block) for page in PAGES for block in page.blocks("python")]
IDS = [f"{page}:{block.line}" for page, block in EXAMPLES]


@pytest.mark.parametrize(("page", "block"), EXAMPLES, ids=IDS)
def test_it_compiles_and_imports_what_there_is(page: Page, block: Block) -> None:
    tree = ast.parse(block.text)
    compile(tree, f"{page}:{block.line}", "exec")
    for node in ast.walk(tree):
        match node:
            case ast.ImportFrom(module=str(module), names=imported):
                found = importlib.import_module(module)
                for alias in imported:
                    assert hasattr(found, alias.name), f"{page}:{block.line}: {module} has no {alias.name}"
            case ast.Import(names=imported):
                for alias in imported:
                    importlib.import_module(alias.name)


@pytest.mark.parametrize(("page", "block"), EXAMPLES, ids=IDS)
def test_the_client_has_the_methods_that_are_called_with_the_arguments_that_are_given(page: Page, block: Block) -> None:
    tree = ast.parse(block.text)
    client_type = AsyncClient if "AsyncClient" in block.text else Client
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        match call.func:
            case ast.Attribute(value=ast.Name(id="client"), attr=method):
                assert hasattr(client_type, method), f"{page}:{block.line}: a client has no {method}"
                signature = inspect.signature(getattr(client_type, method))
                keywords = {keyword.arg: None for keyword in call.keywords if keyword.arg}
                signature.bind(None, *call.args, **keywords)  # raises TypeError where they do not fit


@pytest.mark.parametrize(("page", "block"), EXAMPLES, ids=IDS)
def test_every_name_is_defined(page: Page, block: Block) -> None:
    tree = ast.parse(block.text)
    known = set(dir(builtins))
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store()):
                known.add(name)
            case ast.alias(name=name, asname=asname):
                known.add(asname or name)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.arg(arg=name):
                known.add(name)
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    assert used <= known, f"{page}:{block.line}: {sorted(used - known)} come from nowhere"


def test_there_are_examples_of_both_clients() -> None:
    text = "".join(block.text for _, block in EXAMPLES)
    assert "with Client(" in text
    assert "async with AsyncClient(" in text
