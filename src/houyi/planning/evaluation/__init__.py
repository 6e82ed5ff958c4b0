"""What is measured in an evaluation, what programs said, and what may be said about it. Pure."""
