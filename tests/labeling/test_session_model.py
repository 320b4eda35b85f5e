"""Whatever people do in whatever order, the session agrees with a dict."""

import os
import tempfile

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sklearn.dummy import DummyClassifier

from skal import ActiveLearner
from skal.labeling import LabelingSession, _database
from skal.strategies import RandomSampling

X = np.arange(60.0)[:, None]
LEARNER = ActiveLearner(DummyClassifier(), RandomSampling(), random_state=0)
OPTIONS = {"n_initial": 6, "n_instances": 4, "audit": 0.2}
PEOPLE = st.sampled_from(["ann", "bob"])


class Model(RuleBasedStateMachine):
    """The dict model: each person's answers to each row, newest last, and the queue."""

    @initialize()
    def begin(self):
        self.folder = tempfile.TemporaryDirectory()
        self.path = os.path.join(self.folder.name, "labels.skal")
        self.pragmas = _database._PRAGMAS
        # What is tried here is the logic; the disk has its own tests.
        _database._PRAGMAS = ("synchronous = OFF", *self.pragmas[1:])
        self.session = LabelingSession(LEARNER, X, store=self.path, **OPTIONS)
        self.answers, self.history = {}, {"ann": [], "bob": []}
        self.queue = []

    def teardown(self):
        if hasattr(self, "session"):
            self.session.close()
            _database._PRAGMAS = self.pragmas
            self.folder.cleanup()

    def fill(self):
        if not self.queue:
            self.queue = self.session.query().tolist()

    def record(self, place, who, value):
        said = self.answers.setdefault(place, {}).setdefault(who, [])
        self.history[who].append((place, said))
        said.append(value)

    def current(self, place):
        """Who said what that stands."""
        return {who: said[-1] for who, said in self.answers.get(place, {}).items() if said}

    @rule(who=PEOPLE, label=st.integers(0, 2), n=st.integers(1, 3))
    def teach(self, who, label, n):
        self.fill()
        rows, self.queue = self.queue[:n], self.queue[n:]
        self.session.teach(rows, [label] * len(rows), annotator=who)
        for place in rows:
            self.record(place, who, label)

    @rule(who=PEOPLE)
    def cannot_tell(self, who):
        self.fill()
        if self.queue:
            place = self.queue.pop(0)
            self.session.skip(place, annotator=who)
            self.record(place, who, "skip")

    @rule(who=PEOPLE)
    def undo(self, who):
        taken = self.session.undo(annotator=who).tolist()
        if not self.history[who]:
            assert taken == []
            return
        place, said = self.history[who].pop()
        assert taken == [place]
        said.pop()
        if not self.current(place):
            self.queue.insert(0, place)

    @precondition(lambda self: any(self.history.values()))
    @rule(who=PEOPLE, label=st.integers(3, 5), data=st.data())
    def correct(self, who, label, data):
        labeled = self.session.labeled_.tolist()
        if labeled:
            place = data.draw(st.sampled_from(labeled))
            self.session.correct(place, label, annotator=who)
            self.record(place, who, label)

    @rule()
    def reopen(self):
        self.session.close()
        self.session = LabelingSession(LEARNER, X, store=self.path, **OPTIONS)

    @invariant()
    def agrees(self):
        if not hasattr(self, "session"):
            return
        session = self.session
        labels = {
            place: {value for value in self.current(place).values() if value != "skip"}
            for place in self.answers
        }
        labels = {place: values for place, values in labels.items() if values}
        assert session.labeled_.tolist() == sorted(labels)
        y = session.y_
        assert all(y[place] in values for place, values in labels.items())
        if self.queue:
            assert session.open_.tolist() == self.queue
        else:
            assert session.open_.tolist() == []
        assert session.store.verify() == []


Model.TestCase.settings = settings(
    max_examples=10,
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestModel = Model.TestCase
