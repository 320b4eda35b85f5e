"""The widget in JupyterLab, driven by a real browser."""

import json
import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from skal.labeling import LabelStore

pytestmark = pytest.mark.browser
ROOT = Path(__file__).resolve().parents[2]
# The notebook is run by the lab's own command: clicks and Ctrl+Enter get lost before the kernel
# is connected.
RUN_ALL = """async () => {
  const w = jupyterapp.shell.currentWidget;
  await w.context.ready;
  await w.sessionContext.ready;
  await w.sessionContext.session.kernel.info;
  await jupyterapp.commands.execute("notebook:run-all-cells");
}"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A JupyterLab server with nothing of the user's: its address, token and folder."""
    pytest.importorskip("jupyterlab", reason="needs skal[browser]")
    pytest.importorskip("anywidget", reason="needs skal[notebook]")
    folder = tmp_path_factory.mktemp("lab")
    names = [
        "JUPYTER_CONFIG_DIR",
        "JUPYTER_DATA_DIR",
        "JUPYTER_RUNTIME_DIR",
        "IPYTHONDIR",
        "JUPYTERLAB_SETTINGS_DIR",
        "JUPYTERLAB_WORKSPACES_DIR",
    ]
    own = {name: str(folder / name.lower()) for name in names}
    own |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    token = secrets.token_hex(16)
    command = [
        sys.executable,
        "-m",
        "jupyterlab",
        "--no-browser",
        "--allow-root",
        f"--port={port}",
        "--ServerApp.port_retries=0",
        f"--IdentityProvider.token={token}",
        "--LabApp.expose_app_in_browser=True",
        f"--ServerApp.root_dir={folder}",
    ]
    log = (folder / "log").open("wb")
    server = subprocess.Popen(command, env={**os.environ, **own}, stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            try:
                ask(address, token, "api/status")
                break
            except OSError:
                assert server.poll() is None, (folder / "log").read_text()
                time.sleep(0.2)
        yield address, token, folder
    finally:
        server.terminate()
        server.wait(60)
        log.close()


def ask(address, token, path, method="GET"):
    headers = {"Authorization": f"token {token}"}
    request = urllib.request.Request(f"{address}/{path}", method=method, headers=headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return answer.read()


@pytest.fixture
def open_notebook(lab, page):
    """Write a notebook of these cells, open it, and run it: its first output area."""
    address, token, folder = lab
    page.set_default_timeout(90_000)

    def open_notebook(name, cells):
        content = {
            "cells": [
                {
                    "cell_type": "code",
                    "execution_count": None,
                    "id": f"c{place}",
                    "metadata": {},
                    "outputs": [],
                    "source": source,
                }
                for place, source in enumerate(cells)
            ],
            "metadata": {
                "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}
            },
            "nbformat": 4,
            "nbformat_minor": 5,
        }
        (folder / f"{name}.ipynb").write_text(json.dumps(content))
        page.goto(f"{address}/doc/tree/{name}.ipynb?token={token}&reset")
        page.wait_for_function("window.jupyterapp?.shell?.currentWidget?.sessionContext")
        page.evaluate(RUN_ALL)
        return page.locator(".skal-labeler").first

    yield open_notebook
    for session in json.loads(ask(address, token, "api/sessions")):
        ask(address, token, f"api/sessions/{session['id']}", "DELETE")


def patient():
    """Expectations that wait for a loaded machine, too."""
    from playwright.sync_api import expect

    expect.set_options(timeout=60_000)
    return expect


def sources(page):
    return page.evaluate(
        """() => jupyterapp.shell.currentWidget.content.model.sharedModel.cells.map(
            (cell) => [cell.cell_type, cell.getSource()])"""
    )


BEGIN = """
from skal.labeling import Labeler
from tests.labeling._watched import watched
session = watched({texts!r}, ["cat", "dog"], 4, store={store!r}, background=True)
Labeler(session, guide="<i>Which?</i>")
"""


def test_label_in_jupyterlab(open_notebook, page, context, tmp_path):
    """Keys label and do not reach the notebook; hostile rows do nothing; two views agree."""
    expect = patient()
    texts = ["<img src=x onerror=alert(1)>", "<script>alert(1)</script>", "c", "d", "e", "f"]
    cells = [BEGIN.format(texts=texts, store=str(tmp_path / "a.skal")), "_"]
    root = open_notebook("label", cells)
    text = root.locator(".skal-text")
    expect(text).to_have_text(texts[0])
    before = sources(page)
    root.get_by_role("status").click()
    page.keyboard.press("2")
    expect(text).to_have_text(texts[1])
    expect(root.get_by_role("status")).to_have_text("Saved: dog.")
    for key in "ddamyxbh":  # keys of the notebook: delete, insert, Markdown, copy, cut
        page.keyboard.press(key)
    page.keyboard.press("s")
    expect(text).to_have_text("c")
    page.keyboard.press("u")
    expect(text).to_have_text(texts[1])
    root.get_by_role("button", name="cat").click()
    expect(text).to_have_text("c")
    expect(page.locator(".skal-labeler").nth(1).locator(".skal-text")).to_have_text("c")
    assert sources(page) == before
    # After half a batch a model trains behind the widget, which pushes the next rows.
    page.keyboard.press("1")
    expect(text).to_have_text("d")
    page.keyboard.press("2")
    expect(text).to_have_text("e")


def test_a_restarted_kernel_loses_nothing(open_notebook, page, context, tmp_path):
    """The widget of a dead kernel says so; running the cell again goes on."""
    expect = patient()
    cells = [BEGIN.format(texts=["a", "b", "c", "d"], store=str(tmp_path / "b.skal"))]
    root = open_notebook("restart", cells)
    text = root.locator(".skal-text")
    expect(text).to_have_text("a")
    root.get_by_role("button", name="dog").click()
    expect(text).to_have_text("b")
    page.evaluate(
        """async () => {
          const w = jupyterapp.shell.currentWidget;
          await w.sessionContext.session.kernel.restart();
          await w.sessionContext.session.kernel.info;
        }"""
    )
    root.get_by_role("button", name="dog").click()
    expect(root.get_by_role("status")).to_contain_text("the last answer may not be saved")
    page.evaluate(RUN_ALL)
    root = page.locator(".skal-labeler").first
    expect(root.get_by_role("status")).to_have_text("")
    expect(root.locator(".skal-text")).to_have_text("b")
    root.get_by_role("button", name="cat").click()
    expect(root.locator(".skal-text")).to_have_text("c")
    with LabelStore(tmp_path / "b.skal", read_only=True) as store:
        assert store.labels()["label"].tolist() == ["dog", "cat"]
    # What the lab itself says about the message to the dead kernel.
    context.seen[:] = [line for line in context.seen if line != "error Cannot send"]
