"""The room api: see docs/ARCHITECTURE.md."""
