"""
Three people, one pool: who agrees with whom, and which label counts
====================================================================

**Question.** Three people label the same digits, and one of them is careless. What comes out when
their files are joined, and does it help to ask three times?

**Answer.** Kappa finds the careless one without knowing the truth. The majority is right more
often than any single one, and the model trained on it is better than on the careless labels.
"""

# %%
# A starter file
# --------------
# The teacher asks once: the batch is in the file before anybody has seen it. Everybody gets a copy,
# so that all answer the same rows, each in a file of their own.
import shutil
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split

from skal import ActiveLearner
from skal.labeling import LabelingSession, LabelStore
from skal.oracles import NoisyOracle
from skal.strategies import RandomSampling

X, y = load_digits(return_X_y=True)
X, X_test, y, y_test = train_test_split(X / 16, y, test_size=1 / 3, random_state=0)
folder = Path(tempfile.mkdtemp())


def open_session(path, annotator=None):
    """Open the session in a file; everybody uses the same settings."""
    learner = ActiveLearner(LogisticRegression(max_iter=500), RandomSampling())
    return LabelingSession(
        learner,
        X,
        store=path,
        classes=list(range(10)),
        n_initial=200,
        audit=0,
        annotator=annotator,
        random_state=0,
    )


with open_session(folder / "starter.skal") as session:
    print(len(session.query()), "rows are asked.")

# %%
# Everybody labels
# ----------------
# With ``Labeler(session)`` in life; here three oracles that are wrong now and then.
ERRORS = {"ann": 0.08, "bob": 0.12, "carl": 0.4}
for seed, (name, error) in enumerate(ERRORS.items()):
    shutil.copy(folder / "starter.skal", folder / f"{name}.skal")
    oracle = NoisyOracle(error, random_state=seed).fit(X, y)
    with open_session(folder / f"{name}.skal", annotator=name) as session:
        rows = session.query()
        session.teach(rows, oracle.label(X[rows], rows))


# %%
# The files are joined
# --------------------
# Merging the same file twice changes nothing, and a file of other rows would be refused.
def answer_of(name):
    """Return what picks one person's answer among those about a row."""
    return lambda answers: answers.loc[answers["annotator"] == name, "label"].iloc[0]


with LabelStore(folder / "starter.skal") as store:
    for name in ERRORS:
        print(name, dict(store.merge(folder / f"{name}.skal")))
    single = {name: store.labels(answer_of(name)) for name in ERRORS}
    majority = store.labels("majority")


# %%
# Who agrees with whom?
# ---------------------
# Cohen's kappa is agreement beyond chance. It needs no truth, and the pairs with carl stand out.
with open_session(folder / "starter.skal") as session:
    agreement = session.agreement()
print(agreement.round(2).to_string(index=False))

# %%
# Which label counts?
# -------------------
# Rows on which all three differ are disputes: the majority has no label for them.
labels = {**single, "majority": majority}
right, score = {}, {}
for name, frame in labels.items():
    known = frame[frame["label"].notna()]
    rows, given = known["row"].to_numpy(dtype=int), known["label"].to_numpy(dtype=int)
    right[name] = np.mean(given == y[rows])
    model = LogisticRegression(max_iter=500).fit(X[rows], given)
    score[name] = model.score(X_test, y_test)
    print(f"{name:>9}: {len(rows)} labels, {right[name]:.2f} of them right")

fig, ax = plt.subplots(figsize=(6, 3), layout="constrained")
places = np.arange(len(labels))
ax.barh(places - 0.2, list(right.values()), 0.4, color="#0072B2", label="labels that are right")
ax.barh(places + 0.2, list(score.values()), 0.4, color="#E69F00", label="accuracy of the model")
ax.set(yticks=places, yticklabels=list(labels), xlim=(0, 1))
ax.invert_yaxis()
ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False)
plt.show()
shutil.rmtree(folder)

# %%
# **What was learned.** One file each and a merge is all it takes. Kappa shows who needs the
# instructions explained again; the majority mends single slips. For labels that stay noisy,
# :class:`~skal.neural_network.NoisyChannelClassifier` learns how they go wrong.
