"""The command line, ``darkroom``.

Exit status: 0 done, 1 the run failed, 2 bad input, 130 interrupted.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

INTERRUPTED = 130
ADVICE = "interrupted: the same command goes on where this one stopped"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and gives its exit status."""
    words = sys.argv[1:] if arguments is None else arguments
    try:
        # Not at the top: it takes half a second, in which Ctrl-C is answered as well.
        from flows.command_line.commands import carry_out

        return carry_out(words)
    except KeyboardInterrupt:
        if "--json" in words:
            print(json.dumps({"error": {"type": "Interrupted", "message": ADVICE}}))
        print(ADVICE, file=sys.stderr)
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
