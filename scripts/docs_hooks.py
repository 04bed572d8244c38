"""Pages of the site beyond docs/: README.md as its first page, results, examples and the source that pages link to.

A link of a page is one of the repository, so that it works where the files are read as they lie; here it becomes one of
the site. `docs/x.md` is `x.md` there, any other Markdown file and everything in results/ keeps its path, and of other
files and folders there is a page with their text below code/. A link to nothing stays as it is and fails the build.
Formulas become MathML, which browsers draw by themselves.
"""

from __future__ import annotations

import html
import json
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
FENCE = re.compile(r"^([ \t]*)(`{3,})[^\n]*\n.*?^\1\2[ \t]*$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?P<before>\]\()(?P<target>[^)\s]+)(?P<after>\))")
FORMULA = re.compile(
    r'<(?P<tag>span|div) class="arithmatex">\\(?P<open>[(\[])(?P<formula>.*?)\\[)\]]</(?P=tag)>', re.DOTALL
)
LANGUAGES = {".py": "python", ".yaml": "yaml", ".yml": "yaml", ".c": "c", ".sh": "sh", ".toml": "toml"}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Give every page of docs/ a place in the navigation."""
    assert config.nav is not None
    named = set(_pages_of(config.nav))
    methods = next(part["Methods"] for part in config.nav if "Methods" in part)
    more: list[str] = []
    for path in sorted((ROOT / "docs").rglob("*.md")):
        uri = path.relative_to(ROOT / "docs").as_posix()
        if uri not in named:
            (methods if (ROOT / "configs" / "method" / f"{path.stem}.yaml").is_file() else more).append(uri)
    if more:
        config.nav.append({"More": more})
    return config


def _pages_of(nav: object) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
    elif isinstance(nav, list | dict):
        for part in nav.values() if isinstance(nav, dict) else nav:
            yield from _pages_of(part)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what the pages link to outside docs/, and what those pages link to in turn."""
    files.append(File.generated(config, "index.md", content=(ROOT / "README.md").read_text()))
    for path in sorted((ROOT / "results").rglob("*")):
        if path.is_file():
            files.append(File(path.relative_to(ROOT).as_posix(), str(ROOT), config.site_dir, config.use_directory_urls))
    unread = list(files.documentation_pages())
    while unread:
        page = unread.pop()
        for target in _targets(page):
            uri = site_uri(target)
            if uri is not None and uri not in files.src_uris:
                added = File.generated(config, uri, content=page_of(target))
                files.append(added)
                if target.suffix == ".md":
                    unread.append(added)
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links of the repository into links of the site; text in fences stays."""
    parts, end = [], 0
    for fence in FENCE.finditer(markdown):
        parts += [LINK.sub(lambda link: _of_the_site(link, page.file), markdown[end : fence.start()]), fence.group()]
        end = fence.end()
    return "".join([*parts, LINK.sub(lambda link: _of_the_site(link, page.file), markdown[end:])])


def on_page_content(html_text: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    def math(found: re.Match[str]) -> str:
        return convert(html.unescape(found["formula"]), display="inline" if found["open"] == "(" else "block")

    return FORMULA.sub(math, html_text)


def site_uri(target: Path) -> str | None:
    """Return where a file or folder of the repository is in the site; None for what is not there."""
    path = target.relative_to(ROOT)
    if not target.exists():
        return None
    if path.parts[:1] == ("docs",):
        return path.relative_to("docs").as_posix()
    if target.is_dir() and (target / "README.md").is_file():
        return (path / "README.md").as_posix()
    if path.name == "README.md" and len(path.parts) == 1:
        return "index.md"
    if path.suffix == ".md" or (path.parts[:1] == ("results",) and target.is_file()):
        return path.as_posix()
    return f"code/{path.as_posix()}.md"


def page_of(target: Path) -> str:
    """Return the page of a file outside docs/: a Markdown file as it is, of others and of folders the text."""
    if target.suffix == ".md":
        return target.read_text()
    if target.suffix == ".ipynb":
        return "\n\n".join(_cells(json.loads(target.read_text())))
    files = sorted(path for path in target.iterdir() if path.is_file()) if target.is_dir() else [target]
    parts = [f"# {target.relative_to(ROOT).as_posix()}"]
    for file in files:
        parts += [f"## {file.name}"] if target.is_dir() else []
        parts.append(f"````{LANGUAGES.get(file.suffix, 'text')}\n{file.read_text().rstrip()}\n````")
    return "\n\n".join(parts) + "\n"


def _cells(notebook: dict) -> Iterator[str]:
    for cell in notebook["cells"]:
        text = "".join(cell["source"])
        yield text if cell["cell_type"] == "markdown" else f"```python\n{text}\n```"


def _targets(page: File) -> Iterator[Path]:
    for link in LINK.finditer(FENCE.sub("", page.content_string)):
        target = _in_the_repository(link["target"], page)
        if target is not None:
            yield target


def _in_the_repository(target: str, page: File) -> Path | None:
    """Find the file or folder that a link of a page means; None for another site, or a place on the same page."""
    path = target.partition("#")[0]
    if not path or re.match(r"[a-z]+:", path) or page.src_uri.startswith("code/"):
        return None
    found = ROOT / posixpath.normpath(posixpath.join(posixpath.dirname(_place(page)), path))
    return found if found.is_relative_to(ROOT) else None


def _place(page: File) -> str:
    """Return the path of a page in the repository."""
    if page.src_uri == "index.md":
        return "README.md"
    return f"docs/{page.src_uri}" if (ROOT / "docs" / page.src_uri).is_file() else page.src_uri


def _of_the_site(link: re.Match[str], page: File) -> str:
    target = _in_the_repository(link["target"], page)
    uri = None if target is None else site_uri(target)
    if uri is None:
        return link.group()
    relative = posixpath.relpath(uri, posixpath.dirname(page.src_uri) or ".")
    return link["before"] + relative + "".join(link["target"].partition("#")[1:]) + link["after"]
