"""Archer: uncertain tokens get more room than certain ones.

eps = eps_high_entropy for the upper `share` of a completion's tokens by entropy, else eps_low_entropy
"""

from __future__ import annotations

from entrostat.methods.chain import Chain
from entrostat.methods.entropy_clip import EntropyClip
from entrostat.methods.record import Source
from entrostat.methods.registry import one, preset


@preset(
    Source(
        "2507.15778",
        "Eqs. 6 and 7; wizard-III/ArcherCodeR",
        "clip 0.2 for certain tokens and 0.5 for uncertain ones, the upper fifth of each completion",
        ("its KL term on certain tokens (0.001) is the host's own, which acts on all tokens",),
    ),
    effect="either",
)
def archer(eps_low_entropy: float = 0.2, eps_high_entropy: float = 0.5, share: float = 0.2) -> Chain:
    """Two clip ranges: a narrow one for certain tokens ("knowledge"), a wide one for uncertain tokens ("reasoning").

    Args:
        eps_low_entropy: clip of certain tokens.
        eps_high_entropy: clip of uncertain tokens.
        share: share of each completion's tokens, those of highest entropy, that count as uncertain.
    """
    return one("archer", EntropyClip(eps_low_entropy, eps_high_entropy, share))
