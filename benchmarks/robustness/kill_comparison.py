"""Kill a comparison with a checkpoint again and again, and count what is lost.

    python benchmarks/robustness/kill_comparison.py --kills 200

A child process (a fork, which has everything imported) runs ``compare_strategies(checkpoint=...)``
and is killed (SIGKILL) after a random time. After each kill every run that was on disk before must
be there unchanged, and every file whole. When all runs are done the comparison begins in a new
folder, until so many kills have hit. Every finished comparison must equal, to the last digit, one
that was never killed.
"""

import argparse
import json
import os
import signal
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from skal import ActiveLearner
from skal.model_selection import compare_strategies
from skal.strategies import EntropySampling, MarginSampling, RandomSampling

TIMES = ["fit_time", "query_time"]


def compare(folder):
    X, y = load_iris(return_X_y=True)
    strategies = {
        "random": RandomSampling(),
        "margin": MarginSampling(),
        "entropy": EntropySampling(),
    }
    return compare_strategies(
        ActiveLearner(LogisticRegression(max_iter=500)),
        strategies,
        X,
        y,
        n_instances=2,
        budget=60,
        n_repeats=8,
        random_state=0,
        checkpoint=folder,
    )


def killed(folder, seconds):
    """Run a comparison in a child for so long; return whether it was killed."""
    child = os.fork()
    if child == 0:
        compare(folder)
        os._exit(0)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if os.waitpid(child, os.WNOHANG)[0]:
            return False
        time.sleep(0.001)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def runs_in(folder):
    return {path.name: path.read_bytes() for path in folder.glob("run-*.json")}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(campaign(Path(folder), options.kills, options.seed)))


def campaign(folder, n_kills, seed):
    """Kill until there were enough kills; return the counts."""
    rng = np.random.default_rng(seed)
    started = time.monotonic()
    expected = compare(folder / "whole").drop(columns=TIMES)
    usual = time.monotonic() - started
    counts = {"kills": 0, "finished": 0, "lost": 0, "changed": 0, "damaged": 0, "different": 0}
    checkpoint, kept = folder / "0", {}
    while counts["kills"] < n_kills:
        # Long enough to get on, and anywhere between two writes.
        if killed(checkpoint, rng.uniform(0, 0.15 * usual)):
            counts["kills"] += 1
        else:
            counts["finished"] += 1
            # Nothing is left to do: this reads what the killed ones have left.
            results = compare(checkpoint).drop(columns=TIMES)
            counts["different"] += not pd.DataFrame.equals(results, expected)
            checkpoint, kept = folder / str(counts["finished"]), {}
            continue
        found = runs_in(checkpoint)
        counts["lost"] += len(kept.keys() - found.keys())
        counts["changed"] += sum(found.get(name, text) != text for name, text in kept.items())
        counts["damaged"] += sum(not is_whole(text) for text in found.values())
        kept = found
    return counts


def is_whole(text):
    try:
        return len(json.loads(text)["records"]) == 26
    except ValueError:
        return False


if __name__ == "__main__":
    main()
