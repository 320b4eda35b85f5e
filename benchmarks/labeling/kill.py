"""Is a label that was shown as saved still there, whatever is killed when?

Processes write to a store and say on a pipe what they were told is saved; they are killed with
SIGKILL at a random moment, a quarter of them while they start and make the file. Then the file
must pass every check, hold each answer that was acknowledged with its value, and no part of a
batch or of answers given together. The file is used on, so that what one kill leaves behind is
found by the next process.

    python benchmarks/labeling/kill.py --kills 1000

The exit status is 1 if anything was lost or damaged.
"""

import argparse
import json
import os
import random
import select
import signal
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from skal.labeling import LabelStore
from skal.labeling._codec import decode, encode
from skal.labeling._log import new_batch, new_event
from skal.labeling._schema import Ask

# Kills per file, seconds until a kill, and the share of kills in the first moments.
PER_FILE, AT_MOST, EARLY, EARLY_AT_MOST = 8, 0.4, 0.25, 0.08


def write_until_killed(path, out, seed):
    """Store answers one by one, several together, and batches; acknowledge each commit."""
    rng = random.Random(seed)
    store = LabelStore(path, timeout=60.0)
    while True:
        size = rng.choice([1, 1, 1, 1, 5])
        if rng.random() < 0.1:
            batch = new_batch(0, f"size {size}", 0, 0, None)
            asks = [Ask(None, i, str(i), "query", b"d" * 16, None) for i in range(size)]
            last = max((batch.id for batch in store.log.records("batch")), default=0)
            if store.log.add_batch(batch, asks, last):
                acknowledge(out, {"batch": batch.uid, "size": size})
        else:
            group = "".join(rng.choices("0123456789abcdef", k=12))
            values = [rng.random() for _ in range(size)]
            events = [
                new_event("label", str(i), f"{group} {size}", value=encode(value))
                for i, value in enumerate(values)
            ]
            store.log.append_events(events, "The labels")
            acknowledge(out, {e.uid: v for e, v in zip(events, values, strict=True)})
        time.sleep(0.005)


def acknowledge(out, what):
    os.write(out, json.dumps(what).encode() + b"\n")


def kill_writers(path, n_writers, early, delay, seed):
    """Start writers, kill them after `delay` seconds; return what they acknowledged.

    Unless `early`, the seconds count from the first acknowledgement on.
    """
    read, write = os.pipe()
    children = []
    for number in range(n_writers):
        child = os.fork()
        if child == 0:
            os.close(read)
            try:
                write_until_killed(path, write, f"{seed} {number}")
            except BaseException as error:
                acknowledge(write, {"error": f"{type(error).__name__}: {error}"})
            os._exit(1)
        children.append(child)
    os.close(write)
    if not early:
        select.select([read], [], [], 60)
    time.sleep(delay)
    for child in children:
        os.kill(child, signal.SIGKILL)
    for child in children:
        os.waitpid(child, 0)
    with open(read, "rb") as pipe:
        # A line that was cut off was not acknowledged.
        return [json.loads(line) for line in pipe.read().split(b"\n")[:-1]]


def check(path, acknowledged):
    """Return what is wrong with the file, a list of sentences."""
    if not os.path.exists(path):
        return ["no file, but acknowledged answers"] if acknowledged else []
    wrong = [said["error"] for said in acknowledged if "error" in said]
    with sqlite3.connect(path) as connection:
        found = connection.execute("PRAGMA integrity_check").fetchone()[0]
    connection.close()
    wrong += [] if found == "ok" else [f"integrity_check: {found}"]
    with LabelStore(path) as store:
        wrong += store.verify()
        events = {event.uid: event for event in store.log.records("event")}
        batches = {batch.uid: batch for batch in store.log.records("batch")}
        sizes = Counter(ask.batch for ask in store.log.records("ask"))
    for said in acknowledged:
        if "batch" in said:
            wrong += [] if said["batch"] in batches else ["an acknowledged batch is lost"]
        elif "error" not in said:
            for uid, value in said.items():
                kept = uid in events and decode(events[uid].value) == value
                wrong += [] if kept else [f"acknowledged answer {uid} is lost or altered"]
    for batch in batches.values():
        if sizes[batch.id] != int(batch.strategy.split()[1]):
            wrong.append(f"batch {batch.id} is there in part")
    groups = Counter(event.annotator for event in events.values())
    wrong += [
        f"answers given together are there in part: {g}"
        for g in groups
        if groups[g] != int(g.split()[1])
    ]
    return wrong


def run(n_kills, seed, folder, at_most=AT_MOST):
    """Kill that often; return the number of kills, acknowledged commits and answers, and faults."""
    rng = random.Random(seed)
    n_commits, n_answers, wrong, done = 0, 0, [], 0
    for number in range(n_kills):
        if number % PER_FILE == 0:
            path, acknowledged = os.path.join(folder, f"{number}.skal"), []
        early = rng.random() < EARLY
        delay = rng.uniform(0, EARLY_AT_MOST if early else at_most)
        said = kill_writers(path, 1 + (number % 3 == 2), early, delay, f"{seed} {number}")
        acknowledged += said
        n_commits += len(said)
        n_answers += sum(len(one) for one in said if "batch" not in one and "error" not in one)
        done += 1
        faults = check(path, acknowledged)
        wrong += [f"kill {number} ({path}): {fault}" for fault in faults]
    return done, n_commits, n_answers, wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="on the disk to be tried (default: temporary)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        started = time.perf_counter()
        done, n_commits, n_answers, wrong = run(options.kills, options.seed, folder)
    print(
        f"SQLite {sqlite3.sqlite_version}, {time.perf_counter() - started:.0f} s: {done} kills, "
        f"{n_commits} acknowledged commits, {n_answers} acknowledged answers"
    )
    print(f"{len(wrong)} lost or damaged", *wrong[:20], sep="\n  ")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
