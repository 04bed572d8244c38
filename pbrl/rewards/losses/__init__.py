"""The losses that a reward model minimises on answers: one file for each, chosen by `fit.loss`."""
