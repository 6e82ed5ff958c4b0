"""The room control.intake: see docs/ARCHITECTURE.md."""
