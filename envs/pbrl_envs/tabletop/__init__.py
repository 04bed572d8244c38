"""A small robot arm at a table: five MuJoCo tasks that share one world."""
