"""For which Python and platform packages are chosen here."""

from __future__ import annotations

import sys
import sysconfig

from arint.errors import NotValidError
from arint.resources.kinds import Locked


def python_here() -> str:
    """Such as 3.11."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def platform_here() -> str:
    """Such as linux-x86_64."""
    return sysconfig.get_platform()


def refuse_elsewhere(locked: Locked) -> None:
    """Raise NotValidError unless the set was resolved for what runs here."""
    here = (python_here(), platform_here())
    if locked.packages and (locked.python, locked.platform) != here:
        raise NotValidError(f"the requirements were resolved for Python {locked.python} on {locked.platform}; here is "
                            f"Python {here[0]} on {here[1]}", remedy="apply again from a machine like this one")
