"""A planar world seen from above in which an agent sweeps blocks into a goal zone, and people care how."""
