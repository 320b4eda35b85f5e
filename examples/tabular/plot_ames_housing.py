"""
House prices: a frame, a pipeline and a net
===========================================

**Question.** A table of houses has numbers, categories and gaps. Can a net on top of the usual
scikit-learn preprocessing choose which houses to have appraised next, without any conversion?

**Answer.** Yes: frames go in everywhere. Whether the choice beats random is another matter, and on
tables like this one it often does not, which this example shows rather than hides.
"""

# %%
# The data
# --------
# :func:`skal.datasets.fetch_ames_housing` downloads the sales of Ames, Iowa, or reads a local copy.
# So that this page can be built without a network, it falls back to a table of the same kind.
import warnings

import numpy as np
import pandas as pd
from sklearn.compose import (
    TransformedTargetRegressor,
    make_column_selector,
    make_column_transformer,
)
from sklearn.impute import SimpleImputer
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from skal import ActiveLearner
from skal.datasets import fetch_ames_housing
from skal.inspection import LearningCurveDisplay
from skal.model_selection import compare_strategies, summarize_comparison
from skal.neural_network import NeuralNetRegressor
from skal.strategies import CoreSet, RandomSampling


def stand_in(n_samples=1460):
    """Make up a table of houses: unlike scales, categories, gaps, skewed prices."""
    rng = np.random.default_rng(0)
    area = rng.lognormal(7.2, 0.35, n_samples)
    quality = rng.integers(1, 11, n_samples)
    factors = {"Center": 1.1, "Hill": 1.0, "Lake": 1.5, "Station": 0.8}
    quarter = rng.choice(list(factors), n_samples, p=[0.4, 0.3, 0.1, 0.2])
    price = 40 * area * (1 + 0.12 * quality) * pd.Series(quarter).map(factors)
    price = price * rng.lognormal(0, 0.12, n_samples)
    lot = area * rng.lognormal(1.9, 0.5, n_samples)
    garage = rng.choice(["attached", "detached", None], n_samples)
    frame = pd.DataFrame(
        {
            "LivingArea": area,
            "OverallQuality": quality,
            "LotArea": np.where(rng.random(n_samples) < 0.1, np.nan, lot),
            "Quarter": pd.Categorical(quarter),
            "Garage": pd.Categorical(garage),
        }
    )
    return frame, price.rename("SalePrice")


try:
    with warnings.catch_warnings(action="ignore"):  # each retry is announced
        X, y = fetch_ames_housing(return_X_y=True, n_retries=1)
    title = "Ames Housing"
except OSError as error:
    print(f"Using a made-up table instead: {error}")
    X, y = stand_in()
    title = "Houses (made up)"
X.head()

# %%
# The model
# ---------
# Nothing here is special to active learning: numbers are imputed and scaled, categories encoded,
# the net predicts the logarithm of the price.
numbers = make_column_selector(dtype_include="number")
categories = make_column_selector(dtype_exclude="number")
preprocessing = make_column_transformer(
    (make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), numbers),
    (OneHotEncoder(handle_unknown="ignore", sparse_output=False, dtype=np.float32), categories),
)
net = NeuralNetRegressor(max_epochs=100, standardize_y=True)
model = TransformedTargetRegressor(
    make_pipeline(preprocessing, net), func=np.log1p, inverse_func=np.expm1
)
learner = ActiveLearner(model, CoreSet(), random_state=0)
learner

# %%
# One loop, by hand
# -----------------
# A pool of 700 houses as a frame. The learner sees through the pipeline to the last hidden layer of
# the net, where CoreSet measures distances.
X_pool, X_test, y_pool, y_test = train_test_split(X, y, train_size=700, random_state=0)
learner.fit(X_pool[:20], y_pool[:20])
X_left, y_left = X_pool[20:], y_pool[20:]
for _ in range(3):
    rows = learner.query(X_left, n_instances=20)
    learner.teach(X_left.iloc[rows], y_left.iloc[rows])
    X_left, y_left = X_left.drop(X_left.index[rows]), y_left.drop(y_left.index[rows])
    print(f"{learner.n_labeled_} labels: R2 = {learner.score(X_test, y_test):.3f}")

# %%
# Is it better than random?
# -------------------------
# :func:`~skal.model_selection.compare_strategies` gives every strategy the same splits, the same
# first labels and the same initial net, so that the difference is due to the strategy.
results = compare_strategies(
    learner,
    {
        "random": RandomSampling(),
        "coreset": CoreSet(),
        "coreset on inputs": CoreSet(space="inputs"),
    },
    X,
    y,
    n_initial=20,
    n_instances=20,
    budget=100,
    n_repeats=4,
    scoring={"error": "neg_mean_absolute_percentage_error"},
    random_state=0,
)
results["error"] = -100 * results["error"]
summarize_comparison(results, baseline="random", greater_is_better=False).round(3)

# %%
# Lower is better here. The areas under the curves are means over the budget, in percent; a ratio
# whose interval holds 1 may well be chance, and four repeats are too few to tell much.
display = LearningCurveDisplay.from_results(
    results, baseline="random", score_name="mean absolute error, % of the price"
)
display.ax_.set_title(title)

# %%
# **What was learned.** The table above has the last word: look at the intervals before you adopt
# a strategy. Distance-based selection is drawn to unusual houses, and unusual houses are not what
# the average error is about.
