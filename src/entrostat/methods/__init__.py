"""How training is changed: one file per idea, papers as presets. A new method is one line here.

`docs/methods/writing.md` shows how to write one.
"""

from types import ModuleType as _ModuleType

from entrostat.methods.account import observe as observe
from entrostat.methods.base import Card as Card
from entrostat.methods.base import Link as Link
from entrostat.methods.base import MethodState as MethodState
from entrostat.methods.base import Source as Source
from entrostat.methods.base import describe as describe
from entrostat.methods.base import fingerprint as fingerprint
from entrostat.methods.bonus import EntropyBonus as EntropyBonus
from entrostat.methods.bonus import entropy_bonus as entropy_bonus
from entrostat.methods.bonus import hold as hold
from entrostat.methods.bonus import skywork as skywork
from entrostat.methods.chain import Chain as Chain
from entrostat.methods.chain import chain as chain
from entrostat.methods.clip_range import ClipRange as ClipRange
from entrostat.methods.clip_range import clip_higher as clip_higher
from entrostat.methods.clip_tokens import ClipTokens as ClipTokens
from entrostat.methods.clip_tokens import clip_b as clip_b
from entrostat.methods.clip_tokens import clip_v as clip_v
from entrostat.methods.entropic import Entropic as Entropic
from entrostat.methods.entropic import entropic as entropic
from entrostat.methods.entropy_advantage import entropy_advantage as entropy_advantage
from entrostat.methods.flow import Flow as Flow
from entrostat.methods.flow import flow as flow
from entrostat.methods.kl_cov import kl_cov as kl_cov
from entrostat.methods.objectives import cispo as cispo
from entrostat.methods.objectives import grpo as grpo
from entrostat.methods.objectives import gspo as gspo
from entrostat.methods.objectives import loss as loss
from entrostat.methods.objectives import ppo as ppo
from entrostat.methods.objectives import token_loss as token_loss
from entrostat.methods.objectives import token_push as token_push
from entrostat.methods.only_tokens import OnlyTokens as OnlyTokens
from entrostat.methods.only_tokens import only_tokens as only_tokens
from entrostat.methods.registry import card as card
from entrostat.methods.registry import factory as factory
from entrostat.methods.registry import make as make
from entrostat.methods.registry import names as names
from entrostat.methods.registry import source as source
from entrostat.methods.reward_advantages import RewardAdvantages as RewardAdvantages
from entrostat.methods.reward_advantages import nsr as nsr
from entrostat.methods.reward_advantages import psr as psr
from entrostat.methods.reward_advantages import w_reinforce as w_reinforce
from entrostat.methods.temperature import Temperature as Temperature
from entrostat.methods.temperature import temperature as temperature

__all__ = sorted(
    name for name, value in globals().items() if not name.startswith("_") and not isinstance(value, _ModuleType)
)
