"""The room cli: see docs/ARCHITECTURE.md."""
