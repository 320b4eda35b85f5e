"""The main job from the command line: query strategies compared on a data set."""

import argparse
import os
import shlex
import sys
import tempfile
import warnings
from pathlib import Path

from skal._cli_models import (
    BASELINE,
    DEFAULT_STRATEGIES,
    ESTIMATOR_TYPES,
    MODELS,
    STRATEGIES,
    TRAINING,
)
from skal._version import __version__

# `--help` and `--version` answer at once: what computes is imported where it is used.
BUNDLED = ("diabetes", "breast_cancer", "digits", "iris", "wine")
# The score of the table comes first; True where greater is better.
SCORES = {
    "regression": {
        "mean_absolute_error": ("neg_mean_absolute_error", False),
        "root_mean_squared_error": ("neg_root_mean_squared_error", False),
        "r2": ("r2", True),
    },
    "classification": {
        "accuracy": ("accuracy", True),
        "balanced_accuracy": ("balanced_accuracy", True),
    },
}
OUTPUT = "skal_results"
RESULTS, RUNS = ("learning_curves.png", "results.csv", "summary.csv"), "runs"
LABELING = ("query", "label", "labels")

__all__ = ["ESTIMATOR_TYPES", "STRATEGIES", "TRAINING", "InputError", "main"]


class InputError(Exception):
    """What the user gave will not do; the message says why, in one line."""


class Interrupted(Exception):
    """The comparison was interrupted; the message says what is kept."""


def main(argv=None):
    """Run a job and return the exit status: 0, 2 for wrong input, 130 if interrupted."""
    argv = sys.argv[1:] if argv is None else list(argv)
    try:
        if argv and argv[0] in LABELING:
            from skal._cli_labeling import main as run_labeling

            return run_labeling(argv)
        _run(_parser().parse_args(argv))
    except InputError as error:
        print(f"skal: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except Interrupted as error:
        print(f"skal: {error}", file=sys.stderr)
        return 130
    except KeyboardInterrupt:
        print("skal: interrupted, nothing was written.", file=sys.stderr)
        return 130
    return 0


# ---------------------------------------------------------------------------------- options


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        raise InputError(f"{message} (see {self.prog} --help)")


def _parser():
    parser = _Parser(
        prog="python -m skal",
        description="Compare query strategies on a data set: how good is a model that may choose "
        "the rows to be labelled, next to one that gets random rows? Prints a table and advice, "
        "and writes learning curves and results.",
        epilog="Labelling rows of your own: python -m skal query | label | labels (each with "
        "--help).",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        allow_abbrev=False,
    )
    _add_data_options(parser.add_argument)
    _add_comparison_options(parser.add_argument)
    parser.add_argument("--version", action="version", version=f"skal {__version__}")
    return parser


def _add_data_options(add):
    add(
        "--data",
        default="diabetes",
        metavar="NAME|FILE",
        help="'ames' (downloaded once), one of scikit-learn's "
        f"{', '.join(BUNDLED)}, or a CSV or parquet file with --target",
    )
    add("--target", metavar="COLUMN", help="column of the file to predict")
    add(
        "--task",
        choices=["classification", "regression"],
        help="what the target is (default: found out, and printed)",
    )
    add("--sep", metavar="CHAR", help="separator of the CSV file (default: found out)")
    add("--decimal", choices=[".", ","], help="its decimal mark (default: found out)")
    add("--encoding", metavar="NAME", help="its encoding (default: found out)")


def _add_comparison_options(add):
    add("--model", choices=MODELS, default="net", help="what learns")
    add(
        "--strategies",
        metavar="LIST",
        help=f"names separated by commas, from {', '.join(STRATEGIES)}, auto, or of your own as "
        f"package.module:Class; {BASELINE} always runs, as the baseline (default: "
        f"{DEFAULT_STRATEGIES['regression']} for regression, "
        f"{DEFAULT_STRATEGIES['classification']} for classification)",
    )
    add(
        "--n-initial",
        type=_at_least(1),
        default=20,
        metavar="N",
        help="random rows labelled before the first query",
    )
    add("--n-instances", type=_at_least(1), default=20, metavar="N", help="rows per query")
    add(
        "--budget",
        type=_at_least(1),
        default=100,
        metavar="N",
        help="labels in all, the initial ones included",
    )
    add(
        "--repeats",
        type=_at_least(1),
        default=10,
        metavar="N",
        help="random splits, a quarter of the rows held out for scoring in each",
    )
    add(
        "--max-epochs",
        type=_at_least(1),
        default=60,
        metavar="N",
        help="epochs of every training of a net",
    )
    add(
        "--n-jobs",
        type=_n_jobs,
        default=None,
        metavar="N",
        help="processes; does not change the results (default: one per CPU core, one on a GPU)",
    )
    add("--device", default="cpu", help="where nets are trained: cpu, cuda, cuda:1, ...")
    add(
        "--seed",
        type=_at_least(0),
        default=0,
        metavar="N",
        help="fixes splits, first labels, nets and queries",
    )
    add(
        "--output",
        type=Path,
        metavar="FOLDER",
        help=f"where {', '.join(RESULTS)} are written, and finished runs are kept (default: "
        f"{OUTPUT}, or {OUTPUT}-2, ... where that is taken)",
    )
    add(
        "--resume",
        action="store_true",
        help="go on from the runs that are finished in the output folder",
    )
    add("--overwrite", action="store_true", help="replace results that are in the output folder")


def _at_least(low):
    def integer(text):
        value = int(text)
        if not low <= value < 2**32:
            raise argparse.ArgumentTypeError(f"must be at least {low}. Got {value} instead.")
        return value

    integer.__name__ = "int"
    return integer


def _n_jobs(text):
    value = int(text)
    if value == 0:
        raise argparse.ArgumentTypeError("must not be 0: -1 is every core, 1 is no parallelism.")
    return value


_n_jobs.__name__ = "int"


def _check_budget(options, n_samples):
    from math import ceil

    from skal.model_selection._runs import TEST_SIZE

    n_train = n_samples - ceil(TEST_SIZE * n_samples)
    if options.budget > n_train:
        raise InputError(
            f"--budget must be at most {n_train}, the number of rows that are not held out for "
            f"scoring (of {n_samples}). Got {options.budget} instead."
        )
    if options.budget < options.n_initial:
        raise InputError(
            f"--budget is the number of labels in all and must be at least --n-initial, "
            f"{options.n_initial}. Got {options.budget} instead."
        )


def _load(options):
    from skal.datasets._loading import load_table

    try:
        with warnings.catch_warnings():
            # Every retry of a download warns; the error at the end says it all.
            warnings.filterwarnings("ignore", message="A network error occurred")
            return load_table(
                options.data,
                options.target,
                task=options.task,
                separator=options.sep,
                decimal=options.decimal,
                encoding=options.encoding,
            )
    except ConnectionError as error:
        raise InputError(
            f"could not download the Ames Housing data from OpenML ({error.__cause__}). With a "
            "local copy, use --data house_prices.csv --target SalePrice."
        ) from error
    except (OSError, ValueError) as error:
        raise InputError(error) from error


def _check_device(options):
    from skal.neural_network._device import check_device

    if options.model != "net":
        if options.device != "cpu":
            raise InputError(f"--device is for nets. Got --model {options.model} with it.")
        return
    try:
        check_device(options.device, "NeuralNetRegressor")
    except ValueError as error:
        raise InputError(f"--device: {error}") from error


# ---------------------------------------------------------------------------------- the folder


def _make_output(options):
    """Return the folder to write into, made; never one with results, unless that was asked for."""
    folder = options.output or Path(OUTPUT)
    if not options.resume and not options.overwrite:
        if options.output is None:
            folder = _next_free(folder)
        elif taken := _taken(folder):
            raise InputError(
                f"--output {str(folder)!r} already holds {taken}. Take another folder, or add "
                "--resume to go on from its runs, or --overwrite."
            )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise InputError(
            f"--output {str(folder)!r} is no folder that can be written to: {error}."
        ) from error
    if options.overwrite and not options.resume:
        for path in [*(folder / RUNS).glob("run-*.json"), *(folder / RUNS).glob("comparison.json")]:
            path.unlink()
    return folder


def _taken(folder):
    return next((name for name in (*RESULTS, RUNS) if (folder / name).exists()), None)


def _next_free(folder):
    count, candidate = 1, folder
    while _taken(candidate):
        count += 1
        candidate = folder.with_name(f"{folder.name}-{count}")
    return candidate


def _write(folder, results, summary, drawing):
    """Write each file whole, or not at all."""
    writers = {
        "learning_curves.png": lambda path: drawing.savefig(path, dpi=150, format="png"),
        "results.csv": lambda path: results.to_csv(path, index=False),
        "summary.csv": summary.to_csv,
    }
    for name, write in writers.items():
        handle, part = tempfile.mkstemp(dir=folder, prefix=name, suffix=".part")
        os.close(handle)
        try:
            write(part)
            os.replace(part, folder / name)
        except BaseException:
            Path(part).unlink(missing_ok=True)
            raise
    return [folder / name for name in writers]


# ---------------------------------------------------------------------------------- the job


def _run(options):
    table = _load(options)
    from skal import _cli_report as words
    from skal._cli_models import choose_strategies, make_model, model_source

    try:
        strategies = choose_strategies(options.strategies, table.task, options.model)
    except ValueError as error:
        raise InputError(error) from error
    _check_budget(options, len(table.X))
    _check_device(options)
    folder = _make_output(options)

    log_target = table.task == "regression" and _log_helps(table.y)
    source = model_source(
        options.model,
        table.task,
        max_epochs=options.max_epochs,
        device=options.device,
        log_target=log_target,
    )
    print(words.introduction(options, table, source, strategies), flush=True)
    results = _compare(options, table, make_model(source, table.y), strategies, folder / RUNS)

    score, (_, greater_is_better) = next(iter(SCORES[table.task].items()))
    n_missing = len(strategies) * options.repeats - len(_runs(results))
    if n_missing:
        results = _whole_repeats(results, len(strategies))
    if len(results):
        summary = _summarize(results, score, greater_is_better)
        print(words.report(summary, table, score, greater_is_better), flush=True)
    if n_missing:
        raise Interrupted(
            f"interrupted, with {n_missing} runs still to do. The finished ones are kept: "
            f"{_command(options, strategies, folder, '--resume')}"
        )
    try:
        paths = _write(folder, results, summary, words.figure(results, table, score))
    except OSError as error:
        raise InputError(
            f"could not write the results into {str(folder)!r} ({error}). The table above is "
            "complete; --resume writes them without a new run, as far as runs could be kept."
        ) from error
    print(f"\nWritten: {', '.join(str(path) for path in paths)}")
    print(f"Again:   {_command(options, strategies, folder, '--overwrite')}")
    name, why = words.advice(summary, options.budget)
    print(f"\nAdvice: {why}\n")
    for line in words.python_lines(table, source, name, strategies[name], options):
        print(f"    {line}" if line else "")


def _log_helps(y):
    """Whether a positive target is skewed to the right, and its logarithm less so."""
    import numpy as np
    from scipy.stats import skew

    return bool(y.min() > 0 and skew(y) > 0.75 and abs(skew(np.log1p(y))) < skew(y))


def _compare(options, table, model, strategies, checkpoint):
    from joblib import cpu_count

    from skal.learner import ActiveLearner
    from skal.model_selection import compare_strategies

    n_jobs = options.n_jobs
    if n_jobs is None:
        n_jobs = cpu_count() if options.device == "cpu" else 1
        n_jobs = min(n_jobs, len(strategies) * options.repeats)
    scores = SCORES[table.task]
    try:
        with warnings.catch_warnings():
            # Said in this program's own words.
            warnings.filterwarnings("ignore", message="Interrupted: the result holds")
            results = compare_strategies(
                ActiveLearner(model, random_state=options.seed),
                strategies,
                table.X,
                table.y,
                n_initial=options.n_initial,
                n_instances=options.n_instances,
                budget=options.budget,
                n_repeats=options.repeats,
                scoring={name: scorer for name, (scorer, _) in scores.items()},
                n_jobs=n_jobs,
                random_state=options.seed,
                progress_bar=True,
                checkpoint=checkpoint,
            )
    except (ValueError, RuntimeError) as error:
        raise InputError(" ".join([str(error), *getattr(error, "__notes__", [])])) from error
    for name, (scorer, _) in scores.items():
        if scorer.startswith("neg_"):
            results[name] = -results[name]
    return results


def _runs(results):
    return results[["strategy", "repeat"]].drop_duplicates()


def _whole_repeats(results, n_strategies):
    """The repeats that every strategy has finished."""
    counts = _runs(results)["repeat"].value_counts()
    whole = counts.index[counts == n_strategies]
    return results[results["repeat"].isin(whole)].reset_index(drop=True)


def _summarize(results, score, greater_is_better):
    from skal.model_selection import summarize_comparison

    summary = summarize_comparison(
        results, score=score, baseline=BASELINE, greater_is_better=greater_is_better
    )
    last = results[results["n_labels"] == results["n_labels"].max()].groupby("strategy")[score]
    return summary.assign(final=last.mean(), final_se=last.sem())


def _command(options, strategies, folder, flag):
    """The command line that gives the same results again."""
    words = ["python", "-m", "skal", "--data", options.data]
    for name in ("target", "task", "sep", "decimal", "encoding"):
        if getattr(options, name) is not None:
            words += [f"--{name}", getattr(options, name)]
    words += ["--model", options.model, "--strategies", ",".join(strategies)]
    for name in ("n_initial", "n_instances", "budget", "repeats", "max_epochs", "device", "seed"):
        words += [f"--{name.replace('_', '-')}", str(getattr(options, name))]
    return shlex.join([*words, flag, "--output", str(folder)])
