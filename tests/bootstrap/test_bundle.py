"""A bundle: built from what is installed, the same twice, verified, and run from a folder with nothing else."""

from __future__ import annotations

import gzip
import io
import json
import subprocess
import tarfile
from pathlib import Path

import pytest

from arint.bootstrap.bundle import layers
from arint.bootstrap.bundle.build import Bundle, build, opened, verify
from arint.bootstrap.bundle.sources import Layer, Source
from arint.engines.find import find_etcd, find_nats
from arint.errors import NotFoundError, NotValidError

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bundles")


@pytest.fixture(scope="module")
def bundle(cache: Path) -> Bundle:
    return build(find_etcd(), find_nats(), cache=cache)


@pytest.fixture(scope="module")
def unpacked(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("target")
    subprocess.run(["tar", "-xzf", bundle.path, "-C", str(folder)], check=True)
    return folder


def test_a_bundle_is_what_it_says(bundle: Bundle) -> None:
    manifest = verify(Path(bundle.path))
    assert manifest == bundle.manifest
    assert {item.name for item in manifest.components} >= {"python", "arint", "msgspec", "etcd", "nats-server"}
    assert not [path for path in manifest.files if "/pytest/" in path or path.endswith("conftest.py")]


def test_the_same_content_gives_the_same_bytes_and_little_work(bundle: Bundle, tmp_path: Path) -> None:
    again = build(find_etcd(), find_nats(), cache=Path(bundle.path).parent, target=tmp_path / "again.tar.gz")
    assert again.sha256 == bundle.sha256


def test_a_layer_made_anew_is_the_same(tmp_path: Path) -> None:
    module = tmp_path / "some.py"
    module.write_text("VALUE = {'a': 1, 'b': (1, 2)}\n\n\ndef value() -> dict:\n    return VALUE\n")
    layer = Layer("some", (Source("lib/some.py", str(module)),), ())
    first, second = layers.made(layer, tmp_path / "1"), layers.made(layer, tmp_path / "2")
    assert first.files == second.files
    assert Path(first.piece).read_bytes() == Path(second.piece).read_bytes()
    assert any(path.endswith(".pyc") for path in first.files)


def test_it_runs_from_any_folder_and_leaves_nothing_in_the_environment(unpacked: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    unpacked.rename(moved)
    try:
        bare = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
        told = subprocess.run([str(moved / "bin" / "arintctl"), "--version"], env=bare, capture_output=True, text=True,
                              check=True, timeout=30)
        assert told.stdout.startswith("arintctl ")
        words = ("import json, os, ssl, sqlite3, ctypes, sys, grpc, paramiko, cryptography, uvloop;"
                 "print(json.dumps([sys.prefix, sorted(os.environ), ["
                 "line.split()[-1] for line in open('/proc/self/maps') if '.so' in line and 'r-xp' in line]]))")
        python = moved / "python" / "bin" / f"python{bundled_python(moved)}"
        prefix, environment, objects = json.loads(subprocess.run(
            [str(python), "-I", "-c", words], env=bare, capture_output=True, text=True, check=True, timeout=30).stdout)
        assert prefix == str(moved / "python")
        assert not {"LD_LIBRARY_PATH", "PYTHONHOME"} & set(environment)
        outside = {Path(path).name.partition(".so")[0] for path in objects if not path.startswith(str(moved))}
        assert outside <= {"libc", "libm", "libdl", "librt", "libpthread", "libutil", "ld-linux-x86-64",
                           "ld-linux-aarch64"}
    finally:
        moved.rename(unpacked)


def bundled_python(folder: Path) -> str:
    version: str = json.loads((folder / "bundle.json").read_text())["python"]
    return ".".join(version.split(".")[:2])


def test_the_bill_of_materials_names_every_part(unpacked: Path, bundle: Bundle) -> None:
    bill = json.loads((unpacked / "sbom.cdx.json").read_text())
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    assert {part["name"] for part in bill["components"]} == {item.name for item in bundle.manifest.components}
    assert len({part["bom-ref"] for part in bill["components"]}) == len(bill["components"])


def test_a_machine_without_internet_has_a_whole_cluster_from_it(unpacked: Path, tmp_path: Path) -> None:
    from arint.ports import free_port

    bare = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "ARINT_HOME": str(tmp_path / "home")}
    program = str(unpacked / "bin" / "arintctl")
    try:
        subprocess.run([program, "up", "--http-port", str(free_port())], env=bare, check=True, timeout=120,
                       capture_output=True)
        status = json.loads(subprocess.run([program, "status", "-o", "json"], env=bare, check=True, timeout=30,
                                           capture_output=True).stdout)
        assert status["ready"]
        running = {str(Path(f"/proc/{engine['pid']}/exe").readlink()) for engine in status["engines"]}
        assert running == {str(unpacked / "engines" / "etcd"), str(unpacked / "engines" / "nats-server")}
    finally:
        subprocess.run([program, "down", "--purge", "--yes", "--grace", "10s"], env=bare, check=True, timeout=60,
                       capture_output=True)


def test_a_changed_file_a_cut_archive_and_no_bundle_are_told(bundle: Bundle, tmp_path: Path) -> None:
    changed = tmp_path / "changed.tar.gz"
    with gzip.open(bundle.path) as plain, tarfile.open(fileobj=plain, mode="r|") as source, \
            tarfile.open(changed, "w:gz", compresslevel=1) as target:
        for member in source:
            content = source.extractfile(member)
            if member.name == "bin/arintctl":
                assert content is not None
                data = content.read().replace(b"exec", b"EXEC")
                content = io.BytesIO(data)  # type: ignore[assignment]
            target.addfile(member, content)
    with pytest.raises(NotValidError) as told:
        verify(changed)
    assert told.value.problems == ("bin/arintctl: another content than the manifest says",)
    cut = tmp_path / "cut.tar.gz"
    cut.write_bytes(Path(bundle.path).read_bytes()[:-100_000])
    with pytest.raises(NotValidError, match="not what it says"):
        verify(cut)
    (tmp_path / "no.tar.gz").write_bytes(b"no archive")
    with pytest.raises(NotValidError, match="no bundle"):
        opened(tmp_path / "no.tar.gz")
    with pytest.raises(NotFoundError):
        opened(tmp_path / "nowhere")
