"""Which host a VM goes to: filters say no with a reason, scores choose among the rest. Pure, over numpy arrays."""
