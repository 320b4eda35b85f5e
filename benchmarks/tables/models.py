"""Labels that the models for tables need, next to the default net of version 0.1.0.dev0.

    python benchmarks/tables/models.py run --repeats 4
    python benchmarks/tables/models.py report

Random rows are labelled, the same for all models; the error is measured on 500 others. ``run``
works off the cells that are missing, writes each as soon as it is known, and goes on after a kill.
``report`` says, for each table, how many labels the model needs for the error that the net has
with 100 and with 200, and how far it is from the best of its own parts.

The net is the one of ``python -m skal`` in version 0.1.0.dev0, written out below: 60 epochs,
batches of 16, dropout 0.3, numbers standardised and cut at +-4, categories one-hot, and a skewed
positive target predicted as its logarithm.
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
    error,
    error_of,
    load,
    split,
    task_of,
)
from scipy.stats import skew
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor, make_column_selector
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from skal.models import (
    NetEnsembleClassifier,
    NetEnsembleRegressor,
    TabularClassifier,
    TabularRegressor,
)
from skal.neural_network import NeuralNetClassifier, NeuralNetRegressor
from skal.preprocessing import TablePreprocessor

CELLS = RESULTS / "models.csv"
KEY = ["table", "model", "n_labels", "repeat"]
# Budgets of the net that is to be reached, and of the model on its way there.
NET_LABELS = (100, 200)
MODEL_LABELS = (20, 30, 50, 75, 105, 145, 200)
PARTS = {
    "regression": ("ridge", "gaussian_process", "relevance_process", "forest"),
    "classification": ("logistic", "kernel", "relevance_kernel", "forest"),
}


def default_net(X, y, task, seed):
    """What ``python -m skal`` trained in version 0.1.0.dev0; `y` are all labels of the table."""
    numbers = make_pipeline(
        SimpleImputer(strategy="median", keep_empty_features=True),
        StandardScaler(),
        FunctionTransformer(np.clip, kw_args={"a_min": -4.0, "a_max": 4.0}),
    )
    categories = OneHotEncoder(handle_unknown="ignore", sparse_output=False, dtype=np.float32)
    columns = ColumnTransformer(
        [
            ("numbers", numbers, make_column_selector(dtype_include="number")),
            ("categories", categories, make_column_selector(dtype_exclude="number")),
        ]
    )
    training = {"max_epochs": 60, "batch_size": 16, "module__dropout": 0.3, "random_state": seed}
    if task == "classification":
        return make_pipeline(columns, NeuralNetClassifier(classes=np.unique(y), **training))
    net = make_pipeline(columns, NeuralNetRegressor(standardize_y=True, **training))
    if y.min() > 0 and skew(y) > 0.75 and abs(skew(np.log1p(y))) < skew(y):
        return TransformedTargetRegressor(net, func=np.log1p, inverse_func=np.expm1)
    return net


def new_model(name, X, y, task, seed):
    if name == "net":
        return default_net(X, y, task, seed)
    if name == "nets":
        nets = NetEnsembleRegressor if task == "regression" else NetEnsembleClassifier
        return make_pipeline(TablePreprocessor(), nets(random_state=seed))
    stack = TabularRegressor if task == "regression" else TabularClassifier
    return stack(random_state=seed)


def measure(table, name, n_labels, repeat):
    """Records of one fit: its error and, of a stack, those of its parts."""
    X, y = load(table)
    task = task_of(table)
    pool, test = split(len(y), repeat)
    rows = pool[:n_labels]
    start = time.process_time()
    model = new_model(name, X, y, task, repeat).fit(X.iloc[rows], y[rows])
    seconds = time.process_time() - start
    cell = {"table": table, "n_labels": n_labels, "repeat": repeat}
    records = [{**cell, "model": name, "error": error(model, X.iloc[test], y[test], task)}]
    records[0]["cpu_seconds"] = round(seconds, 3)
    if name == "stack":
        for part, answers in model.predict_parts(X.iloc[test]).items():
            if task == "classification":
                answers = model.classes_[answers.argmax(axis=1)]
            records.append({**cell, "model": part, "error": error_of(answers, y[test], task)})
    columns = (*KEY, "error", "cpu_seconds")
    return [{column: record.get(column) for column in columns} for record in records]


def run(tables, repeats, models):
    cells = Cells(CELLS, KEY)
    sizes = {"net": NET_LABELS, "nets": NET_LABELS, "stack": MODEL_LABELS}
    for repeat in range(repeats):
        for table in tables:
            for name in models:
                for n_labels in sizes[name]:
                    cell = (table, name, n_labels, repeat)
                    if cells.missing(**dict(zip(KEY, cell, strict=True))):
                        cells.add(measure(*cell))
            print(f"repeat {repeat}: {table}", flush=True)


def labels_to_reach(curve, target):
    """Labels at which an error curve, straight in logarithms, reaches a target error.

    `curve` is a Series of errors by numbers of labels. The first number is returned where it is low
    enough already, NaN where the last is not.
    """
    lowest = curve.cummin()
    if lowest.iloc[0] <= target:
        return float(curve.index[0])
    if lowest.iloc[-1] > target:
        return np.nan
    after = int(np.argmax(lowest.to_numpy() <= target))
    (x0, x1), (y0, y1) = (
        np.log(curve.index[after - 1 : after + 1]),
        np.log(lowest.iloc[after - 1 : after + 1]),
    )
    return float(np.exp(x0 + (x1 - x0) * (y0 - np.log(target)) / (y0 - y1)))


def report():
    frame = pd.read_csv(CELLS)
    mean = frame.groupby(["table", "model", "n_labels"])["error"].mean()
    for task, tables in (("regression", REGRESSION), ("classification", CLASSIFICATION)):
        rows = [_row(mean, table, PARTS[task]) for table in tables if (table, "stack") in mean]
        if not rows:
            continue
        table = pd.DataFrame(rows).set_index("table")
        repeats = frame[frame["table"].isin(tables)].groupby("table")["repeat"].nunique().min()
        print(f"{task}, {repeats} repeats")
        print(table.round(3).to_string())
        # What is not reached with 200 labels counts as more than all.
        shares = table[[c for c in table if c.startswith("share")]].fillna(np.inf).median()
        print(f"median share of labels: {shares.round(3).to_dict()}")
        print(f"more than 5 % worse than the best part: {(table['to_best_part'] > 1.05).sum()}\n")
        table.round(3).to_csv(RESULTS / f"models_{task}.csv")
    seconds = frame[frame["n_labels"] == 200].groupby("model")["cpu_seconds"].median().dropna()
    print("median CPU seconds of a fit with 200 labels:", seconds.round(2).to_dict())


def _row(mean, table, parts):
    stack = mean[table, "stack"]
    row = {"table": table}
    for n_labels in NET_LABELS:
        target = mean[table, "net"][n_labels]
        row[f"net_{n_labels}"], row[f"stack_{n_labels}"] = (
            target,
            np.interp(np.log(n_labels), np.log(stack.index), stack),
        )
        row[f"share_{n_labels}"] = labels_to_reach(stack, target) / n_labels
    if (table, "nets", NET_LABELS[-1]) in mean.index:
        row["nets_200"] = mean[table, "nets"][NET_LABELS[-1]]
    areas = {part: mean[table, part].mean() for part in parts}
    row["best_part"] = min(areas, key=areas.get)
    row["to_best_part"] = stack.mean() / areas[row["best_part"]]
    return row


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["run", "report"])
    parser.add_argument("--repeats", type=int, default=4)
    parser.add_argument("--tables", nargs="*", default=REGRESSION)
    parser.add_argument("--models", nargs="*", default=["net", "stack"])
    options = parser.parse_args()
    if options.what == "run":
        run(options.tables, options.repeats, options.models)
    else:
        report()


if __name__ == "__main__":
    main()
