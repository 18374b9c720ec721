"""The pages and endpoints, one file each. They import the accounts, never the other way round."""
