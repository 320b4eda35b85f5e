"""A session in memory with the face of LabelingSession."""

from types import SimpleNamespace


class FakeSession:
    def __init__(self, X, classes=None, n_instances=10, proposal=None):
        self.X, self.classes, self.proposal = X, classes, proposal
        self.queue = list(range(min(n_instances, len(X))))
        self.total, self.state_ = len(self.queue), "finished"
        self.labels, self.skipped, self.history, self.uids = {}, [], [], set()
        self.seconds = []
        self.error = None

    def next(self, annotator=None):
        if not self.queue:
            return None
        position = self.queue[0]
        token = f"{position}-{len(self.history)}"
        return SimpleNamespace(row=position, position=position, token=token, proposal=self.proposal)

    def _take(self, rows, uid):
        if self.error is not None:
            raise self.error
        assert uid not in self.uids
        self.uids.add(uid)
        for row in rows:
            self.queue.remove(row)
            self.history.append(row)

    def teach(self, rows, labels, *, seconds=None, uid=None):
        self._take(rows, uid)
        self.labels.update(zip(rows, labels, strict=True))
        self.seconds.append(seconds)

    def skip(self, rows, reason="cannot tell", *, uid=None):
        self._take(rows, uid)
        if reason == "later":
            self.queue.extend(rows)
            self.history = [row for row in self.history if row not in rows]
        else:
            self.skipped.extend(rows)

    def undo(self, n=1):
        if not self.history:
            return []
        row = self.history.pop()
        self.labels.pop(row, None)
        self.skipped = [other for other in self.skipped if other != row]
        self.queue.insert(0, row)
        return [row]

    @property
    def counts_(self):
        return len(self.labels) + len(self.skipped), self.total, len(self.labels)
