"""The optional compiled kernel of the SAC update: one C file, how it is built and found, and its binding."""
