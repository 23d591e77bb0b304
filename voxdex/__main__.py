"""The program: `voxdex`, or `python -m voxdex`."""

import os
import signal
import sys


def stop(*_: object) -> None:
    """End at once where Ctrl-C is pressed while there is nothing to clean up."""
    os.write(2, b"Stopped.\n")
    os._exit(130)


def main(arguments: list[str] | None = None) -> None:
    """Run a command. Ctrl-C ends it at once before it has begun and after it is done; in between, as the command says."""
    signal.signal(signal.SIGINT, stop)
    import gc
    from pathlib import Path

    from voxdex.commands import main as run  # takes half a second

    gc.set_threshold(100_000)  # an index of many recordings is many objects, none of them garbage
    signal.signal(signal.SIGINT, signal.default_int_handler)
    program = Path(sys.argv[0]).name
    try:
        run(arguments, prog_name="python -m voxdex" if program == "__main__.py" else program)
    finally:
        signal.signal(signal.SIGINT, stop)


if __name__ == "__main__":
    main()
