"""TRL: `controlled(GRPOTrainer, method)` returns a trainer class that holds the policy's entropy.

Names load when they are first used: what this host can express is known without TRL.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
