"""The doors: REST for people (`v1/`), the hosts' own listener (`agents/`). Parse, authorise, call, answer."""
