"""Questions and answers as data: the store of a run, label sets, imports."""
