"""The room control.commands: see docs/ARCHITECTURE.md."""
