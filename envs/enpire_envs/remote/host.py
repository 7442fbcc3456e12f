"""The program in the other interpreter: makes one environment and answers for it over two pipes.

Run by path as ``python host.py READ_FD WRITE_FD``. It puts only `enpire_envs` itself on the import path, never the folder
that it lies in: that may be another interpreter's site-packages.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import sys
import traceback
from pathlib import Path
from typing import Any


def _import_suite() -> None:
    folder = Path(__file__).resolve().parents[1]
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).resolve().parent]
    spec = importlib.util.spec_from_file_location(
        "enpire_envs", folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None
    assert spec.loader is not None
    package = importlib.util.module_from_spec(spec)
    sys.modules["enpire_envs"] = package
    spec.loader.exec_module(package)


def serve(channel: Any) -> None:
    """Answer until the other side is gone: each request is {"do": verb, ...}, each answer {"ok": value} or {"error": ...}."""
    from enpire_envs.remote.wire import Closed

    env: Any = None
    while True:
        try:
            request = channel.receive()
        except Closed:
            break
        try:
            verb = request.pop("do")
            if verb == "make":
                module, _, name = request["entry"].partition(":")
                made = getattr(importlib.import_module(module), name)
                env = made(**request["kwargs"])
                arguments = inspect.signature(made).bind(**request["kwargs"])
                arguments.apply_defaults()
                answer = {**env.describe(), "arguments": arguments.arguments}
            elif verb == "reset":
                answer = env.reset(seed=request["seed"], options=request["options"], limit=request["limit"])
            elif verb == "step":
                answer = env.step(request["action"])
            elif verb == "call":  # what tools are made of: see `enpire_envs.tools.body`
                answer = getattr(env.body, request["name"])(*request["args"], **request["kwargs"])
            else:
                answer = getattr(env, {"render": "render", "finish": "finish"}[verb])()
            channel.send({"ok": answer})
        except Exception as error:
            channel.send(
                {"error": type(error).__name__, "text": str(error), "traceback": traceback.format_exc()[-4000:]}
            )
    if env is not None:
        env.close()


def main() -> None:
    """Answer over the two file descriptors of the command line until the other side is gone."""
    read_fd, write_fd = map(int, sys.argv[1:3])
    os.environ.setdefault("MUJOCO_GL", "egl")
    _import_suite()
    from enpire_envs.remote.wire import Channel

    serve(Channel(read_fd, write_fd, spin_s=0.0005))  # who steps in a loop asks again at once
    os._exit(0)  # renderers must not delay the end


if __name__ == "__main__":
    main()
