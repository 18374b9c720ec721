# Part of the template: you need not edit this file.
"""`check`: reports what is unsafe in this installation, or on a site, and the remedy."""

from .findings import Finding, Severity
from .local import check_local
from .site import SiteError, check_site

__all__ = ["Finding", "Severity", "SiteError", "check_local", "check_site"]
