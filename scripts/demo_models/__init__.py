"""Trains, exports and evaluates the demo model that framewright bundles."""
