"""A run of a bench: `python -m pbrl.bench.child train ...`, which saves and ends when its parent does.

The parent holds the other end of standard input. When that closes, by the parent's will or its death, the run gets what
Ctrl-C would send; so a bench that is killed leaves no run behind that holds the lock of its folder.
"""

from __future__ import annotations

import os
import signal
import sys
import threading


def _follow_parent() -> None:
    while os.read(sys.stdin.fileno(), 1024):
        pass
    os.kill(os.getpid(), signal.SIGINT)


if __name__ == "__main__":
    from pbrl.cli import main

    threading.Thread(target=_follow_parent, daemon=True).start()
    sys.exit(main())
