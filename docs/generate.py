"""What the manual is generated from, before Sphinx reads it: a page for each task from its registration and docstring, and the READMEs
beside the code as pages of their own.

No number is typed here: spaces, rates, limits, stages and boards are asked of the environments. Links to files that have a page lead there;
others become the file's name.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import json
import os
import re
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
MADE = DOCS / "generated"
#: Documents beside the code that are pages of the manual, too.
COPIED = {
    "envs/README.md": "catalogue.md",
    "real/README.md": "robots.md",
    "tests/hostile/README.md": "hostile.md",
    "leaderboards/README.md": "boards.md",
    "leaderboards/CONTRIBUTING.md": "contributing.md",
    "benchmarks/README.md": "benchmarks.md",
    "examples/README.md": "examples.md",
}
#: What shows each task, of envs/pictures, by the folder of its environment.
PICTURES = {
    "pusht": ("pusht.jpg", "pusht_levels.jpg"),
    "pin_insertion": ("pin_insertion.jpg", "pin_levels.jpg"),
    "pin_board": ("pin_levels.jpg",),
    "gpu_insertion": ("gpu_insertion.jpg", "gpu_insertion_levels.jpg"),
    "tie_zip_tie": ("tie_zip_tie.jpg",),
    "cut_zip_tie": ("cut_zip_tie.jpg", "cut_zip_tie_levels.jpg"),
    "zip_tie_full": ("zip_tie_full.jpg",),
    "enpire_real.pusht": ("pusht_real.jpg",),
    "simulators": ("simulators.jpg",),
}
_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s#]*)(#[^)\s]*)?\)")


def relink(text: str, of: Path, page: Path) -> str:
    """The Markdown of file `of` for the place `page`: links to what the manual has lead there, pictures are found, others become names."""

    def changed(link: re.Match[str]) -> str:
        picture, words, target, fragment = link[1], link[2], link[3], link[4] or ""
        if "://" in target or not target:
            return link[0]
        file = (of.parent / target).resolve()
        inside = str(file.relative_to(ROOT))
        if picture:
            return f"![{words}]({os.path.relpath(file, page.parent)})"
        if inside == "README.md":
            file = DOCS / "index.md"
        elif inside in COPIED:
            file = MADE / COPIED[inside]
        elif DOCS not in file.parents:
            return f"`{inside}`" if words.strip("`") in inside else f"{words} (`{inside}`)"
        return f"[{words}]({os.path.relpath(file, page.parent)}{fragment})"

    return _LINK.sub(changed, text)


def table(head: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    """A Markdown table."""
    lines = [list(head), *[[str(cell) for cell in row] for row in rows]]
    lines.insert(1, ["---"] * len(lines[0]))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def about_environments() -> dict[str, dict[str, Any]]:
    """What `autoenvbench envs --json` says, by id."""
    from autoenvbench.cli.printing import print_envs

    with contextlib.redirect_stdout(io.StringIO()) as out:
        print_envs(as_json=True)
    return {row["id"]: row for row in json.loads(out.getvalue())}


def task_page(name: str, cls: type, entry: Any, about: dict[str, dict[str, Any]]) -> str:
    """The page of one task: how it looks, its ids, what it brings, and the docstring of its class."""
    from enpire_envs import registry

    first, _, rest = inspect.cleandoc(cls.__doc__ or "").partition("\n")
    ids = [env_id for env_id in entry.envs if env_id in about]
    key = next((key for key in (entry.package, entry.package.rpartition(".")[2]) if key in PICTURES), None)
    key = None if entry.real and key not in (entry.package, None) else key
    parts = [f"# {name}\n\n{first}\n"]
    parts += [f"![{name}](../../../envs/pictures/{picture})\n" for picture in PICTURES.get(key or "", ())]

    rows = []
    for env_id in ids:
        row, level = about[env_id], registry.level_of(env_id)
        board = "" if level is None else f"{level.track}, pace {level.pace:g}" if level.ranked else "none: never ranked"
        seconds = f"{row['steps'] / row['hz']:g} s" if isinstance(row["steps"], int) else ""
        rows.append(
            [
                f"`{env_id}`",
                level.name if level else "",
                board,
                row["observation"],
                row["action"],
                row["hz"],
                row["steps"],
                seconds,
            ]
        )
    columns = ("id", "level", "board", "observation", "action", "Hz", "steps", "at most")
    keep = [k for k in range(len(columns)) if any(str(row[k]) for row in rows)]
    parts.append(table([columns[k] for k in keep], [[row[k] for k in keep] for row in rows]))
    parts.append("\n".join(brought(ids[0], entry)) + "\n")
    return "\n".join(parts) + "\n" + rest.strip() + "\n"


def brought(env_id: str, entry: Any) -> list[str]:
    """What a task brings beside its environment, in lines of a list."""
    from enpire_envs.contract import contract_of
    from enpire_envs.fingerprint import fingerprint

    from autoenvbench.make_env import make_env

    lines = []
    if entry.needs:
        lines.append(f"- First `autoenvbench setup {entry.needs}`: it runs in an interpreter of its own.")
    else:
        env = make_env(env_id, dict(entry.listed_with))
        contract = contract_of(env)
        lines.append(f"- Stages, an equal share of the score each: {', '.join(contract.stages[1:])}.")
        lines.append(f"- A policy has {contract.act_cpu_ms:g} ms of CPU time an action.")
        lines.append(f"- Fingerprint of `{env_id}`, as this manual was built: `{fingerprint(env)}`.")
        env.close()
    if entry.reference:
        kinds = {"Expert": "reference", "Scripted": "scripted", "Naive": "naive"}
        module = import_module(entry.reference)
        there = [name for kind, name in kinds.items() if hasattr(module, kind)]
        lines.append(f"- Policies of its own: {', '.join(f'`--policy {name}`' for name in there)}.")
    lines += [f"- Fixed starts: `--protocol {name}`." for name in entry.start_sets]
    lines.append(
        f"- Try it: `autoenvbench score --env {env_id} --policy {'reference' if entry.reference else 'random'} -n 20`."
    )
    return lines


def write_pages() -> list[Path]:
    """Write all of them, and say which; a file that stays the same is not touched, so that Sphinx need not read it again."""
    import enpire_real  # noqa: F401  (registers its tasks)
    import gymnasium
    from enpire_envs import registry

    import autoenvbench  # noqa: F401

    gymnasium.logger.min_level = gymnasium.logger.ERROR  # no notices about twins
    pages = {}
    for source, made in COPIED.items():
        page = MADE / made
        pages[page] = relink((ROOT / source).read_text(), ROOT / source, page)

    about = about_environments()
    names: list[str] = []
    for entry in registry.entries():
        if not entry.listed or not entry.package.startswith(("enpire_envs.", "enpire_real.")):
            continue  # a task of another package that happens to be installed
        module, _, cls = entry.entry_point.partition(":")
        name = cls.removesuffix("Env")
        names.append(name)
        pages[MADE / "tasks" / f"{name}.md"] = task_page(name, getattr(import_module(module), cls), entry, about)
    listed = [[f"[{name}](tasks/{name}.md)", pages[MADE / "tasks" / f"{name}.md"].split("\n")[2]] for name in names]
    pages[MADE / "tasks.md"] = (
        "# The tasks, one by one\n\nEach page is generated from the task's registration and the docstring of its class"
        " (`help(env.unwrapped)`). [The catalogue](catalogue.md) has their choices, levels and the audit of the verifiers.\n\n"
        + table(["task", ""], listed)
        + "\n```{toctree}\n:hidden:\n\n"
        + "\n".join(f"tasks/{name}" for name in names)
        + "\n```\n"
    )
    for page, text in pages.items():
        page.parent.mkdir(parents=True, exist_ok=True)
        if not page.exists() or page.read_text() != text:
            page.write_text(text)
    for old in set(MADE.rglob("*.md")) - set(pages):
        old.unlink()
    return list(pages)


_SECTIONS = ("Args:", "Attributes:", "Returns:", "Raises:", "Yields:")


def as_rst(lines: list[str]) -> None:
    """Change a docstring, which reads like Markdown, so that Sphinx takes it: examples are code, and a star is a star."""
    before, code, after = "", False, []
    for line in lines:
        if line and not line.startswith(" "):
            code = False
        elif line and not code and before and not before.startswith(" ") and not lines_end(after):
            code = before not in _SECTIONS and not before.endswith("::")
            after += ["::", ""] if code else []
        parts = line.split("`")
        if not code:
            parts[::2] = [part.replace("*", "\\*") for part in parts[::2]]
        after.append("`".join(parts))
        before = line or before
    lines[:] = after


def lines_end(lines: list[str]) -> bool:
    """Whether the newest line says something, so that the next one goes on with it."""
    return bool(lines and lines[-1].strip())


def setup(app: Any) -> dict[str, Any]:
    """Sphinx's: pages are written before it looks for them, and links of those in docs/ are changed as they are read."""

    def read(app: Any, name: str, source: list[str]) -> None:
        page = DOCS / f"{name}.md"
        if MADE not in page.parents:
            source[0] = relink(source[0], page, page)

    app.connect("config-inited", lambda app, config: write_pages())
    app.connect("source-read", read)
    app.connect("autodoc-process-docstring", lambda app, what, name, obj, options, lines: as_rst(lines), priority=400)
    return {"parallel_read_safe": True}
