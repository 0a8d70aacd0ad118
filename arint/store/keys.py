"""The layout of the store: every key is built here and nowhere else (DESIGN section 4).

    /arint/<cluster>/a/secrets/<name>/<digest>            sealed values
    /arint/<cluster>/a/ring                               the id of the key that seals them now
    /arint/<cluster>/a/users/<name>  a/audit/<stream>
    /arint/<cluster>/a/ca/<name>                          the sealed key of a CA that takes over
    /arint/<cluster>/a/revoked/<kind>/<name>              whose certificates must not be accepted again
    /arint/<cluster>/z/certificates  z/certs/<node>       how certificates shall be; what each node has
    /arint/<cluster>/z/head                               the number of the change set in force
    /arint/<cluster>/z/sets/<number>                      change sets
    /arint/<cluster>/z/resources/<Kind>/<name>/<revision> what they name
    /arint/<cluster>/z/users/<name>                       that there is such a user, and no more
    /arint/<cluster>/z/nodes/<node>  z/alive/<node>       permanent; leased
    /arint/<cluster>/z/near/<node>                        leased
    /arint/<cluster>/z/rollouts/<service>
    /arint/<cluster>/z/assignments/<node>/<instance>
    /arint/<cluster>/z/instances/<service>/<instance>     leased
    /arint/<cluster>/z/owners/<service>                   leased; its create revision is the fencing token
    /arint/<cluster>/z/elections/<name>/<lease>

What agents may not read (`a`) sorts before what they may (`z`): etcd below 3.5.33 leaks watches upwards.
A service may be one of the system's, as `system/runner`; its instances are still told apart by the last part.
"""

from __future__ import annotations

from arint.errors import NotValidError

_DIGITS = 10  # numbers are padded, so that they sort as numbers


class Keys:
    """The keys of one cluster. Methods ending in `prefix` give prefixes, with the slash at the end."""

    def __init__(self, cluster: str) -> None:
        self.cluster = _part(cluster)
        self.root = f"/arint/{cluster}/"
        self.restricted = f"{self.root}a/"
        """What only administrators may read."""
        self.shared = f"{self.root}z/"
        """What agents may read."""
        self.head = f"{self.shared}head"
        self.sets_prefix = f"{self.shared}sets/"
        self.resources_prefix = f"{self.shared}resources/"
        self.nodes_prefix = f"{self.shared}nodes/"
        self.alive_prefix = f"{self.shared}alive/"
        self.near_prefix = f"{self.shared}near/"
        self.rollouts_prefix = f"{self.shared}rollouts/"
        self.owners_prefix = f"{self.shared}owners/"
        self.elections_prefix = f"{self.shared}elections/"
        self.secrets_prefix = f"{self.restricted}secrets/"
        self.ring = f"{self.restricted}ring"
        """The id of the key that seals secrets now."""
        self.users_prefix = f"{self.restricted}users/"
        self.known_users_prefix = f"{self.shared}users/"
        self.certificates_wanted = f"{self.shared}certificates"
        """How certificates shall be (`arint.registry.certificates.Wanted`)."""
        self.certificates_prefix = f"{self.shared}certs/"
        self.ca_keys_prefix = f"{self.restricted}ca/"
        self.revoked_prefix = f"{self.restricted}revoked/"

    def secret(self, name: str, digest: str) -> str:
        """A sealed value of the secret `name`."""
        return f"{self.secret_prefix(name)}{_part(digest)}"

    def secret_prefix(self, name: str) -> str:
        """All sealed values of the secret `name`."""
        return f"{self.secrets_prefix}{_part(name)}/"

    def user(self, name: str) -> str:
        """A user of the cluster."""
        return f"{self.users_prefix}{_part(name)}"

    def known_user(self, name: str) -> str:
        """That there is a user of this name."""
        return f"{self.known_users_prefix}{_part(name)}"

    def certificates(self, node: str) -> str:
        """Which certificates the node has."""
        return f"{self.certificates_prefix}{_part(node)}"

    def ca_key(self, name: str) -> str:
        """The sealed private key of a CA that is taking over."""
        return f"{self.ca_keys_prefix}{_part(name)}"

    def revoked(self, kind: str, name: str) -> str:
        """A `node` or `user` whose certificates may not be accepted again while they last."""
        return f"{self.revoked_prefix}{_part(kind)}/{_part(name)}"

    def audit_head(self, stream: str) -> str:
        """The newest link of an audit chain."""
        return f"{self.restricted}audit/{_part(stream)}"

    def change_set(self, number: int) -> str:
        """The change set `number`."""
        return f"{self.sets_prefix}{number:0{_DIGITS}d}"

    def resource(self, resource: str, revision: str) -> str:
        """One revision of the resource `Kind/name`."""
        kind, _, name = resource.partition("/")
        return f"{self.resources_prefix}{_part(kind)}/{_part(name)}/{_part(revision)}"

    def node(self, node: str) -> str:
        """What is known of a node, alive or not."""
        return f"{self.nodes_prefix}{_part(node)}"

    def alive(self, node: str) -> str:
        """There as long as the node's lease."""
        return f"{self.alive_prefix}{_part(node)}"

    def near(self, node: str) -> str:
        """How far the other nodes are from this one."""
        return f"{self.near_prefix}{_part(node)}"

    def rollout(self, service: str) -> str:
        """The stable and the failed version of a service."""
        return f"{self.rollouts_prefix}{_service(service)}"

    def assignment(self, node: str, instance: str) -> str:
        """An instance that the node shall run."""
        return f"{self.assignments_prefix(node)}{_part(instance)}"

    def assignments_prefix(self, node: str | None = None) -> str:
        """What one node, or every node, shall run."""
        return f"{self.shared}assignments/" + (f"{_part(node)}/" if node else "")

    def instance(self, service: str, instance: str) -> str:
        """A live instance of a service."""
        return f"{self.instances_prefix(service)}{_part(instance)}"

    def instances_prefix(self, service: str | None = None) -> str:
        """The live instances of one service, or of all."""
        return f"{self.shared}instances/" + (f"{_service(service)}/" if service else "")

    def owner(self, service: str) -> str:
        """Who owns the singleton `service`."""
        return f"{self.owners_prefix}{_service(service)}"

    def election_prefix(self, name: str) -> str:
        """The candidates of an election."""
        return f"{self.elections_prefix}{_part(name)}/"


def candidate(election_prefix: str, lease: int) -> str:
    """The key of the candidate that holds `lease`."""
    return f"{election_prefix}{lease:016x}"


def parse_instance(suffix: str) -> tuple[str, str]:
    """The service and the instance that the part of a key after `instances/` names."""
    service, _, instance = suffix.rpartition("/")
    return service, instance


def parse_assignment(suffix: str) -> tuple[str, str]:
    """The node and the instance that the part of a key after `assignments/` names."""
    node, _, instance = suffix.partition("/")
    return node, instance


def _service(name: str) -> str:
    return f"system/{_part(name[7:])}" if name.startswith("system/") else _part(name)


def _part(word: str) -> str:
    """A slash in a name would put the key into somebody else's prefix; an empty one would be the prefix."""
    if not word or "/" in word or "\0" in word:
        raise NotValidError(f"{word!r} cannot be part of a key", remedy="use names without slashes")
    return word
