"""The environment of services: what is kept of the agent's own, and what a service declares.

The agent's environment may hold anything (it is that of whoever ran `arintctl up`), so services get a clean one.
"""

from __future__ import annotations

from collections.abc import Mapping

from arint.errors import NotFoundError, NotValidError
from arint.resources.kinds import SecretReference
from arint.resources.variables import resolve

KEPT = frozenset({"PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR",
                  "ARINT_FENCE"})
OF_PYTHON = frozenset({"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "SSL_CERT_FILE", "SSL_CERT_DIR",
                       "MALLOC_ARENA_MAX", "ARINT_FAILPOINTS"})
"""What the worker itself may need to run; a program is not given it."""


def clean(environment: Mapping[str, str], *, python: bool = False) -> dict[str, str]:
    """What of an environment a service may see: where programs are, whose it is, its language and time zone."""
    kept = KEPT | OF_PYTHON if python else KEPT
    return {name: value for name, value in environment.items() if name in kept or name.startswith("LC_")}


def declared(env: Mapping[str, str | SecretReference], variables: Mapping[str, str], secrets: Mapping[str, bytes],
             where: str = "") -> dict[str, str]:
    """The values of a service's `env`. Raises NotValidError or NotFoundError for one that cannot be had."""
    return {name: _value(name, item, variables, secrets, where) for name, item in env.items()}


def _value(name: str, item: str | SecretReference, variables: Mapping[str, str], secrets: Mapping[str, bytes],
           where: str) -> str:
    if isinstance(item, str):
        value = str(resolve(item, variables, where=where, path=("env", name)))
    elif item.secret in secrets:
        value = secrets[item.secret].decode(errors="surrogateescape")  # the bytes arrive as they are
    else:
        raise NotFoundError(f"the secret {item.secret} has no value", where=f"{where} env.{name}",
                            remedy="apply the manifest that declares it")
    if "\0" in value:
        raise NotValidError("a zero byte cannot stand in an environment", where=f"{where} env.{name}",
                            remedy="give it encoded, or by ctx.secret_bytes")
    return value
