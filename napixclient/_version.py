"""The version number, for packaging, the User-Agent and the documentation."""

__version__ = '0.1.0'
