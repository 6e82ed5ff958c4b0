"""Mutations, one file a noun. Only control.commands, control.intake and the store's own rooms may import them."""
