"""The room control: see docs/ARCHITECTURE.md."""
