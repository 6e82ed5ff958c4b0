"""The room planning: see docs/ARCHITECTURE.md."""
