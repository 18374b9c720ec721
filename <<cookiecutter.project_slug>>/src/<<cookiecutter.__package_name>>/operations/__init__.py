# Part of the template: you need not edit this file.
"""What an operator does: check, back up and restore, rotate the secret."""
