"""What is built and installed elsewhere holds all that the checkout holds."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BUILD = "import sys; from setuptools import build_meta as b; b.build_{}(sys.argv[1])"
# Run outside the checkout, with nothing but the wheel on the path: the page is served from it.
USE = """
import sys, urllib.request
from skal.labeling import _server
from skal.labeling._widget import Labeler

assert _server.__file__.startswith(sys.argv[1]), _server.__file__
assert "export" in Labeler._esm and ".skal-labeler" in Labeler._css
page = _server.LabelingPage(None)
for name in ("", "page.js", "labeler.js", "labeler.css"):
    assert len(urllib.request.urlopen(page.url + name, timeout=30).read()) > 300
page.close()
"""


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """A copy of what a build reads: building leaves folders behind."""
    folder = tmp_path_factory.mktemp("sources")
    for name in ("setup.cfg", "pyproject.toml", "README.rst", "LICENSE", "MANIFEST.in"):
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "skal", folder / "skal", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def run(code, *arguments, cwd, **environment):
    command = [sys.executable, "-W", "ignore", "-c", code, *map(str, arguments)]
    environment = {**os.environ, **environment}
    done = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_wheel_of_the_sdist_has_the_front_end(sources, tmp_path):
    run(BUILD.format("sdist"), tmp_path, cwd=sources)
    with tarfile.open(next(tmp_path.glob("*.tar.gz"))) as archive:
        archive.extractall(tmp_path / "sdist", filter="data")
    run(BUILD.format("wheel"), tmp_path, cwd=next((tmp_path / "sdist").iterdir()))
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as archive:
        names = set(archive.namelist())
        archive.extractall(tmp_path / "installed")
    here = {
        path.relative_to(sources).as_posix()
        for path in (sources / "skal").rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert here - names == set()
    assert not [name for name in names if name.startswith(("tests", "doc", "benchmarks"))]
    installed = str(tmp_path / "installed")
    run(USE, installed, cwd=tmp_path, PYTHONPATH=installed)
