"""What the command line compares: strategies by name, and models by name.

Strategies and models are made when they are asked for: their names cost no import of torch.
"""

import importlib
import os
import sys
from collections.abc import Mapping
from difflib import get_close_matches

# Name on the command line: class, and arguments. In the order of tables.
_STRATEGIES = {
    "random": ("RandomSampling", {}),
    "least-confidence": ("LeastConfidence", {}),
    "margin": ("MarginSampling", {}),
    "forest-variance": ("ForestVariance", {}),
    "entropy": ("EntropySampling", {}),
    "coreset": ("CoreSet", {}),
    "coreset-inputs": ("CoreSet", {"space": "inputs"}),
    "badge": ("BADGE", {}),
    "bait": ("BAIT", {}),
    "typiclust": ("TypiClust", {}),
    "typiclust-inputs": ("TypiClust", {"space": "inputs"}),
    "prob-cover": ("ProbCover", {}),
    "max-herding": ("MaxHerding", {}),
    "uherding": ("UHerding", {}),
    "cluster-margin": ("ClusterMargin", {}),
    "alfa-mix": ("ALFAMix", {}),
    "drop-query": ("DropQuery", {}),
    "noise-stability": ("NoiseStability", {}),
    "gradient-embedding": ("GradientEmbedding", {}),
    "expected-gradient": ("ExpectedGradientLength", {}),
    "lhd": ("LHD", {}),
    "bald": ("BALD", {}),
    "batch-bald": ("BatchBALD", {"n_candidates": 500}),
    "variation-ratio": ("VariationRatio", {}),
    "mean-std": ("MeanStd", {}),
    "dean": ("DeAn", {}),
    "ralif": ("RALIF", {}),
    "isal": ("ISAL", {}),
    "gradnorm": ("GradNorm", {}),
    "query-by-committee": ("QueryByCommittee", {}),
}
BASELINE = "random"
# What `skal.recommend` says; not a class, and taken afresh at every query.
AUTO = "auto"
# As the evidence has it (`skal.recommend`, and the study of the docs).
DEFAULT_STRATEGIES = {
    "regression": "random,forest-variance,typiclust-inputs",
    "classification": "random,forest-variance,margin",
}
ESTIMATOR_TYPES = {"regression": "regressor", "classification": "classifier"}
# For tens to hundreds of labels: small batches, and dropout against learning them by heart.
TRAINING = {"batch_size": 16, "module__dropout": 0.3}
# What strategies may need that a model gives; None is whatever is not of a committee.
_GIVES = {
    "net": None,
    "linear": {"probabilities", "predictions", "features", "gradients", "labels"},
    "forest": {"probabilities", "predictions", "stochastic_passes", "committee", "labels"},
    "boosting": {"probabilities", "predictions", "labels"},
    "table": {"probabilities", "predictions", "labels"},
}
_NETS_ALONE = ("noise-stability", "gradient-embedding")
MODELS = tuple(_GIVES)

_IMPORTS = {
    "TablePreprocessor": "skal.preprocessing",
    "make_pipeline": "sklearn.pipeline",
    "NeuralNetClassifier": "skal.neural_network",
    "NeuralNetRegressor": "skal.neural_network",
    "LogisticRegression": "sklearn.linear_model",
    "RidgeCV": "sklearn.linear_model",
    "RandomForestClassifier": "sklearn.ensemble",
    "RandomForestRegressor": "sklearn.ensemble",
    "HistGradientBoostingClassifier": "sklearn.ensemble",
    "HistGradientBoostingRegressor": "sklearn.ensemble",
    "TabularClassifier": "skal.models",
    "TabularRegressor": "skal.models",
    "TransformedTargetRegressor": "sklearn.compose",
}
# The Python of each model: what is compared is made from the very text that is printed.
_MODELS = {
    ("net", "classification"): "NeuralNetClassifier(classes=np.unique(y), {training})",
    ("net", "regression"): "NeuralNetRegressor(standardize_y=True, {training})",
    ("linear", "classification"): "LogisticRegression(max_iter=1000)",
    ("linear", "regression"): "RidgeCV(alphas=np.logspace(-3, 3, 13))",
    ("forest", "classification"): "RandomForestClassifier()",
    ("forest", "regression"): "RandomForestRegressor()",
    # The default asks for 20 rows a leaf: with few labels it would learn nothing.
    ("boosting", "classification"): "HistGradientBoostingClassifier(min_samples_leaf=3)",
    ("boosting", "regression"): "HistGradientBoostingRegressor(min_samples_leaf=3)",
    ("table", "classification"): "TabularClassifier()",
    ("table", "regression"): "TabularRegressor()",
}


# Of a kind that no model of the command line is: members that are linear or nets.
_NEED_A_COMMITTEE = {("regression", "expected-gradient")}


class Strategies(Mapping):
    """The strategies by name, each made when it is taken."""

    def __getitem__(self, name):
        cls, options = _STRATEGIES[name]
        return getattr(importlib.import_module("skal.strategies"), cls)(**options)

    def __iter__(self):
        return iter(_STRATEGIES)

    def __len__(self):
        return len(_STRATEGIES)

    def __contains__(self, name):
        return name in _STRATEGIES

    def serving(self, task, model):
        """Return the names that serve a task with a model."""
        from sklearn.utils import get_tags

        names, gives = [], _GIVES[model]
        for name in self:
            tags = get_tags(self[name]).query_strategy_tags
            if ESTIMATOR_TYPES[task] not in tags.tasks or (task, name) in _NEED_A_COMMITTEE:
                continue
            if gives is None and "committee" not in tags.needs:
                names.append(name)
            elif gives is not None and set(tags.needs) <= gives and name not in _NETS_ALONE:
                names.append(name)
        return names


STRATEGIES = Strategies()


def choose_strategies(text, task, model):
    """Return the strategies named in `text` (or the default ones), the baseline first.

    Raises
    ------
    ValueError
        If one is unknown, or serves another task or other models.
    """
    names = [name.strip() for name in (text or DEFAULT_STRATEGIES[task]).split(",")]
    served = STRATEGIES.serving(task, model)
    chosen = {BASELINE: STRATEGIES[BASELINE]}
    for name in names:
        if ":" in name:
            chosen[name] = _own(name)
        elif name == AUTO:
            chosen[name] = AUTO
        elif name in served:
            chosen[name] = STRATEGIES[name]
        else:
            raise ValueError(_refusal(name, task, model, served))
    return chosen


def _refusal(name, task, model, served):
    choice = f"For {task} with --model {model}, choose from {', '.join([*served, AUTO])}."
    if name in STRATEGIES:
        by_task = STRATEGIES.serving(task, "net") + STRATEGIES.serving(task, "forest")
        what = "does not serve this model" if name in by_task else "serves another task"
        return f"strategy {name!r} {what}. {choice}"
    close = get_close_matches(name.lower(), STRATEGIES, n=2, cutoff=0.6)
    hint = f" Did you mean {' or '.join(map(repr, close))}?" if close else ""
    return (
        f"strategy {name!r} is unknown.{hint} {choice} One of your own is written "
        "package.module:Class."
    )


def _own(name):
    """Return an instance of a strategy of the user's, ``package.module:Class``."""
    module, _, cls = name.partition(":")
    # As `python -m` does; a console script does not.
    if not {"", os.getcwd()} & set(sys.path):
        sys.path.insert(0, os.getcwd())
    try:
        found = getattr(importlib.import_module(module), cls)
    except (ImportError, ValueError) as error:
        raise ValueError(
            f"strategy {name!r}: {error}. It is looked for where Python looks for modules, and in "
            "the present folder."
        ) from error
    except AttributeError as error:
        raise ValueError(f"strategy {name!r}: {module} has no {cls!r}.") from error
    try:
        strategy = found() if isinstance(found, type) else found
    except TypeError as error:
        raise ValueError(
            f"strategy {name!r} must be made without arguments ({error}). Name an instance of it "
            "in the module instead."
        ) from error
    if not all(hasattr(strategy, method) for method in ("fit", "query", "get_params")):
        raise ValueError(
            f"strategy {name!r} is no query strategy: derive it from skal.strategies.QueryStrategy."
        )
    return strategy


# ---------------------------------------------------------------------------------- models


def model_source(model, task, *, max_epochs, device, log_target=False):
    """Return the Python expression of a model."""
    training = {"max_epochs": max_epochs, **TRAINING}
    if device != "cpu":
        training["device"] = device
    text = _MODELS[model, task].format(
        training=", ".join(f"{k}={v!r}" for k, v in training.items())
    )
    if model != "table":
        dtype = 'dtype="float32"' if model == "net" else ""
        text = f"make_pipeline(TablePreprocessor({dtype}), {text})"
    if log_target:
        text = f"TransformedTargetRegressor({text}, func=np.log1p, inverse_func=np.expm1)"
    return text


def import_lines(*sources):
    """Return the lines that import what these expressions name, sorted by module."""
    text = " ".join(sources)
    homes = {}
    for name, module in _IMPORTS.items():
        if f"{name}(" in text:
            homes.setdefault(module, []).append(name)
    lines = [f"from {module} import {', '.join(sorted(homes[module]))}" for module in sorted(homes)]
    return (["import numpy as np"] if "np." in text else []) + lines


def make_model(source, y):
    """Return the estimator that an expression of :func:`model_source` stands for."""
    import numpy as np

    names = {
        name: getattr(importlib.import_module(home), name)
        for name, home in _IMPORTS.items()
        if f"{name}(" in source
    }
    # The text is ours alone, made above of numbers and of a device that was checked.
    return eval(source, {"__builtins__": {}, "np": np, "y": y, **names})


def strategy_source(name, strategy):
    """Return the Python expression of a strategy and the line that imports it, or ""."""
    if name == AUTO:
        return repr(AUTO).replace("'", '"'), ""
    if ":" in name:
        module, _, cls = name.partition(":")
        made = f"{cls}()" if type(strategy).__name__ == cls else cls
        return made, f"from {module} import {cls}"
    cls, options = _STRATEGIES[name]
    arguments = ", ".join(f"{key}={value!r}" for key, value in options.items())
    return f"{cls}({arguments})", f"from skal.strategies import {cls}"
