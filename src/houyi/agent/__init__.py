"""The room agent: see docs/ARCHITECTURE.md."""
