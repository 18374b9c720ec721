"""Tests of the checks: each is shown to find what it looks for, and nothing where all is well."""
