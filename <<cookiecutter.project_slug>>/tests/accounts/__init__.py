"""Tests of the accounts, without HTTP."""
