"""Every page, table and figure that a person reads."""
