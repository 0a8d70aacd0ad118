"""Requirements from words to importable packages, with pip, and no network."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path

import msgspec
import pytest

from arint.artifacts.installing import install, keep, missing
from arint.artifacts.provided import provided
from arint.artifacts.resolving import UnresolvedError, fetch, resolve, usable
from arint.errors import NotFoundError, NotValidError, UnreachableError
from arint.home import Home
from arint.resources.kinds import Locked
from arint.resources.requirements import packages_of, set_digest
from tests.wheels import make_index, make_wheel


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """Wheels: `coins` 1.0 and 1.1, which needs `metal`; `oldclient`, which needs an httpx that is too old."""
    folder = tmp_path / "wheelhouse"
    make_wheel(folder, "coins", "1.0")
    make_wheel(folder, "coins", "1.1", requires=["metal>=2", "httpx"])
    make_wheel(folder, "metal", "2.0")
    make_wheel(folder, "oldclient", "1.0", requires=["httpx<0.25"])
    make_wheel(folder, "httpx", "0.24.1")
    return folder


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    home.make_folders()
    return home


def provided_by(house: Path, home: Home, *requirements: str) -> tuple[Locked, Path]:
    locked = resolve(requirements, house)
    folder = home.path / "fetching"
    folder.mkdir()
    keep(home, fetch(missing(home, packages_of(locked)), folder, house))
    return locked, install(home, locked)


def test_what_arint_has_is_known() -> None:
    assert {"arint", "msgspec", "httpx", "h11"} <= provided().keys()
    assert "pytest" not in provided()


def test_from_words_to_importable_packages(house: Path, home: Home) -> None:
    locked, folder = provided_by(house, home, "coins")
    assert [package.spoken for package in packages_of(locked)] == ["coins 1.1", "metal 2.0"]
    assert (folder / "coins.py").exists()
    assert (folder / "coins-1.1.dist-info/INSTALLER").read_text() == "arint"
    assert folder == home.requirement_set(set_digest(locked))
    assert not missing(home, packages_of(locked))
    inode = folder.stat().st_ino
    assert install(home, locked).stat().st_ino == inode
    assert {place.name for place in home.requirements.iterdir()} == {folder.name}
    assert usable(locked, ["coins"])
    assert usable(locked, ["coins>=1", "httpx"])
    assert not usable(locked, ["coins<1.1"])
    assert not usable(msgspec.structs.replace(locked, python="3.1"), ["coins"])


def test_a_contradiction_names_both_versions(house: Path) -> None:
    with pytest.raises(UnresolvedError, match=f"httpx<0.25 contradicts httpx {version('httpx')}") as caught:
        resolve(["coins", "httpx<0.25"], house)
    assert caught.value.requirement == "httpx<0.25"
    with pytest.raises(UnresolvedError, match=f"oldclient .*httpx 0.24.1.*ARINT itself runs with {version('httpx')}"):
        resolve(["oldclient"], house)


@pytest.mark.parametrize(("requirements", "words", "blamed"), [
    (["coins", "coin"], 'did you mean "coins"', "coin"),
    (["coins>7"], "1.0, 1.1", "coins>7"),
    (["coins==1.0", "coins==1.1"], "conflicting", "coins==1.0"),
    (["there-is-nothing"], "pip wheel --wheel-dir", "there-is-nothing"),
])
def test_what_does_not_resolve(house: Path, requirements: list[str], words: str, blamed: str) -> None:
    with pytest.raises(UnresolvedError) as caught:
        resolve(requirements, house)
    assert words in str(caught.value)
    assert caught.value.requirement == blamed


def test_a_wheel_for_another_platform_is_not_taken(tmp_path: Path) -> None:
    make_wheel(tmp_path / "w", "metal", "1.0", tag="cp27-cp27m-win32")
    with pytest.raises(UnresolvedError, match="no wheel of metal"):
        resolve(["metal"], tmp_path / "w")


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """pip's configuration leads to an index in a folder; PIP_USER and the like must do no harm."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_USER", "1")
    monkeypatch.setenv("PIP_TARGET", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("PIP_INDEX_URL", (tmp_path / "simple").as_uri())
    return tmp_path / "simple"


def test_pip_is_asked_as_it_is_configured(index: Path, house: Path, tmp_path: Path) -> None:
    make_index(index, sorted(house.glob("*.whl")))
    locked = resolve(["coins>=1.1"])
    assert [package.spoken for package in packages_of(locked)] == ["coins 1.1", "metal 2.0"]
    (tmp_path / "f").mkdir()
    assert [wheel.name.partition("-")[0] for wheel in fetch(packages_of(locked), tmp_path / "f")] == ["coins", "metal"]
    assert not (tmp_path / "elsewhere").exists()
    with pytest.raises(UnresolvedError, match=r"index knows no package bable.*babel"):
        resolve(["bable"])


def test_code_that_only_exists_as_source_is_not_run(index: Path, tmp_path: Path) -> None:
    mark = tmp_path / "was-run"
    (tmp_path / "setup.py").write_text(f"open({str(mark)!r}, 'w')\n")
    source = tmp_path / "sourceonly-1.0.zip"
    with zipfile.ZipFile(source, "w") as archive:
        archive.writestr("sourceonly-1.0/setup.py", (tmp_path / "setup.py").read_text())
        archive.writestr("sourceonly-1.0/PKG-INFO", "Metadata-Version: 2.1\nName: sourceonly\nVersion: 1.0\n")
    make_index(index, [source])
    with pytest.raises(UnresolvedError, match=r"only source.*pip wheel"):
        resolve(["sourceonly"])
    assert not mark.exists()


def test_an_index_that_does_not_answer(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")
    monkeypatch.setenv("PIP_PROXY", "")
    with pytest.raises(UnreachableError, match="does not answer"):
        resolve(["coins"])


def test_only_what_was_locked_is_taken(house: Path, home: Home, tmp_path: Path) -> None:
    locked = resolve(["metal"], house)
    make_wheel(house, "metal", "2.0", {"metal.py": "evil = True\n"})
    (tmp_path / "f").mkdir()
    with pytest.raises(UnresolvedError, match=r"(?i)hash"):
        fetch(packages_of(locked), tmp_path / "f", house)
    with pytest.raises(NotFoundError, match=r"metal 2\.0 is not on this node"):
        install(home, locked)
    [package] = packages_of(locked)
    (home.wheels / package.sha256).mkdir()
    (home.wheels / package.sha256 / "metal-2.0-py3-none-any.whl").write_bytes(b"PK")
    with pytest.raises(NotValidError, match="not what its hash names"):
        install(home, locked)
    assert not list(home.requirements.iterdir())


def test_a_set_for_another_python_is_refused(house: Path, home: Home) -> None:
    locked, _ = provided_by(house, home, "metal")
    with pytest.raises(NotValidError, match=r"resolved for Python 2\.7 on linux"):
        install(home, msgspec.structs.replace(locked, python="2.7"))


def test_a_wheel_that_leads_out_of_its_folder_is_refused(house: Path, home: Home) -> None:
    make_wheel(house, "climber", "1.0", {"../../climbed.py": "x = 1\n"})
    with pytest.raises(NotValidError, match="climber"):
        provided_by(house, home, "climber")
    assert not list(home.path.rglob("climbed.py"))
    assert not list(home.requirements.iterdir())


def test_user_code_sees_its_packages_and_never_ahead_of_arint(house: Path, home: Home, tmp_path: Path) -> None:
    make_wheel(house, "sneaky", "1.0", {"sneaky.py": "x = 1\n", "msgspec/__init__.py": "evil = True\n"})
    _, folder = provided_by(house, home, "sneaky", "coins")
    code = tmp_path / "code"
    code.mkdir()
    (code / "work.py").write_text("import coins, msgspec, sneaky\ndef work():\n"
                                  "    return coins.version, hasattr(msgspec, 'evil'), sneaky.x\n")
    script = ("import sys; from pathlib import Path; from arint.runtime.loader import load_callable;"
              "print(load_callable(Path(sys.argv[1]), 'work.py:work', digest='d', packages=Path(sys.argv[2]))())")
    done = subprocess.run([sys.executable, "-c", script, code, folder], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "('1.1', False, 1)"


def test_what_this_python_has_in_another_version_is_told_not_shadowed(house: Path, home: Home) -> None:
    from arint.runtime.loader import load_callable

    make_wheel(house, "pytest", "0.1")
    with pytest.raises(UnresolvedError, match=f"pytest 0.1, and ARINT's environment has {version('pytest')}"):
        resolve(["pytest"], house)
    folder = home.path / "set"
    with zipfile.ZipFile(house / "pytest-0.1-py3-none-any.whl") as archive:
        archive.extractall(folder)
    (home.path / "work.py").write_text("def work(): ...\n")
    with pytest.raises(NotValidError, match=r"pytest 0\.1 is required"):
        load_callable(home.path, "work.py:work", digest="d", packages=folder)
