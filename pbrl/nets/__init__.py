"""Networks, encoders and policies."""
