"""The room planning.placement: see docs/ARCHITECTURE.md."""
