"""Become a server that dies with its parent; run as `python -I -S _launch.py PARENT_PID COMMAND ...`.

Linux sends a process a signal when the thread that started it is gone, if the process asks for it (prctl
PR_SET_PDEATHSIG). A server's binary does not ask, and asking between fork and exec of a process with
threads is not safe in Python. So this script asks, then replaces itself: same process id, no process more.
Where there is no prctl, the owner's exit handler and the process file are what remains.
"""

import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def _main() -> None:
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        import ctypes

        # SIGKILL: a server that is paused, or busy stopping cleanly, must not outlive its owner either.
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it died before we asked
            sys.exit(1)
    os.execv(command[0], command)  # noqa: S606  (no shell is what we want)


if __name__ == "__main__":
    _main()
