"""A module for each library, for its workers to import: of resfuse they need what is public."""
