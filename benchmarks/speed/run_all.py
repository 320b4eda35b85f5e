r"""All speed benchmarks, one after the other, and one table of all ratios.

    python benchmarks/speed/run_all.py \
        --peer-python scikit-activeml=../peers/scikit-activeml/bin/python \
        --peer-python bmdal-reg=../peers/bmdal-reg/bin/python
    python benchmarks/speed/run_all.py --quick --only badge
    python benchmarks/speed/run_all.py --table      # from the results that are there

Runs every bench_*.py of this folder and writes results/<name>.txt, then results/summary.csv from
all of these files. A peer's Python goes to the scripts whose --help names the peer. Where torch
finds a CUDA device, scripts that take --device measure skal there, too (untested on CUDA).

targets.csv holds the ratios to reach. With --quick, inputs are smaller, so that nothing is asked,
and results go to results/quick.
"""

import argparse
import csv
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
COLUMNS = [
    "benchmark",
    "input",
    "against",
    "ratio",
    "asked",
    "skal CPU s",
    "skal MiB",
    "other MiB",
]
NUMBER = r"(-?[\d.]+)"
ROW = re.compile(rf"^(\S.*?)\s+{NUMBER}\s+\(.*\)\s+{NUMBER}\s+{NUMBER}\s+{NUMBER}$")


def run(script, options):
    """Run one benchmark; its own output goes to the screen."""
    help_text = subprocess.run(
        [sys.executable, script, "--help"], capture_output=True, text=True, check=True
    ).stdout
    output = options.results / f"{name_of(script)}.txt"
    command = [sys.executable, str(script), "--repeats", str(options.repeats)]
    command += ["--output", str(output)]
    if options.quick:
        command.append("--quick")
    wanted = re.search(r"Python with\s+(\S+)", help_text)
    if wanted and wanted[1] in options.peer_python:
        command += ["--peer-python", options.peer_python[wanted[1]]]
    if options.device and "--device" in help_text:
        command += ["--device", options.device]
    print(" ".join(command), flush=True)
    return subprocess.run(command, check=False).returncode == 0


def name_of(script):
    return script.stem.removeprefix("bench_")


def measurements(path):
    """What a file of results holds: lists of (contestant, CPU s, wall s, MiB, ratio), by input."""
    found, heading, in_table = {}, None, False
    for line in path.read_text().splitlines():
        row = ROW.match(line)
        if line.startswith("contestant "):
            in_table = True
            found[heading] = []
        elif row and in_table:
            found[heading].append((row[1], *map(float, row.groups()[1:])))
        elif not line.startswith("---"):
            heading, in_table = line.strip(), False
    return found


def lines_of(name, path, asked):
    """Lines of the summary for one benchmark; the first contestant is skal."""
    lines = []
    for heading, rows in measurements(path).items():
        (_, cpu, wall, peak, _), *others = rows
        for other, _, other_wall, other_peak, ratio in others or [("",) + (None,) * 4]:
            line = {"benchmark": name, "input": heading, "against": other}
            line |= {"skal CPU s": f"{cpu:.3f}", "skal MiB": f"{peak:.0f}"}
            if other:
                line |= {"ratio": f"{ratio:.1f}", "other MiB": f"{other_peak:.0f}"}
                line["asked"] = asked.get((name, heading, other), "")
            if other.startswith("skal on "):
                line |= {"ratio": f"{other_wall / wall:.2f} (wall)"}
            lines.append(line)
    return lines


def summary(results, quick):
    """Write the table of everything that the folder holds."""
    with (HERE / "targets.csv").open(newline="") as file:
        asked = {
            (line["benchmark"], line["input"], line["against"]): line["at least"]
            for line in csv.DictReader(file)
            if not quick
        }
    lines = []
    for script in sorted(HERE.glob("bench_*.py")):
        path = results / f"{name_of(script)}.txt"
        if path.exists():
            lines += lines_of(name_of(script), path, asked)
        elif not quick:
            print(f"No results of {script.name} in {results}.", file=sys.stderr)
    with (results / "summary.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
    reached = {key for key in asked if any(key == _key(line) for line in lines)}
    for line in lines:
        marks = f"asked {line['asked']}" if line.get("asked") else ""
        print(
            f"{line['benchmark']:<18}{line['input'][:64]:<66}{line['against']:<24}"
            f"{line.get('ratio', ''):>12}  {marks}"
        )
    for benchmark, heading, against in sorted(set(asked) - reached):
        print(f"Not measured: {benchmark}, {heading}, {against}")


def _key(line):
    return line["benchmark"], line["input"], line["against"]


def cuda_device():
    """The name of the CUDA device, or None."""
    import torch

    return "cuda" if torch.cuda.is_available() else None


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--peer-python", action="append", default=[], metavar="PEER=PATH", help="may be repeated"
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="small inputs")
    parser.add_argument("--only", action="append", help="this benchmark only; may be repeated")
    parser.add_argument("--device", default=cuda_device(), help="cuda where there is one")
    parser.add_argument("--table", action="store_true", help="run nothing")
    options = parser.parse_args()
    if not all("=" in peer for peer in options.peer_python):
        parser.error("--peer-python takes PEER=PATH, for instance scikit-activeml=/path/to/python")
    options.peer_python = dict(peer.split("=", 1) for peer in options.peer_python)
    options.results = HERE / "results" / ("quick" if options.quick else "")
    options.results.mkdir(exist_ok=True)
    scripts = sorted(HERE.glob("bench_*.py"))
    unknown = set(options.only or []) - set(map(name_of, scripts))
    if unknown:
        parser.error(f"--only takes {', '.join(map(name_of, scripts))}. Got {sorted(unknown)}.")
    failed = []
    if not options.table:
        chosen = [s for s in scripts if not options.only or name_of(s) in options.only]
        failed = [script.name for script in chosen if not run(script, options)]
    summary(options.results, options.quick)
    if failed:
        raise SystemExit(f"These failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
