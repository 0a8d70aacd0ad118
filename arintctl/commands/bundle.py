"""Bundles: what a machine with neither Python nor internet needs to become a node."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from arintctl.output import Column, Table, columned, write
from arintctl.progress import shown
from arintctl.session import Session
from arintctl.text import octets_text
from arintctl.verb import commands, verb

if TYPE_CHECKING:
    from arint.bootstrap.bundle.build import Bundle
    from arint.bootstrap.bundle.manifest import Manifest

app = commands()
Archive = Annotated[Path, typer.Argument(metavar="FILE", help="The bundle's archive.")]

COMPONENTS = Table((
    Column("KIND", lambda item: item.kind),
    Column("NAME", lambda item: item.name),
    Column("VERSION", lambda item: item.version),
    Column("LICENSE", lambda item: item.license),
    Column("SHA256", lambda item: item.sha256, wide=True),
), name=lambda item: str(item.name))


@verb(app, "build", example="arintctl bundle build --to ./arint.tar.gz")
def build(session: Session, *,
          to: Annotated[Path | None, typer.Option("--to", metavar="FILE",
                                                  help="Where to write it (default: in the cache).")] = None) -> None:
    """Build the bundle of this ARINT: interpreter, packages, engines, hashes and a bill of materials.

    Only what changed since the last build is read again. The same content gives the same bytes.
    """
    from arint.bootstrap.bundle.build import build as operation
    from arint.engines.find import find_etcd, find_nats

    with shown(quiet=session.settings.quiet) as progress:
        bundle = operation(find_etcd(), find_nats(), target=to, progress=progress)
    _tell(session, bundle)


@verb(app, "show", example="arintctl bundle show ./arint.tar.gz -o wide")
def show(session: Session, file: Archive) -> None:
    """Tell what a bundle holds, and where it runs."""
    from arint.bootstrap.bundle.build import opened

    bundle = opened(file)
    if session.form in ("table", "wide"):
        write(_facts(bundle) + "\n")
        session.rows(bundle.manifest.components, COMPONENTS)
    else:
        _tell(session, bundle)


@verb(app, "verify", example="arintctl bundle verify ./arint.tar.gz")
def verify(session: Session, file: Archive) -> None:
    """Read all of a bundle, and compare every file with its hash."""
    from arint.bootstrap.bundle.build import verify as operation

    manifest: Manifest = operation(file)
    if session.is_data:
        session.data({"id": manifest.id, "digest": manifest.digest, "files": len(manifest.files)})
    elif session.form == "name":
        write(manifest.id)
    else:
        write(f"{manifest.id}: all {len(manifest.files)} files are what the manifest says")


def _tell(session: Session, bundle: Bundle) -> None:
    if session.is_data:
        session.data({"path": bundle.path, "sha256": bundle.sha256, "size": bundle.size, "id": bundle.manifest.id,
                      "digest": bundle.manifest.digest, "manifest": bundle.manifest})
    elif session.form == "name":
        write(bundle.path)
    else:
        write(_facts(bundle))


def _facts(bundle: Bundle) -> str:
    manifest = bundle.manifest
    return columned([
        ["bundle", manifest.id], ["file", bundle.path],
        ["size", f"{octets_text(bundle.size)}, {octets_text(manifest.size)} unpacked, {len(manifest.files)} files"],
        ["sha256", bundle.sha256], ["runs on", str(manifest.platform)],
        ["holds", f"Python {manifest.python}, etcd {manifest.etcd}, nats-server {manifest.nats}"],
    ])
