"""
The first loop: which digits should be labelled next?
=====================================================

**Question.** There are 1797 small pictures of digits and no labels. Someone can label twenty at a
time. Does it matter which twenty?

**Answer.** It does: a small net that asks for the digits it cannot tell apart needs far fewer
labels than one that is given digits at random.
"""

# %%
# A pool and a test set
# ---------------------
# The labels of the pool exist, but nobody has looked at them yet: we look one up whenever the
# learner asks for it, as a person would.
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

from skal import ActiveLearner
from skal.neural_network import NeuralNetClassifier
from skal.strategies import MarginSampling, RandomSampling

X, y = load_digits(return_X_y=True)
X_pool, X_test, y_pool, y_test = train_test_split(X, y, test_size=0.4, random_state=0)

# %%
# A learner
# ---------
# The estimator is an ordinary scikit-learn pipeline that ends in a small net. ``classes`` tells the
# net about all ten digits, which the first labels may not contain.
model = make_pipeline(
    MinMaxScaler(), NeuralNetClassifier(classes=range(10), max_epochs=60, random_state=0)
)


def run(strategy, n_rounds=10, n_instances=20):
    """Return the number of labels, the accuracy after every round, and the first batch."""
    learner = ActiveLearner(model, strategy, random_state=0)
    # Before any label is known, ask for twenty random rows.
    rows = ActiveLearner(model, RandomSampling(), random_state=0).query(X_pool, n_instances)
    learner.fit(X_pool[rows], y_pool[rows])
    n_labels, accuracy, first_batch = [learner.n_labeled_], [learner.score(X_test, y_test)], None

    X_left, y_left = _without(rows, X_pool, y_pool)
    for _ in range(n_rounds):
        rows = learner.query(X_left, n_instances)
        first_batch = X_left[rows] if first_batch is None else first_batch
        learner.teach(X_left[rows], y_left[rows])
        X_left, y_left = _without(rows, X_left, y_left)
        n_labels.append(learner.n_labeled_)
        accuracy.append(learner.score(X_test, y_test))
    return n_labels, accuracy, first_batch


def _without(rows, X, y):
    """The rows that have not been asked about."""
    keep = np.setdiff1d(np.arange(len(X)), rows)
    return X[keep], y[keep]


# %%
# Two strategies
# --------------
results = {
    "at random": run(RandomSampling()),
    "smallest margin": run(MarginSampling()),
}
for name, (n_labels, accuracy, _) in results.items():
    print(
        f"{name:>16}: accuracy {accuracy[0]:.3f} with {n_labels[0]} labels, "
        f"{accuracy[5]:.3f} with {n_labels[5]}, {accuracy[-1]:.3f} with {n_labels[-1]}"
    )

fig, ax = plt.subplots(figsize=(6, 4), layout="constrained")
for (name, (n_labels, accuracy, _)), marker in zip(results.items(), "os", strict=True):
    ax.plot(n_labels, accuracy, marker=marker, label=name)
ax.set(xlabel="number of labels", ylabel="test accuracy", title="Digits, 20 labels per round")
ax.legend(loc="lower right")
plt.show()

# %%
# What was asked
# --------------
# The first batch of either strategy. The margin is small where two digits look alike.
fig, axes = plt.subplots(2, 12, figsize=(8, 1.9), layout="constrained")
for row, (name, (_, _, batch)) in zip(axes, results.items(), strict=True):
    for ax, picture in zip(row, batch, strict=False):
        ax.imshow(picture.reshape(8, 8), cmap="gray_r")
        ax.set(xticks=[], yticks=[])
    row[0].set_title(name, loc="left", fontsize=10)
plt.show()

# %%
# **What was learned.** Asking is one line (``query``), answering is another (``teach``). One run is
# an anecdote, though: compare strategies over several splits with
# :func:`skal.model_selection.compare_strategies` before you believe a curve.
