"""The files that users bring: found with all they import, loaded and called in one guarded place."""
