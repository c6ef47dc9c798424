"""A supervised child ends when its supervisor is gone, however that happened.

Its standard input is a pipe that only the supervisor holds, and nothing is ever written to it. When the
supervisor dies the pipe closes: that works on every Unix, and needs nobody to be alive.
"""

import os
import signal
import threading
import time

# Set by the supervisor: only then is standard input that pipe.
SUPERVISED = "BANKMIRROR_SUPERVISED"
# How long the orphan may drain before it is cut off.
_DRAIN_SECONDS = 5.0


def end_with_parent() -> None:
    """Watch for the supervisor's end, if there is a supervisor."""
    if SUPERVISED in os.environ:
        threading.Thread(target=_watch, name="end with parent", daemon=True).start()


def _watch() -> None:
    os.read(0, 1)  # Returns at the end of the pipe.
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_DRAIN_SECONDS)
    os._exit(1)
