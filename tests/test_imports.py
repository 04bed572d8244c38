"""Imports run downwards: no module needs itself, those for annotations and those inside functions included."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def module_name(file, root):
    parts = file.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def test_no_module_imports_itself_by_way_of_others():
    packages = [(ROOT, "pbrl"), (ROOT / "envs", "pbrl_envs")]
    files = {module_name(file, root): file for root, package in packages for file in (root / package).rglob("*.py")}
    needs = {}
    for name, file in files.items():
        needs[name] = set()
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module:
                modules = {f"{node.module}.{alias.name}" for alias in node.names}
                needs[name] |= {m if m in files else node.module for m in modules} & set(files)
            elif isinstance(node, ast.Import):
                needs[name] |= {alias.name for alias in node.names} & set(files)
    list(TopologicalSorter(needs).static_order())  # CycleError names the circle
    assert len(files) > 200
    assert "pbrl.types" in needs["pbrl.agents.buffers"]
