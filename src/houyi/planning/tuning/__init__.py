"""Tuning, as far as it can be thought without hands: the knobs and profiles, what to advise, and what an experiment's measurements say."""
