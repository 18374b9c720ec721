# Part of the template: you need not edit this file.
"""`check`: what is unsafe about this installation, or about a site, and the fix."""

from .findings import Finding, Severity
from .local import check_local
from .site import SiteError, check_site

__all__ = ["Finding", "Severity", "SiteError", "check_local", "check_site"]
