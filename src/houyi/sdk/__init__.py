"""The room sdk: see docs/ARCHITECTURE.md."""
