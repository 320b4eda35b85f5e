"""What happens between batches: when to train, on what, and which rows are asked next.

Nothing is kept in memory that does not follow from the store. A training notes the last event it
sees before it begins, so that whoever finds it unfinished repeats it on exactly these.
"""

import json
import threading
import warnings
from functools import partial
from time import perf_counter
from typing import NamedTuple

from skal.labeling._batches import Plan, make_plan, mixed, random_rows
from skal.labeling._codec import encode, is_missing
from skal.labeling._log import new_batch
from skal.labeling._measures import Measures
from skal.labeling._reading import feed
from skal.labeling._schema import Ask, Training
from skal.labeling._stop import Stop
from skal.labeling._trainer import Model, Trainer
from skal.labeling._worker import Worker


class Job(NamedTuple):
    """A training that has begun: what it has seen, and the batch that is to follow, if one is."""

    training: Training
    labels: dict
    held_back: set
    audit: tuple
    plan: Plan | None


class Rounds:
    """Trains and asks for batches, at once or behind the caller.

    Parameters
    ----------
    learner, store, fold, names : ActiveLearner, LabelStore, Fold, RowNames
        Who learns, where answers are, what they come to, and the pool.

    settings : dict
        `refit`, `n_initial`, `n_instances`, `audit`, `again`.

    resolve : {"latest", "majority"} or callable
        What counts where several people answered.

    reserve : list of str
        Names of the rows for the estimate, in random order.

    root_seed : int
        What all seeds follow from.

    stopping : stopping criterion or None
        Looked at after every training.

    background : bool
        Whether to train behind the caller.
    """

    def __init__(
        self,
        learner,
        store,
        fold,
        names,
        settings,
        resolve,
        reserve,
        root_seed,
        stopping,
        background,
    ):
        self.store, self.log, self.names, self.settings = store, store.log, names, settings
        self.resolve, self.reserve, self.root_seed = resolve, reserve, root_seed
        self.trainer = Trainer(learner, names, root_seed)
        self.worker = Worker(background)
        self.lock = threading.RLock()
        self.fold = fold
        self.model = self.previous = None
        self.error = self._failed_at = None
        self.measures = Measures(self.trainer, names, root_seed, stopping)

    def sync(self):
        """Take in what this and other processes have stored."""
        with self.lock:
            feed(self.fold, self.log)
            return self.fold

    def waiting(self):
        """Return the asks that wait for an answer and whose row is in the pool, in order."""
        asks = self.sync().open_asks()
        return [ask for ask in asks if self.names.position(ask.row) >= 0]

    # ------------------------------------------------------------------ when

    def keep_going(self):
        """Start what is due after answers: a training of every k labels, or the next batch."""
        with self.lock:
            self.sync()
            if self.worker.busy or self._failed_at == self.fold.last_event:
                return
            job = None
            if self._is_due():
                job = partial(self._train, self._begin(asks=False))
            elif self.worker.threaded and self._half_is_left():
                job = self._next_job()
            if job is not None:
                self.worker.submit(job)

    def ask(self):
        """See to it that rows are open, waiting for a training if need be.

        Raises
        ------
        Exception
            What the training raised, if no model is there to ask with.
        """
        while True:
            self.worker.wait()
            with self.lock:
                if self.waiting():
                    return
                job = self._next_job()
                if job is None:
                    return
                future = self.worker.submit(job)
            future.result()

    def wait_and_raise(self, timeout=None):
        """Wait, return whether all is done, and raise what the last training raised."""
        done = self.worker.wait(timeout)
        if self.error is not None:
            raise self.error
        return done

    def refit(self):
        """Train on all labels of now, and raise what the training raises."""
        self.worker.wait()
        with self.lock:
            if not self.trainer.can_train(self.taught(self.sync())):
                raise ValueError(
                    "There is too little to learn from yet: a classifier needs labels of two "
                    "classes, any other model needs one label."
                )
            future = self.worker.submit(partial(self._train, self._begin(asks=False)))
        future.result()

    def has_more(self):
        """Whether any row is left to be asked about."""
        with self.lock:
            plan = self._plan(self.fold)
            return bool(plan.n_chosen or plan.audit or plan.again)

    def _is_due(self):
        """Whether k labels came since the last training began, with ``refit=k``."""
        every = self.settings["refit"]
        if not isinstance(every, int) or isinstance(every, bool):
            return False
        trainings = self.log.records("training")
        since = trainings[-1].event if trainings else 0
        new = sum(event.kind == "label" for event in self.log.records("event", since))
        return new >= every and self.trainer.can_train(self.taught(self.fold))

    def _half_is_left(self):
        n_open = len(self.waiting())
        if n_open == 0:
            return True
        size = sum(batch == self.fold.last_batch for batch, _ in self.fold.asks)
        return n_open <= size // 2 and self.trainer.can_train(self.taught(self.fold))

    def _next_job(self):
        """Return what leads to a batch, a callable, or None if no row is left."""
        pending = self._pending()
        if pending is not None:
            return partial(self._train, self._job(pending, self.store.fold(pending.event)))
        labels, plan = self.taught(self.fold), self._plan(self.fold)
        if not (plan.n_chosen or plan.audit or plan.again):
            return None
        if not self.trainer.can_train(labels):
            return partial(self._ask_without_model, plan)
        if self._is_known(labels) or (
            self.settings["refit"] != "batch" and self.last_training() is not None
        ):
            return partial(self._ask_with_old_model, plan)
        return partial(self._train, self._begin(asks=True))

    def _is_known(self, labels):
        """Whether the model has seen exactly these labels in this round."""
        model = self.model
        return model is not None and model.labels == labels and model.round == self.fold.n_rounds()

    def _pending(self):
        """Return the training that began and was never finished, if there is one."""
        trainings = self.log.records("training")
        done = {outcome.training for outcome in self.log.records("outcome")}
        return trainings[-1] if trainings and trainings[-1].id not in done else None

    def last_training(self):
        """Return the last training that made a model, None if none did."""
        failed = {one.training: one.error is not None for one in self.log.records("outcome")}
        made = [one for one in self.log.records("training") if failed.get(one.id) is False]
        return made[-1] if made else None

    # ------------------------------------------------------------------ on what

    def taught(self, fold):
        """Return the labels to learn from, by name, in order."""
        return fold.taught(self.resolve, self.reserve)

    def _plan(self, fold):
        return make_plan(
            fold, self.names, self.reserve, self.settings, self.root_seed, self.taught(fold)
        )

    def _begin(self, asks):
        training = self.log.begin_training(self.fold.n_rounds(), self.fold.last_event, asks)
        return self._job(training, self.fold)

    def _job(self, training, fold):
        labels = self.taught(fold)
        held_back = {*self.reserve, *fold.answered_rows()} - labels.keys()
        plan = self._plan(fold) if training.asks else None
        return Job(training, labels, held_back, self.audit_answers(fold), plan)

    def audit_answers(self, fold):
        """Return names and labels of the answered rows of the estimate, and how many got none.

        The rows are a prefix of a random permutation, up to the last one asked. Those of them that
        had a label from the start count, too.
        """
        asked = {ask.row for ask in fold.asks.values() if ask.purpose == "audit"}
        end = max((i + 1 for i, name in enumerate(self.reserve) if name in asked), default=0)
        resolved = {name: fold.resolve(name, self.resolve) for name in self.reserve[:end]}
        known = {
            name: one.label
            for name, one in resolved.items()
            if one and not one.disputed and self.names.position(name) >= 0
        }
        skipped = [n for n in resolved if n not in known and fold.current(n)]
        return known, len(skipped)

    # ------------------------------------------------------------------ jobs

    def _train(self, job):
        """Train, measure, choose the next batch, and store all that at once."""
        started, training = perf_counter(), job.training
        try:
            learner = self.trainer.train(
                job.labels, job.held_back, training.round, self.current_model()
            )
            model = Model(learner, training.id, training.round, job.labels)
            result = self.measures.of(model, self.model, job)
            batch, asks = self._batch(model, job.plan) if job.plan else (None, ())
        except Exception as error:
            self._note_failure(job, error, perf_counter() - started)
            return
        seconds = perf_counter() - started
        self.log.end_training(training.id, seconds, None, result, batch, asks)
        with self.lock:
            self.previous, self.model = self.model, model
            self.error = self._failed_at = None
            self.sync()

    def _note_failure(self, job, error, seconds):
        """Keep the old model, which asks the next batch if there is one; else raise."""
        text = f"{type(error).__name__}: {error}"
        with self.lock:
            self.error, self._failed_at = error, self.sync().last_event
        model = self.current_model()
        batch, asks = None, ()
        if job.plan and model is not None:
            try:
                batch, asks = self._batch(model, job.plan)
            except Exception as again:
                error.add_note(f"The model before cannot choose rows either: {again}")
        self.log.end_training(job.training.id, seconds, text, {}, batch, asks)
        self.sync()
        if batch is None:
            raise error
        if not self.worker.threaded:
            warnings.warn(
                f"The training failed ({text}). All labels are kept, and the model before chose "
                "these rows. refit() tries again.",
                UserWarning,
                stacklevel=2,
            )

    def _ask_without_model(self, plan):
        chosen, strategy = None, "random"
        if plan.round == 0:
            chosen = self.trainer.choose_cold(plan)
            strategy = "random" if chosen is None else self.trainer.strategy_name()
        chosen = random_rows(plan) if chosen is None else chosen
        self._store_batch(*self._composed(plan, chosen, "first", strategy, None, None))

    def _ask_with_old_model(self, plan):
        self._store_batch(*self._batch(self.current_model(), plan))

    def _store_batch(self, batch, asks):
        with self.lock:
            # Another process may have asked meanwhile: then its batch is the batch.
            self.log.add_batch(batch, asks, self.fold.last_batch)
            self.sync()

    def current_model(self):
        """Return the model in use, trained again after a restart; None if there was none."""
        if self.model is None:
            training = self.last_training()
            if training is not None:
                job = self._job(training._replace(asks=0), self.store.fold(training.event))
                learner = self.trainer.train(job.labels, job.held_back, training.round)
                self.model = Model(learner, training.id, training.round, job.labels)
        return self.model

    def _batch(self, model, plan):
        chosen = self.trainer.choose(model, plan)
        proposals = None
        if len(chosen):
            proposals = self.trainer.predict(model.learner, chosen).tolist()
            proposals = [None if is_missing(guess) else encode(guess) for guess in proposals]
        name = self.trainer.strategy_name()
        return self._composed(plan, chosen, "query", name, model.training, proposals)

    def _composed(self, plan, chosen, purpose, strategy, training, proposals):
        """Return the batch and its asks, ready to be stored."""
        names = [self.names.name(position) for position in chosen]
        guesses = dict(zip(names, proposals or (), strict=False))
        rows = mixed(plan, names, purpose)
        digests = self.names.digests([self.names.position(name) for name, _ in rows])
        asks = [
            Ask(None, rank, name, what, digest, guesses.get(name))
            for rank, ((name, what), digest) in enumerate(zip(rows, digests, strict=True))
        ]
        return new_batch(plan.round, strategy, plan.seed, plan.n_labels, training), asks

    # ------------------------------------------------------------------ advice

    def advice(self):
        """Return the advice of the last training that was looked at, a :class:`Stop` or None."""
        results = [json.loads(outcome.result) for outcome in self.log.records("outcome")]
        advice = [result["stop"] for result in results if "stop" in result]
        return Stop(*advice[-1]) if advice and advice[-1] else None
