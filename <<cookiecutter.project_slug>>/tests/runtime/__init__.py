"""Tests of the handlers, over HTTP."""
