"""The room control.reconcilers: see docs/ARCHITECTURE.md."""
