"""Every public name has a type: `make types` reads this file.

None of them is a `Nobody`, so mypy must find each line wrong, and an ignored error that is none is one itself
(`warn_unused_ignores`): that is how a name whose type is not known, which fits everywhere, is found.
"""

import entrostat as es
from entrostat.trl import controlled


class Nobody:
    """What no public name is."""


def refuse(_: Nobody) -> None: ...


refuse(es.Alerts)  # type: ignore[arg-type]
refuse(es.Band)  # type: ignore[arg-type]
refuse(es.ConfigError)  # type: ignore[arg-type]
refuse(es.Constant)  # type: ignore[arg-type]
refuse(es.Cosine)  # type: ignore[arg-type]
refuse(es.DataError)  # type: ignore[arg-type]
refuse(es.EntropyControl)  # type: ignore[arg-type]
refuse(es.EntrostatError)  # type: ignore[arg-type]
refuse(es.Finding)  # type: ignore[arg-type]
refuse(es.HostError)  # type: ignore[arg-type]
refuse(es.Initial)  # type: ignore[arg-type]
refuse(es.Linear)  # type: ignore[arg-type]
refuse(es.MissingStatistic)  # type: ignore[arg-type]
refuse(es.NotInstalled)  # type: ignore[arg-type]
refuse(es.Oscillating)  # type: ignore[arg-type]
refuse(es.P)  # type: ignore[arg-type]
refuse(es.PI)  # type: ignore[arg-type]
refuse(es.Piecewise)  # type: ignore[arg-type]
refuse(es.Rollouts)  # type: ignore[arg-type]
refuse(es.SaveError)  # type: ignore[arg-type]
refuse(es.SelfTuning)  # type: ignore[arg-type]
refuse(es.StateError)  # type: ignore[arg-type]
refuse(es.Step)  # type: ignore[arg-type]
refuse(es.StepSize)  # type: ignore[arg-type]
refuse(es.Summary)  # type: ignore[arg-type]
refuse(es.Surrogate)  # type: ignore[arg-type]
refuse(es.Term)  # type: ignore[arg-type]
refuse(es.TokenBatch)  # type: ignore[arg-type]
refuse(es.TokenStats)  # type: ignore[arg-type]
refuse(es.adapo)  # type: ignore[arg-type]
refuse(es.aent)  # type: ignore[arg-type]
refuse(es.aepo_qwenlong)  # type: ignore[arg-type]
refuse(es.ar)  # type: ignore[arg-type]
refuse(es.archer)  # type: ignore[arg-type]
refuse(es.aspo)  # type: ignore[arg-type]
refuse(es.asym_grpo)  # type: ignore[arg-type]
refuse(es.bapo_balanced)  # type: ignore[arg-type]
refuse(es.ce_gppo)  # type: ignore[arg-type]
refuse(es.chain)  # type: ignore[arg-type]
refuse(es.cispo)  # type: ignore[arg-type]
refuse(es.clip_b)  # type: ignore[arg-type]
refuse(es.clip_cov)  # type: ignore[arg-type]
refuse(es.clip_higher)  # type: ignore[arg-type]
refuse(es.clip_v)  # type: ignore[arg-type]
refuse(es.cosine_bonus)  # type: ignore[arg-type]
refuse(es.dcpo)  # type: ignore[arg-type]
refuse(es.diagnose)  # type: ignore[arg-type]
refuse(es.e3_temperature)  # type: ignore[arg-type]
refuse(es.edge_masked)  # type: ignore[arg-type]
refuse(es.entrocraft)  # type: ignore[arg-type]
refuse(es.entropic)  # type: ignore[arg-type]
refuse(es.entropy_advantage)  # type: ignore[arg-type]
refuse(es.entropy_bonus)  # type: ignore[arg-type]
refuse(es.entropy_metrics)  # type: ignore[arg-type]
refuse(es.erc)  # type: ignore[arg-type]
refuse(es.flexible_clip)  # type: ignore[arg-type]
refuse(es.flow)  # type: ignore[arg-type]
refuse(es.gppo)  # type: ignore[arg-type]
refuse(es.grpo)  # type: ignore[arg-type]
refuse(es.gspo)  # type: ignore[arg-type]
refuse(es.high_entropy_tokens)  # type: ignore[arg-type]
refuse(es.hold)  # type: ignore[arg-type]
refuse(es.kl_cov)  # type: ignore[arg-type]
refuse(es.linear_bonus)  # type: ignore[arg-type]
refuse(es.lopti)  # type: ignore[arg-type]
refuse(es.loss)  # type: ignore[arg-type]
refuse(es.lp_reg)  # type: ignore[arg-type]
refuse(es.mai_clip)  # type: ignore[arg-type]
refuse(es.make)  # type: ignore[arg-type]
refuse(es.nsr)  # type: ignore[arg-type]
refuse(es.observe)  # type: ignore[arg-type]
refuse(es.only_tokens)  # type: ignore[arg-type]
refuse(es.opefo)  # type: ignore[arg-type]
refuse(es.pass_at_k)  # type: ignore[arg-type]
refuse(es.positive_reweighting)  # type: ignore[arg-type]
refuse(es.positive_reweighting_staged)  # type: ignore[arg-type]
refuse(es.ppo)  # type: ignore[arg-type]
refuse(es.psr)  # type: ignore[arg-type]
refuse(es.qae)  # type: ignore[arg-type]
refuse(es.reheat)  # type: ignore[arg-type]
refuse(es.repo)  # type: ignore[arg-type]
refuse(es.repo_r)  # type: ignore[arg-type]
refuse(es.rsi_s)  # type: ignore[arg-type]
refuse(es.sampled_entropy)  # type: ignore[arg-type]
refuse(es.scope)  # type: ignore[arg-type]
refuse(es.siren)  # type: ignore[arg-type]
refuse(es.skywork)  # type: ignore[arg-type]
refuse(es.stapo)  # type: ignore[arg-type]
refuse(es.stare)  # type: ignore[arg-type]
refuse(es.steer)  # type: ignore[arg-type]
refuse(es.summarize)  # type: ignore[arg-type]
refuse(es.tampo)  # type: ignore[arg-type]
refuse(es.temperature)  # type: ignore[arg-type]
refuse(es.token_stats)  # type: ignore[arg-type]
refuse(es.token_stats_from_hidden)  # type: ignore[arg-type]
refuse(es.tre)  # type: ignore[arg-type]
refuse(es.ulorl)  # type: ignore[arg-type]
refuse(es.unlikeliness)  # type: ignore[arg-type]
refuse(es.w_reinforce)  # type: ignore[arg-type]
refuse(es.wapo)  # type: ignore[arg-type]

# Targets in words, and the import that comes to mind first, are no errors.
es.hold(target="0.75 * initial")
es.flow(target="initial")
es.PI(target="0.75 * initial")
es.P(target="initial")
es.Step(target="initial")
es.SelfTuning(target="0.75 * initial")
es.Band("0.5 * initial", "initial")
refuse(controlled)  # type: ignore[arg-type]
