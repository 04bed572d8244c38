"""A small robot arm at a table: five MuJoCo tasks that share one world."""

TASKS = {"Reach": 100, "Push": 150, "Lift": 100, "Group": 150, "Clutter": 100}  # name, steps of an episode
