"""The version, said once: packaging, the User-Agent and the docs read it here."""

__version__ = '0.1.0'
