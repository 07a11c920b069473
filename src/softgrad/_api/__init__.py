"""The public functions: each documents, validates and delegates."""
