"""
Label errors found by their influence
=====================================

**Question.** Some of the labels that were paid for are wrong. Which ones should be looked at again?

**Answer.** Those without which the model would be better on rows that are known to be right.
:func:`skal.inspection.influence` estimates that for every labelled row from one linear system,
without a single training. It finds most of the errors. So does something simpler, and better on
these digits: the loss of each row itself, as long as the net has not learnt the errors by heart.

The errors here are planted, so that the answer can be checked: a tenth of the training labels of
digits is replaced by another class. The rows that judge them are held out, with clean labels.
"""

# %%
# Digits with planted errors
# --------------------------
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.metrics import average_precision_score, precision_recall_curve
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skal.inspection import influence
from skal.neural_network import NeuralNetClassifier

X, y = load_digits(return_X_y=True)
X_train, X_clean, y_train, y_clean = train_test_split(
    X, y, test_size=0.4, stratify=y, random_state=0
)
rng = np.random.RandomState(0)
is_wrong = np.zeros(len(y_train), dtype=bool)
is_wrong[rng.permutation(len(y_train))[: len(y_train) // 10]] = True
y_given = np.where(is_wrong, (y_train + rng.randint(1, 10, len(y_train))) % 10, y_train)
print(f"{is_wrong.sum()} of {len(y_train)} training labels are wrong")

# %%
# A net, and what each label does to it
# -------------------------------------
# ``change`` is by how much the mean loss on the clean rows would rise without the row. Below zero
# it would fall: the row harms. Next to it stands the loss of each row itself.
model = make_pipeline(StandardScaler(), NeuralNetClassifier(max_epochs=20, random_state=0))
model.fit(X_train, y_given)
change = influence(model, X_train, y_given, X_clean, y_clean)
own_loss = -np.log(model.predict_proba(X_train)[np.arange(len(y_given)), y_given] + 1e-12)

at_random = rng.random_sample(len(y_given))
suspicion = {"influence": -change, "own loss": own_loss, "at random": at_random}
fig, axes = plt.subplots(figsize=(6, 4), layout="constrained")
for name, score in suspicion.items():
    precision, recall, _ = precision_recall_curve(is_wrong, score)
    average = average_precision_score(is_wrong, score)
    axes.plot(recall, precision, label=f"{name}: average precision {average:.2f}")
    print(f"{name}: average precision {average:.3f}")
axes.set(xlabel="share of the errors found", ylabel="share of errors among rows looked at")
axes.legend()

# %%
# The worst offenders
# -------------------
# The rows that harm most, with the label they were given and the true one.
worst = change.argsort()[:10]
fig, grid = plt.subplots(2, 5, figsize=(7, 3.2), layout="constrained")
for row, axes in zip(worst, grid.ravel(), strict=True):
    axes.imshow(X_train[row].reshape(8, 8), cmap="gray_r")
    axes.set_axis_off()
    axes.set_title(f"given {y_given[row]}, true {y_train[row]}", fontsize=9)
plt.show()
