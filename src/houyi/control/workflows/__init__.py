"""Fixed courses of several steps, each moved on by a loop that looks at the records only: who runs it, when and how often makes no difference."""
