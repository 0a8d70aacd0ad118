"""How a home joins another's cluster by the three documents."""

from __future__ import annotations

import json
from typing import Any

from tests.hostile.system import System


def asked(**more: Any) -> str:
    return json.dumps({"cluster": "local", "node": "n2", "host": "127.0.0.1"} | more)


def write(system: System, name: str, text: str) -> str:
    file = system.folder / name
    file.write_text(text)
    return str(file)


def admitted(first: System, second: System, **more: Any) -> str:
    """The file with what `second` joins by."""
    request = second.ctl("node", "request", "--document", write(second, "asked", asked(**more)))
    return write(second, "join", first.ctl("node", "admit", "--document", write(second, "request", request)))
