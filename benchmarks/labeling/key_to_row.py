"""How long an annotator waits: from a key on the page to the next row, in a real browser.

    python benchmarks/labeling/key_to_row.py

Needs chromium and the extra skal[browser]. The clock is that of the page: it starts at the key and
stops when the next row stands in the document. In between, the answer goes to Python, is
committed to the disk, and the next row comes back. A net trains behind the page half of the time.
"""

import argparse
import os
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright
from sklearn.datasets import load_digits

from skal import ActiveLearner
from skal.labeling import LabelingSession, serve
from skal.neural_network import NeuralNetClassifier
from skal.strategies import BADGE

# Presses a key and measures, in the page, until another picture is there.
PRESS = """(key) => new Promise((done) => {
  const root = document.querySelector(".skal-labeler");
  const item = root.querySelector(".skal-item");
  const started = performance.now();
  const watch = new MutationObserver(() => {
    if (!item.querySelector("img")) return;
    watch.disconnect();
    done(performance.now() - started);
  });
  watch.observe(item, { childList: true });
  root.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
})"""


def measure(n_keys, n_instances, max_epochs):
    """Return the milliseconds of each key, and how many trainings ended meanwhile."""
    X, y = load_digits(return_X_y=True)
    net = NeuralNetClassifier(classes=range(10), max_epochs=max_epochs)
    learner = ActiveLearner(net, BADGE(), random_state=0)
    path = shutil.which("chromium") or sys.exit("needs chromium")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        session = LabelingSession(
            learner,
            X / 16,
            store=Path(folder) / "digits.skal",
            classes=list(range(10)),
            n_initial=n_instances,
            n_instances=n_instances,
            background=True,
            random_state=0,
        )
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        page = browser.new_page()
        with session, serve(session, show="image", open_browser=False) as served:
            page.goto(served.url)
            spent = []
            for _ in range(n_keys):
                page.locator(".skal-item img").wait_for(timeout=120_000)
                row = session.next().position
                spent.append(page.evaluate(PRESS, str(y[row])))
            trainings = len(session.store.log.records("outcome"))
        browser.close()
    return spent, trainings


def main():
    """Print the median and the 95th percentile."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--keys", type=int, default=100)
    parser.add_argument("--n-instances", type=int, default=25)
    parser.add_argument("--max-epochs", type=int, default=200)
    options = parser.parse_args()
    spent, trainings = measure(options.keys, options.n_instances, options.max_epochs)
    median, high = statistics.median(spent), statistics.quantiles(spent, n=20)[-1]
    print(
        f"key to next row: median {median:.0f} ms, 95 %: {high:.0f} ms ({len(spent)} keys, "
        f"{trainings} trainings behind them, load {os.getloadavg()[0]:.1f})"
    )


if __name__ == "__main__":
    main()
