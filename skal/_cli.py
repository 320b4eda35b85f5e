"""The main job from the command line: query strategies compared on a data set."""

import argparse
import shlex
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
from joblib import cpu_count
from scipy.stats import skew
from sklearn.compose import (
    ColumnTransformer,
    TransformedTargetRegressor,
    make_column_selector,
)
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from sklearn.utils import get_tags

from skal._version import __version__
from skal.datasets._loading import BUNDLED, load_table
from skal.datasets._tables import is_numeric
from skal.inspection import LearningCurveDisplay
from skal.learner import ActiveLearner
from skal.model_selection import compare_strategies, summarize_comparison
from skal.model_selection._runs import TEST_SIZE
from skal.neural_network import NeuralNetClassifier, NeuralNetRegressor
from skal.neural_network._device import check_device
from skal.strategies import (
    BADGE,
    BALD,
    ISAL,
    LHD,
    RALIF,
    BatchBALD,
    CoreSet,
    DeAn,
    EntropySampling,
    GradNorm,
    LeastConfidence,
    MarginSampling,
    MeanStd,
    NoiseStability,
    RandomSampling,
    TypiClust,
    VariationRatio,
)

# Every strategy the command line knows, in the order of tables: one line each. The tasks that a
# strategy serves come from its tags.
STRATEGIES = {
    "random": RandomSampling(),
    "least-confidence": LeastConfidence(),
    "margin": MarginSampling(),
    "entropy": EntropySampling(),
    "coreset": CoreSet(),
    "coreset-inputs": CoreSet(space="inputs"),
    "badge": BADGE(),
    "typiclust": TypiClust(),
    "noise-stability": NoiseStability(),
    "lhd": LHD(),
    "bald": BALD(),
    "batch-bald": BatchBALD(n_candidates=500),
    "variation-ratio": VariationRatio(),
    "mean-std": MeanStd(),
    "dean": DeAn(),
    "ralif": RALIF(),
    "isal": ISAL(),
    "gradnorm": GradNorm(),
}
BASELINE = "random"
DEFAULT_STRATEGIES = {
    "regression": "random,coreset,coreset-inputs",
    "classification": "random,margin,coreset",
}
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
ESTIMATOR_TYPES = {"regression": "regressor", "classification": "classifier"}
# Standardised columns are cut here: a column that is constant among few labels may be anything
# elsewhere, and a net extrapolates wildly.
CLIP = 4.0
# For tens to hundreds of labels: small batches, and dropout against learning them by heart.
TRAINING = {"batch_size": 16, "module__dropout": 0.3}


class InputError(Exception):
    """What the user gave will not do; the message says why, in one line."""


def main(argv=None):
    """Run the comparison and return the exit status: 0, 2 for wrong input, 130 if interrupted."""
    argv = sys.argv[1:] if argv is None else argv
    if argv and argv[0] in ("query", "label", "labels"):
        from skal._cli_labeling import (
            main as run_labeling,
        )  # loads much that this job does not need

        return run_labeling(argv)
    try:
        options = _parser().parse_args(argv)
        _run(options)
    except InputError as error:
        print(f"skal: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
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
        "the rows to be labelled, next to one that gets random rows? Prints a table and writes "
        "learning curves and results.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add(
        "--data",
        default="diabetes",
        metavar="NAME|FILE",
        help="'ames' (downloaded once), one of scikit-learn's "
        f"{', '.join(BUNDLED)}, or a CSV file with --target",
    )
    add("--target", metavar="COLUMN", help="column of the CSV file to predict, numeric")
    add(
        "--strategies",
        metavar="LIST",
        help=f"names separated by commas, from {', '.join(STRATEGIES)}; random always runs, as the "
        f"baseline (default: {DEFAULT_STRATEGIES['regression']} for regression, "
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
    add("--max-epochs", type=_at_least(1), default=60, metavar="N", help="epochs of every training")
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
        default=Path("skal_results"),
        metavar="FOLDER",
        help="where learning_curves.png, results.csv and summary.csv are written",
    )
    add("--version", action="version", version=f"skal {__version__}")
    return parser  # fmt: skip


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


def _strategies(text, task):
    """Return the strategies named in `text` (or the default ones), the baseline first."""
    served = {
        name: strategy
        for name, strategy in STRATEGIES.items()
        if ESTIMATOR_TYPES[task] in get_tags(strategy).query_strategy_tags.tasks
    }
    names = [name.strip() for name in (text or DEFAULT_STRATEGIES[task]).split(",")]
    for name in names:
        if name not in served:
            what = "serves another task" if name in STRATEGIES else "is unknown"
            raise InputError(
                f"strategy {name!r} {what}. For {task}, choose from {', '.join(served)}."
            )
    return {name: served[name] for name in dict.fromkeys([BASELINE, *names])}


def _check_budget(options, n_samples):
    n_train = n_samples - int(np.ceil(TEST_SIZE * n_samples))
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
    try:
        with warnings.catch_warnings():
            # Every retry of a download warns; the error at the end says it all.
            warnings.filterwarnings("ignore", message="A network error occurred")
            return load_table(options.data, options.target)
    except ConnectionError as error:
        raise InputError(
            f"could not download the Ames Housing data from OpenML ({error.__cause__}). With a "
            "local copy, use --data house_prices.csv --target SalePrice."
        ) from error
    except (OSError, ValueError) as error:
        raise InputError(error) from error


def _make_output(folder):
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise InputError(
            f"--output {str(folder)!r} is no folder that can be written to: {error}."
        ) from error


# ---------------------------------------------------------------------------------- the model


def _make_model(table, log_target, *, max_epochs, device):
    """Pipeline of preprocessing and net; inside a log of the target where that helps."""
    columns = _preprocessing(table.X)
    training = {"max_epochs": max_epochs, "device": device, **TRAINING}
    if table.task == "classification":
        return make_pipeline(columns, NeuralNetClassifier(classes=np.unique(table.y), **training))
    model = make_pipeline(columns, NeuralNetRegressor(standardize_y=True, **training))
    if log_target:
        model = TransformedTargetRegressor(model, func=np.log1p, inverse_func=np.expm1)
    return model


def _preprocessing(X):
    """Impute and scale numbers, encode categories (a gap is one of them): dense float32."""
    numbers = Pipeline(
        [
            ("impute", SimpleImputer(strategy="median", keep_empty_features=True)),
            ("scale", StandardScaler()),
            ("clip", FunctionTransformer(np.clip, kw_args={"a_min": -CLIP, "a_max": CLIP})),
        ]
    )
    categories = OneHotEncoder(handle_unknown="ignore", sparse_output=False, dtype=np.float32)
    return ColumnTransformer(
        [
            ("numbers", numbers, make_column_selector(dtype_include="number")),
            ("categories", categories, make_column_selector(dtype_include="category")),
        ]
    )


def _log_helps(y):
    """Whether a positive target is skewed to the right, and its logarithm less so."""
    return bool(y.min() > 0 and skew(y) > 0.75 and abs(skew(np.log1p(y))) < skew(y))


# ---------------------------------------------------------------------------------- the job


def _run(options):
    table = _load(options)
    strategies = _strategies(options.strategies, table.task)
    _check_budget(options, len(table.X))
    _check_device(options.device)
    _make_output(options.output)

    log_target = table.task == "regression" and _log_helps(table.y)
    model = _make_model(table, log_target, max_epochs=options.max_epochs, device=options.device)
    print(_introduction(options, table, strategies, log_target), flush=True)
    results = _compare(options, table, model, strategies)

    score, (_, greater_is_better) = next(iter(SCORES[table.task].items()))
    summary = _summarize(results, score, greater_is_better)
    paths = _write(options.output, results, summary, table, score)
    print(_report(summary, table, score, greater_is_better))
    print(f"\nWritten: {', '.join(str(path) for path in paths)}")
    print(f"Again:   {_command(options, strategies)}")


def _check_device(name):
    try:
        check_device(name, "NeuralNetRegressor")
    except ValueError as error:
        raise InputError(f"--device: {error}") from error


def _compare(options, table, model, strategies):
    n_jobs = options.n_jobs
    if n_jobs is None:
        n_jobs = cpu_count() if options.device == "cpu" else 1
        n_jobs = min(n_jobs, len(strategies) * options.repeats)
    scores = SCORES[table.task]
    results = compare_strategies(
        ActiveLearner(model, random_state=options.seed), strategies, table.X, table.y,
        n_initial=options.n_initial, n_instances=options.n_instances, budget=options.budget,
        n_repeats=options.repeats, scoring={name: scorer for name, (scorer, _) in scores.items()},
        n_jobs=n_jobs, random_state=options.seed, progress_bar=True,
    )  # fmt: skip
    for name, (scorer, _) in scores.items():
        if scorer.startswith("neg_"):
            results[name] = -results[name]
    return results


def _summarize(results, score, greater_is_better):
    summary = summarize_comparison(
        results, score=score, baseline=BASELINE, greater_is_better=greater_is_better
    )
    last = results[results["n_labels"] == results["n_labels"].max()].groupby("strategy")[score]
    return summary.assign(final=last.mean(), final_se=last.sem())


def _write(folder, results, summary, table, score):
    paths = [folder / name for name in ("learning_curves.png", "results.csv", "summary.csv")]
    _figure(results, table, score).savefig(paths[0], dpi=150)
    results.to_csv(paths[1], index=False)
    summary.to_csv(paths[2])
    return paths


def _figure(results, table, score):
    """Learning curves on the left, paired differences to the baseline on the right."""
    # Not through pyplot: the caller's backend and figures stay as they are.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.4), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    what = _in_words(score).capitalize()
    for ax, reference in ((left, None), (right, BASELINE)):
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(axis="y", color="0.9", linewidth=0.8)
        LearningCurveDisplay.from_results(
            results, score=score, baseline=BASELINE, relative_to=reference, ax=ax, score_name=what
        )
    n_repeats = results["repeat"].nunique()
    left.set_title("Mean over repeats", loc="left", fontsize=10)
    right.set_title(f"Paired difference to {BASELINE}", loc="left", fontsize=10)
    figure.suptitle(
        f"{Path(table.name).name}: {_in_words(score)} of {table.target!r}, {n_repeats} repeats, "
        "bands of one standard error",
        fontsize=11,
    )
    return figure


# ---------------------------------------------------------------------------------- words


def _introduction(options, table, strategies, log_target):
    numeric = sum(is_numeric(table.X[name]) for name in table.X.columns)
    columns = f"{numeric} numeric and {table.X.shape[1] - numeric} categorical columns"
    how = ""
    if table.task == "regression":
        how = ", predicted as its logarithm" if log_target else ", standardised"
    lines = [
        f"{table.name}: {table.task} of {table.target!r}{how}; {len(table.X)} rows, {columns}.",
        *(f"Left out: {what}." for what in table.left_out),
        f"{len(strategies)} strategies, {options.repeats} repeats: {options.n_initial} random "
        f"labels, then {options.n_instances} per query up to {options.budget}.",
    ]
    return "\n".join(lines)


def _report(summary, table, score, greater_is_better):
    """The table, and how to read it."""
    head = ["strategy", "area", "s.e.", "ratio", "s.e.", "z", "labels needed", "final", "s.e."]
    rows = [
        [
            name,
            _number(line.area),
            _number(line.area_se),
            _number(line.ratio, 3),
            "-" if name == BASELINE else _number(line.ratio_se, 3),
            "-" if name == BASELINE else _number(line.z, 2),
            _number(line.labels_to_baseline, 0),
            _number(line.final),
            _number(line.final_se),
        ]
        for name, line in summary.iterrows()
    ]
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    lines = [
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in [head, ["-" * width for width in widths], *rows]
    ]
    better = "higher" if greater_is_better else "lower"
    unit = "" if greater_is_better else f" in units of {table.target!r}"
    notes = [
        f"area: {_in_words(score)}{unit} on held-out rows, averaged over the budget; {better} is "
        "better.",
        f"ratio: to {BASELINE}, above 1 is better.  z: paired difference over its standard error, "
        "above 0 is better;",
        f"within 2 of 0 it may well be chance.  labels needed: to reach the final score of "
        f"{BASELINE}.",
    ]
    return "\n".join(["", *lines, "", *notes])


def _number(value, decimals=None):
    """Four significant digits without exponents, or so many decimals."""
    if np.isnan(value):
        return "-"
    if np.isinf(value):
        return "never" if value > 0 and decimals == 0 else f"{value:+}"
    if decimals is None:
        size = 0 if value == 0 else int(np.floor(np.log10(abs(value))))
        decimals = min(max(0, 3 - size), 6)
    return f"{value:.{decimals}f}"


def _in_words(score):
    return score.replace("_", " ")


def _command(options, strategies):
    """The command line that gives the same results again."""
    words = ["python", "-m", "skal", "--data", options.data]
    if options.target is not None:
        words += ["--target", options.target]
    words += ["--strategies", ",".join(strategies)]
    for name in ("n_initial", "n_instances", "budget", "repeats", "max_epochs", "device", "seed"):
        words += [f"--{name.replace('_', '-')}", str(getattr(options, name))]
    return shlex.join([*words, "--output", str(options.output)])
