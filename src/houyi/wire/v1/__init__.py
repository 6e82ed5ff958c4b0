"""The room wire.v1: see docs/ARCHITECTURE.md."""
