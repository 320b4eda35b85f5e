"""What the speed benchmarks share: one process per measurement, CPU seconds, rise of the peak.

Imports nothing but the standard library and NumPy, since peers run it in environments of their own.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def measure(python, script, arguments):
    """Run one measurement in a process of its own, on one thread, and return what it printed."""
    environment = {**os.environ, **dict.fromkeys(_THREADS, "1")}
    root = str(Path(__file__).resolve().parents[2])
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    command = [str(python), str(script), "--child", *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def timed(call, summary=None):
    """Call, and print CPU seconds, wall seconds, rise of the peak in MiB and the positions.

    The caller has loaded the inputs and warmed up the libraries: neither is counted, nor is
    `summary`, which makes of what `call` returned what is printed in place of positions.
    """
    before = _reset_peak()
    cpu, wall = time.process_time(), time.perf_counter()
    positions = call()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    rise = (_peak() - before) / 1024
    positions = np.asarray(positions if summary is None else summary(positions)).tolist()
    result = {"cpu_s": cpu, "wall_s": wall, "peak_mib": rise, "positions": positions}
    print(json.dumps(result))


def _reset_peak():
    """Make the peak of the resident memory what it is now, where Linux lets us; KiB."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pass  # the peak so far is the base then: a rise below it is not seen
    return _peak()


def _peak():
    """Peak of the resident memory in KiB."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1])
    except OSError:
        pass
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def interleaved(contestants, script, arguments, repeats):
    """Measure every contestant `repeats` times, in turns.

    Parameters
    ----------
    contestants : dict of str to path
        Name of the contestant, and the Python that runs it.

    Returns
    -------
    results : dict of str to dict
        Medians of cpu_s, wall_s and peak_mib, their spread of cpu_s, and the positions.
    """
    runs = {name: [] for name in contestants}
    for repeat in range(repeats):
        for name, python in contestants.items():
            run = measure(python, script, [name, *arguments])
            runs[name].append(run)
            print(
                f"  run {repeat + 1}/{repeats} {name}: {run['cpu_s']:.3f} s CPU, "
                f"+{run['peak_mib']:.0f} MiB",
                file=sys.stderr,
                flush=True,
            )
    results = {}
    for name, found in runs.items():
        results[name] = {
            key: statistics.median(run[key] for run in found)
            for key in ("cpu_s", "wall_s", "peak_mib")
        }
        cpu = [run["cpu_s"] for run in found]
        results[name]["range_s"] = min(cpu), max(cpu)
        results[name]["positions"] = found[0]["positions"]
    return results


def on_device(name):
    """Split "skal on cuda" into the contestant and the device, which is "cpu" if none is named."""
    contestant, _, device = name.partition(" on ")
    return contestant, device or "cpu"


def table(results, base):
    """Lines of a table; ratios are CPU seconds over those of `base`."""
    head = f"{'contestant':<24}{'CPU s':>10}{'(min - max)':>20}{'wall s':>10}{'peak MiB':>10}"
    lines = [head + f"{'ratio':>9}", "-" * (len(head) + 9)]
    for name, row in results.items():
        low, high = row["range_s"]
        lines.append(
            f"{name:<24}{row['cpu_s']:>10.3f}{f'({low:.3f} - {high:.3f})':>20}"
            f"{row['wall_s']:>10.3f}{row['peak_mib']:>10.1f}"
            f"{row['cpu_s'] / results[base]['cpu_s']:>9.1f}"
        )
    return lines
