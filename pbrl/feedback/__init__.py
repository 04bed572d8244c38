"""Ask questions and fit a reward: who is asked what and when, and what is learned from the answers."""
