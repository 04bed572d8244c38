"""From questions to a fitted reward: who is asked what and when, and what is learned from the answers."""
