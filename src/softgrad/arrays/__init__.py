"""One module per kind of array, the same function names in each; all of them work on rows along the last axis."""
