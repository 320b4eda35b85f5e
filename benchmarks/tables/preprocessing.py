"""TablePreprocessor next to skrub's TableVectorizer, judged by the models behind them.

    pip install skrub
    python benchmarks/tables/preprocessing.py run --repeats 2
    python benchmarks/tables/preprocessing.py report

Each preprocessing is fitted on the labelled rows, as in an active learner; behind it stand a linear
model, a Gaussian process and a forest, fitted on the same random rows, and the errors on 500 other
rows are reported as ratios to those behind ``TablePreprocessor()``.
"""

import argparse
import time

import numpy as np
import pandas as pd
from _tables import (
    CLASSIFICATION,
    REGRESSION,
    RESULTS,
    Cells,
    error_of,
    load,
    split,
    task_of,
)
from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.pipeline import make_pipeline

from skal.models._gaussian_process import MaternProcess
from skal.preprocessing import TablePreprocessor

CELLS = RESULTS / "preprocessing_cells.csv"
KEY = ["table", "preprocessor", "n_labels", "repeat"]
TABLES = (*REGRESSION, *CLASSIFICATION, "house_prices")
SIZES = (40, 160)


def skrub_vectorizer():
    """Numbers squashed, few levels one-hot, texts by character n-grams, dates in parts."""
    from skrub import SquashingScaler, TableVectorizer

    return make_pipeline(
        TableVectorizer(numeric=SquashingScaler()),
        SimpleImputer(strategy="median", keep_empty_features=True),
    )


PREPROCESSORS = {
    "standard": TablePreprocessor,
    "robust": lambda: TablePreprocessor(scaling="robust"),
    "rare": lambda: TablePreprocessor(min_frequency=2),
    "indicator": lambda: TablePreprocessor(add_indicator=True),
    "skrub": skrub_vectorizer,
}


def measure(table, preprocessor, n_labels, repeat):
    X, y = load(table)
    task = task_of(table)
    pool, test = split(len(y), repeat)
    rows = pool[:n_labels]
    start = time.process_time()
    prepare = PREPROCESSORS[preprocessor]().fit(X.iloc[rows])
    Z, Z_test = (np.asarray(prepare.transform(X.iloc[part]), float) for part in (rows, test))
    seconds = time.process_time() - start
    cell = {
        "table": table,
        "preprocessor": preprocessor,
        "n_labels": n_labels,
        "repeat": repeat,
        "n_features_out": Z.shape[1],
        "cpu_seconds": round(seconds, 4),
    }
    answers = answers_of_models(Z, y[rows], Z_test, task, repeat)
    return {**cell, **{name: error_of(a, y[test], task) for name, a in answers.items()}}


def answers_of_models(Z, y, Z_test, task, seed):
    """Predictions of a linear model, a Gaussian process of one length scale, and extra trees."""
    if task == "regression":
        models = {"linear": RidgeCV(np.logspace(-2, 5, 15)), "forest": ExtraTreesRegressor}
        targets = y[:, None]
    else:
        models = {"linear": LogisticRegression(C=0.1, max_iter=500), "forest": ExtraTreesClassifier}
        targets = np.unique(y) == y[:, None]
    models["forest"] = models["forest"](50, random_state=seed)
    answers = {name: model.fit(Z, y).predict(Z_test) for name, model in models.items()}
    center = targets.mean(axis=0)
    process = MaternProcess().fit(
        Z, targets - center, np.ones(len(y)), np.zeros(len(y), int), np.random.RandomState(seed)
    )
    mean = process.predict(Z_test)[0] + center
    classes = np.unique(y)
    answers["kernel"] = mean[:, 0] if task == "regression" else classes[mean.argmax(axis=1)]
    return answers


def run(tables, repeats, preprocessors):
    cells = Cells(CELLS, KEY)
    for repeat in range(repeats):
        for table in tables:
            for name in preprocessors:
                for n_labels in SIZES:
                    cell = dict(zip(KEY, (table, name, n_labels, repeat), strict=True))
                    if cells.missing(**cell):
                        cells.add([measure(**cell)])
            print(f"repeat {repeat}: {table}", flush=True)


def report():
    frame = pd.read_csv(CELLS)
    models = ["linear", "kernel", "forest"]
    mean = frame.groupby(["table", "n_labels", "preprocessor"])[models].mean()
    logs = np.log(mean.clip(lower=1e-3)).unstack("preprocessor")
    rows = []
    for name in frame["preprocessor"].unique():
        if name == "standard":
            continue
        for model in models:
            ratio = (logs[model][name] - logs[model]["standard"]).groupby("table").mean().dropna()
            rows.append(
                {
                    "preprocessor": name,
                    "model": model,
                    "ratio": np.exp(ratio.mean()),
                    "standard_error": ratio.sem(),
                    "better_by_1_%": int((ratio < -0.01).sum()),
                    "worse_by_1_%": int((ratio > 0.01).sum()),
                    "worst": np.exp(ratio.max()),
                    "worst_table": ratio.idxmax(),
                    "tables": len(ratio),
                }
            )
    table = pd.DataFrame(rows).set_index(["preprocessor", "model"])
    print(table.round(3).to_string())
    print(frame.groupby("preprocessor")["cpu_seconds"].median().to_dict())
    table.round(4).to_csv(RESULTS / "preprocessing.csv")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["run", "report"])
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--tables", nargs="*", default=TABLES)
    parser.add_argument("--preprocessors", nargs="*", default=list(PREPROCESSORS))
    options = parser.parse_args()
    if options.what == "run":
        run(options.tables, options.repeats, options.preprocessors)
    else:
        report()


if __name__ == "__main__":
    main()
