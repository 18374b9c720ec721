"""The pages and endpoints, a file each. They know the accounts; the accounts know nothing of them."""
