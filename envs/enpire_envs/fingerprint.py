"""The fingerprint of an environment: a digest of what changes its episodes, and of nothing else.

Counted: the code that makes an episode (without comments, docstrings and blank lines), scenes, the versions that move numbers, the
arguments as they are in force, the time limit, a station's parts. Not counted: who describes, lists, draws or drives the environment,
what agents are given, reference policies, where things are kept or plugged in, NumPy's version (its streams are held to their values by
a test). Results with different fingerprints are never compared.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
import inspect
import io
import json
import threading
import tokenize
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym

from enpire_envs.contract import SHOWN, ContractError, Identity, contract_of, step_limit

_SUITE = "enpire_envs"
#: Of the suite: given a start and actions, an episode goes the same whatever these do.
_ASIDE = frozenset(
    f"{_SUITE}.{name}"
    for name in ("brief", "contract", "episodes", "fingerprint", "reference", "registry", "tools", "vector")
)
# Python 3.11 counts the depth of a parse per interpreter, so two threads that parse at once end in a SystemError.
_PARSING = threading.Lock()


def fingerprint(env: gym.Env[Any, Any], *, scene: bool = True) -> str:
    """16 hexadecimal digits for an environment that `gymnasium.make` made. Raises ContractError.

    Args:
        scene: whether `Identity.scene` counts. Several robots of one run have station files of their own and agree on the rest.
    """
    identity = contract_of(env).identity()
    if env.spec is None:
        raise ContractError(f"{env} was not made by gymnasium.make, so its arguments are not known")
    sha = hashlib.sha256()
    for name, content in sorted(sources(identity).items()):
        sha.update(f"{name}\0{len(content)}\0".encode() + content)
    facts = [
        env.spec.id,
        _arguments(env, identity),
        step_limit(env),
        identity.get("versions", {}),
        identity.get("scene", "") if scene else "",
    ]
    sha.update(json.dumps(facts, sort_keys=True, default=str).encode())
    return sha.hexdigest()[:16]


def sources(identity: Identity) -> dict[str, bytes]:
    """What decides episodes, by name: modules, the scenes beside them, further files."""
    aside = _ASIDE | frozenset(identity.get("aside", ()))
    packages = {name.partition(".")[0] for name in identity["code"]} | {_SUITE}
    found: dict[str, bytes] = {}
    queue = list(identity["code"])
    while queue:
        module = queue.pop()
        if module in found or any(module == name or module.startswith(name + ".") for name in aside):
            continue
        if (file := module_file(module)) is None:
            raise ContractError(f"there is no source of {module}, which `identity` names or its code imports")
        source = file.read_text()
        found[module] = without_words(source)
        package = module if file.name == "__init__.py" else module.rpartition(".")[0]
        shared = package == _SUITE  # a folder of several tasks: only the scene that is named like the module is its own
        for scene in file.parent.glob("*.xml"):
            if not shared or scene.stem == file.stem:
                found[f"{package}/{scene.name}"] = scene.read_bytes()
        queue += [name for name in _imports(source, package) if name.partition(".")[0] in packages]
    for path in identity.get("files", ()):
        for file in sorted(p for p in [path, *path.rglob("*")] if p.is_file()):
            found[f"files/{path.name}/{file.relative_to(path)}"] = file.read_bytes()
    return found


def module_file(module: str) -> Path | None:
    """Where a module's source lies, found without importing it; None if there is none."""
    top, *rest = module.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except ValueError:  # of a module without a spec, such as __main__
        spec = None
    if spec is None:
        return None
    if not spec.submodule_search_locations:
        return Path(spec.origin) if spec.origin and not rest and spec.origin.endswith(".py") else None
    for folder in spec.submodule_search_locations:
        path = Path(folder, *rest)
        for file in (path / "__init__.py", path.with_name(path.name + ".py")):
            if file.is_file():
                return file
    return None


@functools.cache
def without_words(source: str) -> bytes:
    """Python code without what only people read: comments, docstrings, blank lines."""
    lines = source.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    for node in _statements(_parsed(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.body:
            first = node.body[0]
            if ast.get_docstring(node, clean=False) is not None and _has_its_lines(first, lines):
                for row in range(first.lineno, (first.end_lineno or first.lineno) + 1):
                    lines[row - 1] = ""
    return "\n".join(kept for line in lines if (kept := line.rstrip())).encode()


def _has_its_lines(node: ast.stmt, lines: list[str]) -> bool:
    """Whether nothing stands before and after a statement on its first and last line."""
    before = lines[node.lineno - 1].encode()[: node.col_offset]
    after = lines[(node.end_lineno or node.lineno) - 1].encode()[node.end_col_offset or 0 :]
    return not before.strip() and not after.strip()


def _parsed(source: str) -> ast.Module:
    with _PARSING:
        return ast.parse(source)


def _statements(tree: ast.AST, *, when_it_runs: bool = False) -> Iterator[ast.AST]:
    """A module and all statements in it; `when_it_runs`: without those for type checkers alone."""
    queue = [tree]
    while queue:
        node = queue.pop()
        if when_it_runs and isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            queue += node.orelse
            continue
        yield node
        blocks = (
            ast.stmt,
            ast.excepthandler,
            ast.match_case,
        )  # expressions, of which there are many more, hold no statements
        queue += (child for child in ast.iter_child_nodes(node) if isinstance(child, blocks))


@functools.cache
def _import_statements(source: str) -> tuple[ast.Import | ast.ImportFrom, ...]:
    nodes = _statements(_parsed(source), when_it_runs=True)
    return tuple(node for node in nodes if isinstance(node, ast.Import | ast.ImportFrom))


def _imports(source: str, package: str) -> Iterator[str]:
    """Names of the modules that a module imports when it runs, at its top or inside a function."""
    for node in _import_statements(source):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        else:
            base = ".".join(package.split(".")[: len(package.split(".")) + 1 - node.level]) if node.level else ""
            base = ".".join(filter(None, (base, node.module)))
            for alias in node.names:
                inside = f"{base}.{alias.name}"
                yield inside if module_file(inside) else base


def _arguments(env: gym.Env[Any, Any], identity: Identity) -> dict[str, Any]:
    """All arguments in force that change episodes, the defaults too."""
    known = identity.get("arguments")
    if known is None:
        known = {}
        for cls in reversed(type(env.unwrapped).__mro__):
            if "__init__" in vars(cls):
                parameters = inspect.signature(vars(cls)["__init__"]).parameters.values()
                known |= {p.name: p.default for p in parameters if p.default is not p.empty}
        assert env.spec is not None
        known |= env.spec.kwargs
    known = known | identity.get("resolved", {})
    ignored: Collection[str] = {*SHOWN, "max_episode_steps", *identity.get("ignore", ())}
    return {name: value for name, value in known.items() if name not in ignored}
