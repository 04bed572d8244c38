"""What a label store holds of questions, for tests that compare it with what was said."""

from pbrl.labels.files import one_form


def answers_to(store, queries, annotator=None):
    """The kind's own answers to these queries, by this annotator or the latest of anyone's; skipped where none."""
    found = {a.query: a.value for a in store.standing_answers(queries) if annotator in (None, a.annotator)}
    form = one_form(store.queries(queries))
    return form.type.make_answers([found.get(query) for query in queries], form)


def unanswered(store, queries=None, annotator=None, **about):
    """Which queries this annotator, or anyone, neither answered nor skipped. about: kind and criterion of all."""
    done = {a.query for a in store.standing_answers(queries, **about) if annotator in (None, a.annotator)}
    asked = queries if queries is not None else [query.id for query in store.queries(**about)]
    return [query for query in asked if query not in done]
