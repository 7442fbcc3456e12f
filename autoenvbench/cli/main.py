"""The `autoenvbench` command: parse, run, and turn errors into one line and an exit code."""

from __future__ import annotations

import errno
import os
import sqlite3
import sys

from autoenvbench.cli.parser import make_parser
from autoenvbench.errors import UserError
from autoenvbench.text import visible

#: What the system answers where a name was wrong; anything else (a full disk, a broken device) is not the user's doing.
_USERS = (errno.ENOENT, errno.EEXIST, errno.EISDIR, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.EROFS, errno.ELOOP,
          errno.ENAMETOOLONG, errno.EADDRINUSE, errno.EINVAL)  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    """Run the command line `argv` (by default this process's); returns the exit code. Raises SystemExit after --help."""
    try:
        args = make_parser().parse_args(argv)
        return int(args.run(args) or 0)
    except UserError as error:
        print(visible(f"autoenvbench: {error}", lines=True), file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:  # `autoenvbench ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (OSError, sqlite3.Error) as error:  # a full disk, a vanished folder: say which, and what is kept
        print("autoenvbench: " + "; ".join([str(error), *getattr(error, "__notes__", ())]), file=sys.stderr)
        return 2 if getattr(error, "errno", None) in _USERS else 1
    except KeyboardInterrupt:
        print("autoenvbench: interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        if os.environ.get("AUTOENVBENCH_TRACEBACK"):
            raise
        print(
            f"autoenvbench: this is a bug of ours ({type(error).__name__}: {error}). Please report it with what "
            "AUTOENVBENCH_TRACEBACK=1 in front of the same command prints",
            file=sys.stderr,
        )
        return 70
