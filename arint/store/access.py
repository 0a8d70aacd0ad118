"""etcd's own users and roles (`arint.security.permissions`), made idempotently by who holds the role root.

A user is the common name of a certificate and has no password, so that none can be guessed: etcd accepts nobody
without a certificate of its CA.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from aetcd import rpc

from arint.errors import ConflictError
from arint.security.permissions import AGENT, ROOT, StoreRole, agent_role, identity_on
from arint.store.connection import Etcd
from arint.store.endpoints import Endpoint
from arint.store.keys import Keys
from arint.store.transactions import prefix_end

_READ, _WRITE = rpc.Permission.READ, rpc.Permission.WRITE
_READWRITE = rpc.Permission.READWRITE
_THERE_ALREADY = "already"


async def permit(etcd: Etcd, cluster: str, node: str) -> bool:
    """Have etcd ask who somebody is, from now on, with this server's administrator and agent as users.

    Idempotent, and at the end of an upgrade it brings roles to what this release wants. Before the first time anybody
    with a certificate may do it, afterwards only an administrator. Returns whether anything was changed.
    """
    enabled = bool((await _ask(etcd, "AuthStatus", rpc.AuthStatusRequest())).enabled)
    changed = await _make_role(etcd, agent_role(Keys(cluster)))
    users = {ROOT: ROOT, identity_on("etcd-admin", node): ROOT, identity_on("etcd-agent", node): AGENT}
    for name, role in users.items():
        changed |= await _make_user(etcd, name, role)
    if not enabled:
        await _ask(etcd, "AuthEnable", rpc.AuthEnableRequest())
    return changed or not enabled


async def admit_node(etcd: Etcd, cluster: str, node: str, *, server: bool = False) -> None:
    """Let the agent of a new node in, and the administrator of a new server. Idempotent."""
    await _make_role(etcd, agent_role(Keys(cluster)))
    await _make_user(etcd, identity_on("etcd-agent", node), AGENT)
    if server:
        await _make_user(etcd, identity_on("etcd-admin", node), ROOT)


async def dismiss_node(etcd: Etcd, node: str) -> bool:
    """Let nobody of this node in any more, from this moment; whether there was anybody."""
    gone = [await _delete_user(etcd, identity_on(one, node)) for one in ("etcd-agent", "etcd-admin")]
    return any(gone)


async def users(etcd: Etcd) -> list[str]:
    """The names of all users."""
    return sorted((await _ask(etcd, "UserList", rpc.AuthUserListRequest(), write=False)).users)


async def _make_role(etcd: Etcd, role: StoreRole) -> bool:
    """The role with exactly these permissions; whether it had to be changed."""
    wanted = {(prefix.encode(), prefix_end(prefix)): _READ for prefix in role.reads}
    for prefix in role.writes:
        wanted[prefix.encode(), prefix_end(prefix)] = _READWRITE if prefix in role.reads else _WRITE
    changed = await _unless_there(etcd, "RoleAdd", rpc.AuthRoleAddRequest(name=role.name))
    found = await _ask(etcd, "RoleGet", rpc.AuthRoleGetRequest(role=role.name), write=False)
    there = {(bytes(one.key), bytes(one.range_end)): one.permType for one in found.perm}
    for (key, end), kind in wanted.items():
        if there.get((key, end)) != kind:
            permission = rpc.Permission(permType=kind, key=key, range_end=end)
            await _ask(etcd, "RoleGrantPermission", rpc.AuthRoleGrantPermissionRequest(name=role.name, perm=permission))
            changed = True
    for key, end in there.keys() - wanted.keys():
        await _ask(etcd, "RoleRevokePermission",
                   rpc.AuthRoleRevokePermissionRequest(role=role.name, key=key, range_end=end))
        changed = True
    return changed


async def _make_user(etcd: Etcd, name: str, role: str) -> bool:
    options = rpc.AuthUserAddRequest(name=name)
    options.options.no_password = True
    made = await _unless_there(etcd, "UserAdd", options)
    found = await _ask(etcd, "UserGet", rpc.AuthUserGetRequest(name=name), write=False)
    if role in found.roles:
        return made
    if role == ROOT:
        await _unless_there(etcd, "RoleAdd", rpc.AuthRoleAddRequest(name=ROOT))
    await _ask(etcd, "UserGrantRole", rpc.AuthUserGrantRoleRequest(user=name, role=role))
    return True


async def _delete_user(etcd: Etcd, name: str) -> bool:
    if name not in await users(etcd):
        return False
    await _ask(etcd, "UserDelete", rpc.AuthUserDeleteRequest(name=name))
    return True


async def _unless_there(etcd: Etcd, verb: str, request: Any) -> bool:
    try:
        await _ask(etcd, verb, request)
    except ConflictError as error:
        if _THERE_ALREADY not in error.what:
            raise
        return False
    return True


async def _ask(etcd: Etcd, verb: str, request: Any, *, write: bool = True) -> Any:
    def ask(endpoint: Endpoint, timeout: float) -> Awaitable[Any]:
        call: Callable[..., Awaitable[Any]] = getattr(endpoint.auth, verb)
        return call(request, timeout=timeout)

    return await etcd.call(ask, write=write)
