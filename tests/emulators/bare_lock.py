"""Takes out of npm's lock what installing does not need and what may hold an address.

``python tests/emulators/bare_lock.py package-lock.json``
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

NEEDLESS = ("deprecated", "funding", "license", "resolved")


def bare(lock: dict[str, dict[str, dict[str, object]]]) -> None:
    """Leaves versions, hashes and dependencies."""
    for package in lock["packages"].values():
        for name in NEEDLESS:
            package.pop(name, None)


if __name__ == "__main__":
    path = Path(sys.argv[1])
    content = json.loads(path.read_text(encoding="utf-8"))
    bare(content)
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
