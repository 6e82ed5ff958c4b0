"""The room api.v1: see docs/ARCHITECTURE.md."""
