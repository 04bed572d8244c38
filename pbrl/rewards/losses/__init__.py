"""What a reward model minimises on answers: one file for each loss, chosen by `fit.loss`."""
