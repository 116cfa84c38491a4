"""The commands beside serving: migrate, prune, export, import."""
