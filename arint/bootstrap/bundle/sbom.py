"""The bill of materials of a bundle: CycloneDX 1.6, as JSON. The same bundle gives the same bytes.

https://cyclonedx.org/docs/1.6/json/
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable

import msgspec

from arint.bootstrap.bundle.manifest import Component

_TYPES = {"interpreter": "application", "package": "library", "engine": "application", "library": "library"}
_NAMESPACE = uuid.UUID("1f4c6f8e-6c0d-4a2e-9a55-0f6a35b5a6c1")


def sbom(release: str, components: Iterable[Component]) -> bytes:
    """The document for these components."""
    parts = [_part(component) for component in sorted(components)]
    identity = uuid.uuid5(_NAMESPACE, msgspec.json.encode(parts, order="sorted").decode())
    document = {
        "bomFormat": "CycloneDX", "specVersion": "1.6", "serialNumber": f"urn:uuid:{identity}", "version": 1,
        "metadata": {"component": {"type": "application", "name": "arint", "version": release, "bom-ref": "arint"}},
        "components": parts,
    }
    return msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n"


def _part(component: Component) -> dict[str, object]:
    purl = _purl(component)
    part: dict[str, object] = {"type": _TYPES[component.kind], "bom-ref": purl, "name": component.name,
                               "version": component.version, "purl": purl}
    if component.license:
        part["licenses"] = [{"license": {"name": component.license}}]
    if component.sha256:
        part["hashes"] = [{"alg": "SHA-256", "content": component.sha256}]
    return part


def _purl(component: Component) -> str:
    """https://github.com/package-url/purl-spec"""
    kind = "pypi" if component.kind == "package" else "generic"
    name = component.name.lower().replace("_", "-") if kind == "pypi" else component.name
    return f"pkg:{kind}/{name}@{component.version}" if component.version else f"pkg:{kind}/{name}"
