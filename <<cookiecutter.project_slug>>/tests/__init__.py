"""The tests; their folders and files mirror those of the service. conftest.py is the index."""
