"""Questions and the fit of a reward: who is asked what and when, and what is learned from the answers."""
