"""A person watches a policy act live, takes over or says that it goes wrong; stored like any other answer."""
