"""The commands other than serving: migrate, prune, rename, export, import."""
