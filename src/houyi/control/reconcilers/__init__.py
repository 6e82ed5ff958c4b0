"""Reconcilers, one file a goal. A pass takes no input, looks at everything, may run twice and nothing happens, and is leased among servers."""
