"""The room control.workflows: see docs/ARCHITECTURE.md."""
