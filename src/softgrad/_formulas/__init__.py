"""Formulas of array-API functions on the last axis: complete for every library, and the readable reference."""
