"""The training on pseudo-labels: its batches, its epochs, and the callbacks that watch it."""

from contextlib import contextmanager

import torch

from skal.neural_network._averaging import EMACallback
from skal.neural_network._classifier import NeuralNetClassifier
from skal.neural_network._loader import TensorLoader, batch_bounds, take
from skal.neural_network._net import StopTraining, first_output

# Rows that are augmented at a time.
_AUGMENTED_ROWS = 1024


@contextmanager
def watched(net, optimizer, table):
    """Let the callbacks of a net watch a training that is not its own, by another optimiser.

    The average of the weights is left out: it goes on by itself, step by step. A callback that ends
    the training ends the block.

    Parameters
    ----------
    net : BaseNet
        A fitted net.

    optimizer : torch.optim.Optimizer
        What trains it now: what a schedule of the learning rate is to change.

    table : TableDataset
        The rows.
    """
    callbacks, own = net.callbacks_, net.optimizer_
    net.callbacks_ = [pair for pair in callbacks if not isinstance(pair[1], EMACallback)]
    vars(net)["optimizer_"] = optimizer
    try:
        net.notify("on_train_begin", X=table.X, y=table.y)
        try:
            yield
        except StopTraining:
            pass
        finally:
            net._set_training(False)
        net.notify("on_train_end", X=table.X, y=table.y)
    finally:
        for epoch in net.history:
            epoch["batches"] = []
        net.callbacks_ = callbacks
        vars(net)["optimizer_"] = own


def augmented_batches(net, dataset, augment):
    """Yield rows in batches, in a random order and augmented, and their targets."""
    device, size = net._module_device(), net._rows_per_batch(len(dataset))
    loader = TensorLoader(dataset, size, device=device)
    order = torch.randperm(len(dataset)).numpy()
    order = order if loader.rows is None else loader.rows[order]
    # Augmented many at a time: for few rows, calling torch costs more than what it does.
    for start, stop in batch_bounds(len(dataset), size * max(1, _AUGMENTED_ROWS // size)):
        X, target = take(loader.table, order[start:stop])
        X = augment(X.to(device))
        for first, last in batch_bounds(stop - start, size):
            yield X[first:last], target[first:last].to(device)


def run_epoch(net, batches, optimizer, ema):
    """Train on every batch once; return the mean loss and accuracy, before the steps."""
    total, right, n = 0.0, 0, 0
    for X, target in batches:
        net.notify("on_batch_begin", batch=(X, target), training=True)
        outputs = net._checked_outputs(first_output(net.infer(X)))
        # The net answers for itself here: no channel of an annotator comes between.
        loss = NeuralNetClassifier._criterion_loss(net, outputs, target)
        optimizer.zero_grad()
        loss.backward()
        net.notify(
            "on_grad_computed",
            named_parameters=list(net.module_.named_parameters()),
            batch=(X, target),
            training=True,
        )
        optimizer.step()
        ema.update(net.module_)
        net.history.record_batch("train_loss", loss.item())
        net.history.record_batch("train_batch_size", len(target))
        net.notify(
            "on_batch_end",
            batch=(X, target),
            training=True,
            y_pred=outputs.detach(),
            loss=loss.detach(),
        )
        total, n = total + loss.detach() * len(target), n + len(target)
        right += n_right(outputs, target)
    return {"loss": float(total) / n, "accuracy": float(right) / n}


def n_right(outputs, target):
    return (first_output(outputs).detach().argmax(1) == target).sum()


@contextmanager
def averaged_weights(net, average):
    """Let `net` compute with its averaged weights for a while."""
    own = vars(net)["module_"]
    vars(net)["module_"] = average.averaged_
    try:
        yield
    finally:
        vars(net)["module_"] = own
