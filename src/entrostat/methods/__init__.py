"""How training is changed: one file per idea, papers as presets. A new method is one line here.

`docs/methods/writing.md` shows how to write one.
"""

from types import ModuleType as _ModuleType

from entrostat.methods.account import observe as observe
from entrostat.methods.adapo import adapo as adapo
from entrostat.methods.aent import aent as aent
from entrostat.methods.aepo_qwenlong import aepo_qwenlong as aepo_qwenlong
from entrostat.methods.ar import ar as ar
from entrostat.methods.archer import archer as archer
from entrostat.methods.aspo import aspo as aspo
from entrostat.methods.asym_grpo import asym_grpo as asym_grpo
from entrostat.methods.bapo import bapo_balanced as bapo_balanced
from entrostat.methods.base import Link as Link
from entrostat.methods.base import MethodState as MethodState
from entrostat.methods.bonus import EntropyBonus as EntropyBonus
from entrostat.methods.bonus import entropy_bonus as entropy_bonus
from entrostat.methods.bonus_schedules import cosine_bonus as cosine_bonus
from entrostat.methods.bonus_schedules import linear_bonus as linear_bonus
from entrostat.methods.ce_gppo import ce_gppo as ce_gppo
from entrostat.methods.ce_gppo import gppo as gppo
from entrostat.methods.chain import Chain as Chain
from entrostat.methods.chain import chain as chain
from entrostat.methods.clip_cov import clip_cov as clip_cov
from entrostat.methods.clip_range import ClipRange as ClipRange
from entrostat.methods.clip_range import clip_higher as clip_higher
from entrostat.methods.clip_tokens import ClipTokens as ClipTokens
from entrostat.methods.clip_tokens import clip_b as clip_b
from entrostat.methods.clip_tokens import clip_v as clip_v
from entrostat.methods.dcpo import dcpo as dcpo
from entrostat.methods.e3_temperature import e3_temperature as e3_temperature
from entrostat.methods.edge import edge_masked as edge_masked
from entrostat.methods.entrocraft import entrocraft as entrocraft
from entrostat.methods.entropic import Entropic as Entropic
from entrostat.methods.entropic import entropic as entropic
from entrostat.methods.entropy_advantage import entropy_advantage as entropy_advantage
from entrostat.methods.erc import erc as erc
from entrostat.methods.fingerprint import fingerprint as fingerprint
from entrostat.methods.flexible_clip import flexible_clip as flexible_clip
from entrostat.methods.flow import Flow as Flow
from entrostat.methods.flow import flow as flow
from entrostat.methods.high_entropy_tokens import high_entropy_tokens as high_entropy_tokens
from entrostat.methods.hold import hold as hold
from entrostat.methods.kl_cov import kl_cov as kl_cov
from entrostat.methods.lopti import lopti as lopti
from entrostat.methods.lp_reg import lp_reg as lp_reg
from entrostat.methods.mai_clip import mai_clip as mai_clip
from entrostat.methods.objectives import cispo as cispo
from entrostat.methods.objectives import grpo as grpo
from entrostat.methods.objectives import gspo as gspo
from entrostat.methods.objectives import loss as loss
from entrostat.methods.objectives import ppo as ppo
from entrostat.methods.objectives import token_loss as token_loss
from entrostat.methods.objectives import token_push as token_push
from entrostat.methods.only_tokens import OnlyTokens as OnlyTokens
from entrostat.methods.only_tokens import only_tokens as only_tokens
from entrostat.methods.opefo import opefo as opefo
from entrostat.methods.pass_at_k import pass_at_k as pass_at_k
from entrostat.methods.positive_weight import positive_reweighting as positive_reweighting
from entrostat.methods.positive_weight import positive_reweighting_staged as positive_reweighting_staged
from entrostat.methods.qae import qae as qae
from entrostat.methods.record import Card as Card
from entrostat.methods.record import Source as Source
from entrostat.methods.registry import card as card
from entrostat.methods.registry import factory as factory
from entrostat.methods.registry import names as names
from entrostat.methods.registry import source as source
from entrostat.methods.reheat import reheat as reheat
from entrostat.methods.repo import repo as repo
from entrostat.methods.repo_r import repo_r as repo_r
from entrostat.methods.reward_advantages import RewardAdvantages as RewardAdvantages
from entrostat.methods.reward_advantages import nsr as nsr
from entrostat.methods.reward_advantages import psr as psr
from entrostat.methods.reward_advantages import w_reinforce as w_reinforce
from entrostat.methods.rsi_s import rsi_s as rsi_s
from entrostat.methods.scope import scope as scope
from entrostat.methods.siren import siren as siren
from entrostat.methods.skywork import skywork as skywork
from entrostat.methods.stapo import stapo as stapo
from entrostat.methods.stare import stare as stare
from entrostat.methods.steer import steer as steer
from entrostat.methods.step_size import StepSize as StepSize
from entrostat.methods.tampo import tampo as tampo
from entrostat.methods.temperature import Temperature as Temperature
from entrostat.methods.temperature import temperature as temperature
from entrostat.methods.tre import tre as tre
from entrostat.methods.ulorl import ulorl as ulorl
from entrostat.methods.unlikeliness import unlikeliness as unlikeliness
from entrostat.methods.wapo import wapo as wapo

__all__ = sorted(
    name for name, value in globals().items() if not name.startswith("_") and not isinstance(value, _ModuleType)
)
