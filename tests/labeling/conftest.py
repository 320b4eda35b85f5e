"""Chromium for the tests that need one, and a watch on what it does."""

import shutil
from urllib.parse import urlparse

import pytest

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]


@pytest.fixture(scope="session")
def browser():
    """A headless Chromium; tests are skipped where playwright or the browser is missing."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs skal[browser]")
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("needs Debian's chromium (apt-get install chromium)")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def context(browser):
    """A fresh profile. No page of it may leave this machine, open a dialog or log an error."""
    context = browser.new_context(viewport={"width": 1000, "height": 800})
    context.set_default_timeout(20_000)
    seen = []
    context.on("request", lambda request: _note_strangers(seen, request.url))
    context.on("dialog", lambda dialog: (seen.append(f"dialog {dialog.message}"), dialog.dismiss()))
    context.on("weberror", lambda error: seen.append(f"error {error.error}"))
    context.on(
        "console",
        lambda message: message.type == "error" and seen.append(f"console {message.text}"),
    )
    context.seen = seen
    yield context
    context.close()
    assert seen == []


@pytest.fixture
def page(context, request, tmp_path):
    """A page; where a test fails, what it looked like is kept in the test's folder."""
    page = context.new_page()
    yield page
    report = getattr(request.node, "report", None)
    if report is not None and report.failed and not page.is_closed():
        page.screenshot(path=tmp_path / "failed.png", full_page=True)
        print(f"screenshot: {tmp_path / 'failed.png'}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    report = yield
    if report.when == "call":
        item.report = report
    return report


def _note_strangers(seen, url):
    parts = urlparse(url)
    if parts.scheme in ("data", "blob", "about"):
        return
    if parts.hostname not in ("127.0.0.1", "localhost"):
        seen.append(f"request {url}")
