"""The room local: see docs/ARCHITECTURE.md."""
