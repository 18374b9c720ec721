"""Tests of the checks: each finds its fault, and nothing in a sound installation."""
