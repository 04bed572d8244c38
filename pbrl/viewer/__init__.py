"""The label viewer: a local page on which people compare clips while the agent trains."""
