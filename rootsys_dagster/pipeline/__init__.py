"""The verbs, in the order in which a record meets them: fetch, normalise, commit, publish, replay, merge."""
