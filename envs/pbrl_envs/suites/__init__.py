"""One file per suite; its `make_...` function is what a YAML in configs/env names."""
