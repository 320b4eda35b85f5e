"""
Searching over a strategy with GridSearchCV
===========================================

**Question.** A query strategy has parameters. How are they chosen?

**Answer.** Like any others. A strategy shows its worth only over a whole budget of labels, so
:class:`~skal.model_selection.BudgetedActiveLearner` spends one in ``fit``, and ``GridSearchCV``
does the rest, for strategy and model together.
"""

# %%
# A learner with a budget
# -----------------------
# ``fit`` hides the labels it is given and reveals those that are asked for.
import matplotlib.pyplot as plt
import pandas as pd
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

from skal import ActiveLearner
from skal.metrics import make_budget_scorer
from skal.model_selection import BudgetedActiveLearner
from skal.strategies import (
    CoreSet,
    EntropySampling,
    LeastConfidence,
    MarginSampling,
    RandomSampling,
)

X, y = load_digits(return_X_y=True)
learner = ActiveLearner(
    make_pipeline(MinMaxScaler(), LogisticRegression(max_iter=500)), random_state=0
)
simulation = BudgetedActiveLearner(
    learner, n_initial=20, n_instances=20, budget=160, random_state=0
)

# %%
# A grid over both
# ----------------
# The scorer averages the accuracy over the budget. The final accuracy alone would not tell a
# strategy that learns early from one that learns late.
grid = {
    "learner__query_strategy": [
        RandomSampling(),
        LeastConfidence(),
        MarginSampling(),
        EntropySampling(),
        CoreSet(),
    ],
    "learner__estimator__logisticregression__C": [1.0, 100.0],
}
search = GridSearchCV(simulation, grid, cv=3, scoring=make_budget_scorer("accuracy"))
search.fit(X, y)
print(f"best: {search.best_params_}")
print(f"mean accuracy over the budget: {search.best_score_:.3f}")

# %%
# All of it, with the spread over the folds
# -----------------------------------------
table = pd.DataFrame(search.cv_results_["params"])
table["strategy"] = [type(s).__name__ for s in table.pop("learner__query_strategy")]
table["C"] = table.pop("learner__estimator__logisticregression__C")
table["mean"] = search.cv_results_["mean_test_score"]
table["spread"] = search.cv_results_["std_test_score"]
print(table.pivot(index="strategy", columns="C", values="mean").round(3))

fig, ax = plt.subplots(figsize=(7, 3.5), layout="constrained")
names = list(dict.fromkeys(table["strategy"]))
for shift, marker, (C, cells) in zip((-0.12, 0.12), "os", table.groupby("C"), strict=True):
    place = [names.index(name) + shift for name in cells["strategy"]]
    ax.errorbar(
        cells["mean"], place, xerr=cells["spread"], fmt=marker, capsize=3, label=f"C = {C:g}"
    )
ax.set_yticks(range(len(names)), names)
ax.set(xlabel="accuracy, averaged over the budget of 160 labels", title="Digits, three folds")
ax.grid(axis="x", alpha=0.3)
fig.legend(title="LogisticRegression", loc="outside right center", frameon=False)
plt.show()

# %%
# **What was learned.** Strategy and model are searched together, because they depend on each other.
# Folds share rows, so the bars are a rough guide; for a verdict on two strategies use the paired
# comparison of :func:`~skal.model_selection.compare_strategies`.
