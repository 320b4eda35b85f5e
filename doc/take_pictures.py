"""Take the pictures of the labeller in the user guide: python doc/take_pictures.py.

Needs chromium and the extra skal[browser].
"""

import shutil
import sys
from pathlib import Path

import pandas as pd
from playwright.sync_api import sync_playwright
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from skal import ActiveLearner
from skal.labeling import LabelingSession, serve

FOLDER = Path(__file__).parent / "_static"
HOUSES = pd.DataFrame(
    {
        "address": ["12 Mill Lane", "3 Harbour Street", "48 Station Road", "7 Orchard Close"],
        "built": [1931, 1968, 2004, 1987],
        "area (m²)": [84.5, 61.0, 142.0, 97.5],
        "heating": ["gas", None, "heat pump", "oil"],
        "notes": [
            "Corner plot, new roof in 2019; the cellar is damp in spring.",
            "Second floor, no lift.",
            "End of terrace, large garden.",
            "Needs new windows.",
        ],
    }
)


def take(browser, name, session, *, scheme="light", size=(760, 700), answers="", **options):
    """Serve a session, give some answers, and keep a picture of the labeller."""
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]}, color_scheme=scheme, device_scale_factor=2
    )
    page = context.new_page()
    with serve(session, open_browser=False, **options) as served:
        page.goto(served.url)
        labeller = page.locator(".skal-labeler")
        for key in answers:
            labeller.locator(".skal-item *").first.wait_for()
            with page.expect_response("**/api"):
                page.keyboard.press(key)
        labeller.locator(".skal-item *").first.wait_for()
        page.wait_for_timeout(300)
        page.screenshot(path=FOLDER / name, full_page=True, clip=_around(page, labeller))
    context.close()


def _around(page, labeller):
    box, edge = labeller.bounding_box(), 12
    return {
        "x": max(box["x"] - edge, 0),
        "y": max(box["y"] - edge, 0),
        "width": min(box["width"] + 2 * edge, page.viewport_size["width"]),
        "height": box["height"] + 2 * edge,
    }


def main():
    """Take all pictures."""
    path = shutil.which("chromium") or sys.exit("needs chromium")
    learner = ActiveLearner(LogisticRegression())
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        for scheme in ("light", "dark"):
            session = LabelingSession(
                learner,
                HOUSES,
                classes=["buy", "rent out", "leave"],
                n_initial=4,
                audit=0,
                random_state=3,
            )
            take(
                browser,
                f"labeller_{scheme}.png",
                session,
                scheme=scheme,
                answers="1",
                guide="Would you buy it for 250,000?",
            )
        X = load_digits().data
        session = LabelingSession(learner, X, classes=list(range(10)), random_state=0)
        take(browser, "labeller_phone.png", session, size=(390, 760), answers="4", show="image")
        browser.close()


if __name__ == "__main__":
    main()
