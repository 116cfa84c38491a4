"""The commands other than serving: migrate, prune, export, import."""
