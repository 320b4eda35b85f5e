"""
A labelling session: interrupted, resumed, and honest about the model
=====================================================================

**Question.** Labelling takes days, and computers stop. Does that change what is asked, and how
does one know whether the model is good enough, without a test set?

**Answer.** A session asks what it would have asked without the interruption. And it says how good
the model is from a few rows that no strategy chose, drawn at random before the first label.
"""

# %%
# Somebody who labels
# -------------------
# A person would press keys in ``Labeler(session)`` or ``serve(session)``. Here the known digits
# answer, so that the page can be built. A third of the digits is put aside to check the estimate;
# the session knows nothing of it.
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split

from skal import ActiveLearner
from skal.labeling import LabelingSession
from skal.strategies import MarginSampling

X, y = load_digits(return_X_y=True)
X, X_test, y, y_test = train_test_split(X / 16, y, test_size=1 / 3, random_state=0)
learner = ActiveLearner(LogisticRegression(max_iter=500), MarginSampling(), random_state=0)
folder = tempfile.TemporaryDirectory()


def open_session(name):
    """Open the session in the file of that name, or begin it."""
    return LabelingSession(
        learner,
        X,
        store=Path(folder.name) / name,
        classes=list(range(10)),
        n_initial=30,
        n_instances=30,
        audit=0.25,
        random_state=0,
    )


# %%
# Without interruption
# --------------------
N_BATCHES = 8
scores, chosen = [], []
with open_session("quiet.skal") as session:
    for _ in range(N_BATCHES):
        rows = session.query()  # trains first, if there are new labels
        session.teach(rows, y[rows])
        session.refit()
        scores.append(session.learner_.score(X_test, y_test))
    quiet, progress = session.labeled_, session.progress()

# %%
# Interrupted in the middle of every batch
# ----------------------------------------
# Each pass of the loop is a new program: it opens the file, answers what is open, takes one answer
# back and gives another one, and stops before the batch is done. Nobody saves anything: each answer
# is on disk as soon as it is given.
for _ in range(2 * N_BATCHES):
    with open_session("stormy.skal") as session:
        rows = session.query()[:15]
        session.teach(rows[:1], [(y[rows[0]] + 1) % 10])
        session.undo()
        session.teach(rows, y[rows])

with open_session("stormy.skal") as session:
    stormy = session.labeled_
print(f"{len(quiet)} rows labelled in one go, {len(stormy)} in {2 * N_BATCHES} pieces.")
print("The same rows:", np.array_equal(quiet, stormy))

# %%
# How good is the model?
# ----------------------
# A quarter of the rows asked were drawn at random and are never learnt from: ``audit_`` compares
# the model with the answers given there. ``progress()`` keeps it for every batch. Accuracy on the
# rows that the strategy chose is no substitute: these are the hard ones.
print(progress[["n_asked", "n_labeled", "audit_value", "audit_low", "audit_high"]].round(3))

n_labels = progress["n_asked"].cumsum().to_numpy()
seen = progress["audit_value"].notna().to_numpy()
# The estimate in a line is that of the model that chose the batch: the labels before it.
n_before = n_labels - progress["n_asked"].to_numpy()
value, low, high = (progress[f"audit_{name}"].to_numpy() for name in ("value", "low", "high"))

fig, ax = plt.subplots(figsize=(6, 4), layout="constrained")
ax.plot(n_labels, scores, "o-", color="#0072B2", label="accuracy on 599 digits put aside")
ax.errorbar(
    n_before[seen],
    value[seen],
    [(value - low)[seen], (high - value)[seen]],
    fmt="s",
    color="#D55E00",
    capsize=4,
    label="estimate of the session, 95 % interval",
)
ax.set(xlabel="rows asked", ylabel="accuracy", title="What the session says, and what is true")
ax.legend(loc="lower right", frameon=False)
plt.show()

# %%
# When is it enough?
# ------------------
# ``kappa_to_previous`` says how far a model and the one before agree on 500 fixed rows, beyond
# chance. Near 1, more labels of this kind change little.
print(progress[["round", "kappa_to_previous"]].round(3))
folder.cleanup()

# %%
# **What was learned.** An interruption costs nothing, not even other rows. The estimate is wide
# as long as few rows are behind it, and it says so; it lies where the truth is, because chance
# chose its rows and not the strategy.
