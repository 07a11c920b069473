"""Arrays of other libraries: one module for each, imported when the first of its arrays arrives."""
