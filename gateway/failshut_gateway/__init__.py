"""The HTTP gateway: services, proxies and agents in any language ask a gate before they act.

The guard of `failshut` decides, and this package carries its answer. Whatever goes wrong on the way is a denial.
"""
