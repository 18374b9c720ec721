"""What an operator does: check, back up and restore, rotate the secret. The template's, not yours."""
