"""What the pages point at is there: links, files, names in files."""

import re

import pytest

from tests.docs.pages import PAGES, ROOT, Page

TOP = {path.name for path in ROOT.iterdir()}
PATH = re.compile(r"[\w.\-]+(?:/[\w.\-]+)*/?")


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_relative_link_resolves(page: Page) -> None:
    """To a file of the project, and where it names a heading, to a heading of that file."""
    for link in page.links():
        if re.match(r"https?://", link):
            continue
        target, _, anchor = link.partition("#")
        path = (page.path.parent / target).resolve() if target else page.path
        assert path.is_relative_to(ROOT), f"{page}: {link} leads out of the project"
        assert path.is_file(), f"{page}: {link} leads nowhere"
        assert not anchor or anchor in Page(path).anchors(), f"{page}: {link}: there is no such heading"


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_path_in_backticks_exists(page: Page) -> None:
    for code in page.code():
        if "/" in code and PATH.fullmatch(code) and code.split("/")[0] in TOP:
            assert (ROOT / code).exists(), f"{page}: there is no {code}"


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_what_is_said_to_be_in_a_file_is_in_it(page: Page) -> None:
    """For every "`name` in `path`", also "`one` and `two` in `path`"."""
    for names, path in re.findall(r"((?:`\w+`(?:, | and )?)+)\s+in\s+`([\w./\-]+/[\w.\-]+\.\w+)`", page.prose):
        source = (ROOT / path).read_text(encoding="utf-8")
        for name in re.findall(r"`(\w+)`", names):
            assert re.search(rf"\b{name}\b", source), f"{page}: {name} is not in {path}"


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_no_page_names_a_machine(page: Page) -> None:
    """Paths of somebody's home or work directory mean nothing to a reader."""
    assert not re.search(r"(?<![\w.])/(?:home|root|work|Users)/", page.text)
