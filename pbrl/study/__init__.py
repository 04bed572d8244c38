"""Studies with people: the viewer's questions with consent, practice, checks, breaks and a quota around them."""
