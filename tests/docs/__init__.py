"""Tests of what the documentation says and how its pages look."""
