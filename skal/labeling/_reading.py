"""From the records of a store to the state they come to."""

from skal.labeling._schema import no_collection


def feed(fold, log, until=None):
    """Bring a fold up to date with what was stored since, by whatever process."""
    with no_collection():
        _feed(fold, log, until)


def _feed(fold, log, until):
    batches = log.records("batch", fold.last_batch)
    if batches:
        asks = {}
        for ask in log.records("ask", fold.last_batch):
            asks.setdefault(ask.batch, []).append(ask)
        for batch in batches:
            fold.add_batch(batch, asks.get(batch.id, []))
    for event in log.records("event", fold.last_event):
        if until is not None and event.id > until:
            break
        fold.add_event(event)


def digests_of(fold):
    """Return the digest of each row asked about, by name; the last one counts."""
    return {ask.row: ask.digest for ask in fold.asks.values()}
