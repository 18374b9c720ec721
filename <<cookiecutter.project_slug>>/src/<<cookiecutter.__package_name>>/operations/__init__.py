# Part of the template: you need not edit this file.
"""The operator's tasks: check, back up and restore, rotate the secret."""
