"""The only code that imports a host: TRL, verl."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submodules=["trl"])
