"""Kill a comparison with a checkpoint again and again, and count what is lost.

    python benchmarks/robustness/kill_comparison.py --kills 200

A process runs ``compare_strategies(checkpoint=...)`` and is killed (SIGKILL) after a random time,
its workers too. After each kill every run that was on disk before must be there unchanged, and
every file whole. When all runs are done the comparison begins in a new folder, until so many kills
have hit. Every finished comparison must equal, to the last digit, one that was never killed.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
import sys
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from skal import ActiveLearner
from skal.model_selection import compare_strategies
from skal.strategies import EntropySampling, MarginSampling, RandomSampling
X, y = load_iris(return_X_y=True)
print("begins", flush=True)
results = compare_strategies(
    ActiveLearner(LogisticRegression(max_iter=500)),
    {"random": RandomSampling(), "margin": MarginSampling(), "entropy": EntropySampling()},
    X, y, n_instances=2, budget=60, n_repeats=8, random_state=0, checkpoint=sys.argv[1],
    n_jobs=int(sys.argv[2]),
)
print(results.drop(columns=["fit_time", "query_time"]).to_json(), flush=True)
"""


def start(folder, n_jobs):
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", SCRIPT, str(folder), str(n_jobs)], text=True,
        stdout=subprocess.PIPE, cwd=ROOT, start_new_session=True,
    )  # fmt: skip


def runs_in(folder):
    return {path.name: path.read_bytes() for path in folder.glob("run-*.json")}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--n-jobs", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(campaign(Path(folder), options, rng)))


def campaign(folder, options, rng):
    """Kill until there were enough kills; return the counts."""
    started = time.monotonic()
    expected = start(folder / "whole", options.n_jobs).communicate()[0].splitlines()[-1]
    usual = time.monotonic() - started
    counts = {"kills": 0, "finished": 0, "lost": 0, "changed": 0, "damaged": 0, "different": 0}
    checkpoint, kept = folder / "0", {}
    while counts["kills"] < options.kills:
        process = start(checkpoint, options.n_jobs)
        process.stdout.readline()  # imported: from here on it works
        try:
            # Long enough to get on, and anywhere between two writes.
            out, _ = process.communicate(timeout=float(rng.uniform(0, 0.15 * usual)))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            counts["kills"] += 1
        else:
            counts["finished"] += 1
            counts["different"] += out.splitlines()[-1] != expected
            checkpoint, kept = folder / str(counts["finished"]), {}
            continue
        found = runs_in(checkpoint)
        counts["lost"] += len(kept.keys() - found.keys())
        counts["changed"] += sum(found.get(name, text) != text for name, text in kept.items())
        counts["damaged"] += sum(not _is_whole(text) for text in found.values())
        kept = found
    return counts


def _is_whole(text):
    try:
        return len(json.loads(text)["records"]) == 26
    except ValueError:
        return False


if __name__ == "__main__":
    main()
