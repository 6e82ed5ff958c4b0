"""The will of the platform: commands write what is desired, intake what is observed, reconcilers and workflows make the one become the other."""
