"""Entrostat: a thermostat for the policy entropy of language models under reinforcement learning.

Names load when they are first used, so `import entrostat` is cheap and does not import torch. `__init__.pyi` lists them.
"""

import lazy_loader

__version__ = "0.1.0"
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
